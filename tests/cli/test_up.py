"""``holdfast up``, whole: a real supervisor with its children, in a process of its own."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.redis import children_of, is_alive, kill_quietly, wait_for
from webapp.queue import bell, monitor
from webapp.queue.connection import connect
from webapp.settings import embedded_redis_url

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

START_SECONDS = 150  # a busy machine with two cores compiles and imports for long


class Up:
    """A started ``holdfast up``."""

    def __init__(self, directory: Path, port: int = 0, **environment: str) -> None:
        self.directory = directory
        self.log = directory.parent / f"{len(list(directory.parent.glob('*.log')))}.log"
        hidden = ("DATABASE_URL", "REDIS_URL", "HOST", "SECRET_KEY", "HOLDFAST_", "PYTHONDONTWRITEBYTECODE")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "webapp.cli", "up"],
            cwd=ROOT,
            env={
                **inherited,
                "PYTHONPYCACHEPREFIX": str(directory.parents[1] / "compiled"),
                "HOLDFAST_DATA_DIR": str(directory),
                "PORT": str(port),
                **environment,
            },
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
        )
        self.redis_url = embedded_redis_url(directory)

    @property
    def said(self) -> str:
        return self.log.read_text()

    def wait_until_running(self) -> None:
        wait_for(lambda: "is running." in self.said or self.process.poll() is not None, "it runs", START_SECONDS)
        assert self.process.poll() is None, self.said

    @property
    def address(self) -> str:
        found = re.search(r"Address\s+http://(\S+)/", self.said)
        assert found
        return found[1]

    def get(self, path: str) -> int:
        connection = http.client.HTTPConnection(self.address, timeout=10)
        connection.request("GET", path)
        status = connection.getresponse().status
        connection.close()
        return status

    def child(self, *words: str) -> int:
        """The pid of our child whose command line holds these words."""
        for pid in children_of(self.process.pid):
            line = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            if all(any(word in part for part in line) for word in words):
                return pid
        return 0

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    running = Up(tmp_path / "var", HOLDFAST_RECONCILE_SECONDS="1")
    yield running
    running.end()


def processes_of(up: Up) -> list[int]:
    found, todo = [], [up.process.pid]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children_of(pid)
    return found


def workers_alive(up: Up) -> int:
    with sqlite3.connect(up.directory / "holdfast.sqlite") as database:
        return int(database.execute("SELECT count(*) FROM beat WHERE kind = 'worker'").fetchone()[0])


def test_one_command_starts_everything_and_one_signal_stops_it(up: Up) -> None:
    up.wait_until_running()
    link = re.search(r"http://\S+(/setup\?token=\S+)", up.said)

    assert link
    assert up.get("/healthz") == 200
    assert up.get(link[1]) == 200
    wait_for(lambda: up.get("/readyz") == 200 and workers_alive(up) == 3, "it is ready", START_SECONDS)
    client = connect(up.redis_url)
    assert {name.decode() for name in client.smembers(bell.QUEUES_KEY)} >= {"rq:queue:default", "rq:queue:cloud"}
    facts = monitor.server_facts(client)
    assert (facts.append_only, facts.eviction_policy) == (True, "noeviction")
    client.close()
    assert (up.directory / "redis.sock").stat().st_mode & 0o777 == 0o700

    second = Up(up.directory)
    assert second.process.wait(START_SECONDS) == 1
    assert "already running on this data directory" in second.said
    assert up.process.poll() is None

    family = processes_of(up)
    up.process.send_signal(signal.SIGINT)

    assert up.process.wait(40) == 0
    wait_for(lambda: not any(map(is_alive, family)), "nobody is left", 5)
    assert up.said.rstrip().endswith("stopped")
    assert workers_alive(up) == 0
    assert "Traceback" not in up.said


def test_whatever_is_killed_is_started_again_and_when_all_of_it_is_killed_nobody_is_left(up: Up) -> None:
    up.wait_until_running()
    wait_for(lambda: up.get("/readyz") == 200 and workers_alive(up) == 3, "it is ready", START_SECONDS)
    parts = {"redis": ("valkey-server",), "web": ("gunicorn",), "scheduler": ("scheduler",), "worker": ("worker",)}
    killed = {name: up.child(*words) for name, words in parts.items()}

    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)

    for name, words in parts.items():
        wait_for(lambda words=words: up.child(*words) not in (0, *killed.values()), f"{name} is back", 30)  # type: ignore[misc]
    wait_for(lambda: _quietly(up, "/readyz") == 200, "it is ready again", START_SECONDS)

    family = processes_of(up)
    up.process.kill()
    up.process.wait(5)
    try:
        wait_for(lambda: not any(map(is_alive, family)), "nobody is left", 30)
    finally:
        for pid in family:
            kill_quietly(pid)


def _quietly(up: Up, path: str) -> int:
    try:
        return up.get(path)
    except OSError:
        return 0


def test_a_busy_port_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = Up(tmp_path / "var", port)

        assert refused.process.wait(START_SECONDS) == 1
    assert f"Cannot listen on 127.0.0.1 port {port}" in refused.said
    assert "PORT" in refused.said
    assert not (tmp_path / "var/holdfast.sqlite").exists()


def test_entries_that_redis_cannot_read_are_set_aside(tmp_path: Path) -> None:
    broken = tmp_path / "var/redis/appendonlydir"
    broken.mkdir(parents=True)
    (broken / "appendonly.aof.manifest").write_text("file nonsense\n")
    running = Up(tmp_path / "var")
    try:
        running.wait_until_running()
    finally:
        running.end()

    assert "set them aside" in running.said
    assert list((tmp_path / "var/redis").glob("appendonlydir.broken-*"))
