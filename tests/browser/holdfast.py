"""A whole Holdfast for browser tests: ``holdfast up`` in a process of its own, over a data directory of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.postgres import free_port
from tests.support.redis import children_of, wait_for

ROOT = Path(__file__).parents[2]
POLL_SCALE = 0.2
_HIDDEN = ("DATABASE_URL", "REDIS_URL", "HOST", "PORT", "SECRET_KEY", "HOLDFAST_")


class Holdfast:
    """A started ``holdfast up``. Everything it says is in ``said``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        directory.parent.mkdir(parents=True, exist_ok=True)
        self._log = directory.parent / f"{directory.name}.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "webapp.cli", "up"],
                cwd=ROOT,
                env=environment(directory, PORT=str(self.port)),
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        """All output so far."""
        return self._log.read_text()

    @property
    def setup_link(self) -> str:
        """The one-time link that the first start prints."""
        found = re.search(r"http://\S+/setup\?token=\S+", self.said)
        assert found, self.said
        return found[0]

    @property
    def archives(self) -> Path:
        """Where its archives lie."""
        return self.directory / "archives"

    def is_ready(self) -> bool:
        """Whether backups can run."""
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def wait_until_ready(self) -> None:
        """Web, worker, scheduler and Redis all answer."""
        wait_for(lambda: "is running." in self.said or self.process.poll() is not None, "it runs", 120)
        wait_for(lambda: self.is_ready() or self.process.poll() is not None, "it is ready", 120)
        assert self.process.poll() is None, self.said

    def family(self, *words: str) -> list[int]:
        """The pids of all processes below us whose command line holds these words."""
        found, todo = [], [self.process.pid]
        while todo:
            below = children_of(todo.pop())
            todo += below
            found += [pid for pid in below if all(word in _command_of(pid) for word in words)]
        return found

    def end(self) -> None:
        """Stop it as Ctrl-C does; harder when that does not help."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)


def environment(directory: Path, **more: str) -> dict[str, str]:
    """The environment of a Holdfast over this data directory: quick to poll, quick to schedule."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_HIDDEN)}
    own = {
        "HOLDFAST_DATA_DIR": str(directory),
        "HOLDFAST_POLL_SCALE": str(POLL_SCALE),
        "HOLDFAST_RECONCILE_SECONDS": "1",
    }
    return {**inherited, **own, **more}


@contextmanager
def running_holdfast(directory: Path) -> Iterator[Holdfast]:
    """A ready Holdfast; stopped afterwards, whatever happens."""
    holdfast = Holdfast(directory)
    try:
        holdfast.wait_until_ready()
        yield holdfast
    finally:
        holdfast.end()


def _command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
    except OSError:
        return ""
