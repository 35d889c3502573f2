"""Restores that are killed: at any moment, and at every system call of the swap. Then settle must say what the target is."""

from __future__ import annotations

import collections
import json
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.proof.points import attach
from tests.proof.stage import exit_code, in_child
from tests.support.database_restores import databases, files_below, hashes, new_plan, replace_plan, take_archive
from tests.support.odoo_database import build_odoo_database
from tests.support.postgres import PostgresServer
from tests.support.redis import wait_for
from tests.support.restore_pieces import Shelved
from webapp.core.restore_plans import RestorePlan
from webapp.core.status import RestoreOutcome
from webapp.engine.durable import write_durably
from webapp.engine.report import SilentReporter
from webapp.engine.restore.run import run
from webapp.engine.restore.settle import settle

CALLS = (
    "openat,read,write,fsync,rename,renameat,renameat2,unlinkat,mkdir,rmdir,close,connect,sendto,recvfrom,poll,socket"
)


@dataclass
class Scene:
    """A database to be replaced, an archive of another, and what both hold."""

    server: PostgresServer
    directory: Path
    archive: Shelved
    old: Mapping[str, str]
    old_files: Mapping[str, bytes]
    new: Mapping[str, str]
    new_files: Mapping[str, bytes]
    seen: collections.Counter[str] = field(default_factory=collections.Counter)

    @property
    def root(self) -> Path:
        """Where filestores lie."""
        return self.directory / "filestore"

    @property
    def journal(self) -> Path:
        """What the restore writes down, durably."""
        return self.directory / "journal"

    def plan(self, replacing: bool) -> RestorePlan:
        """Replace ``live``, or make ``fresh`` beside it."""
        server = self.server.plan(self.root)
        return replace_plan(self.archive, server, "live") if replacing else new_plan(self.archive, server, "fresh")

    def restore(self, plan: RestorePlan, pause: Callable[[str], None] = lambda step: None) -> None:
        """In the child: every step is written down before it is made."""

        def write_down(entry: Mapping[str, Any]) -> None:
            write_durably(str(self.journal), json.dumps(dict(entry)).encode())
            pause(entry["step"])

        run(plan, write_down, SilentReporter())

    def is_near_its_end(self) -> bool:
        """Whether the next step changes what people see."""
        return self.journal.exists() and b'"new_inode": null' not in self.journal.read_bytes()

    def settle_and_judge(self, plan: RestorePlan, what: str) -> list[str]:
        """Settle, twice; look; put everything back as it was. What is wrong, in words."""
        journal = json.loads(self.journal.read_bytes()) if self.journal.exists() else {}
        left = replace(plan, journal=journal)
        outcome = settle(left, SilentReporter()).outcome
        again = settle(left, SilentReporter()).outcome
        self.seen[outcome.value] += 1
        wrong = [] if again is outcome else [f"{what}: settled as {outcome.value}, then as {again.value}"]
        wrong += [f"{what}: {line} ({outcome.value}, step {journal.get('step')})" for line in self._judge(outcome)]
        self.reset()
        return wrong

    def _judge(self, outcome: RestoreOutcome) -> Iterator[str]:
        replaced, created = outcome is RestoreOutcome.REPLACED, outcome is RestoreOutcome.CREATED
        names = {"live"} | ({"live__before"} if replaced else set()) | ({"fresh"} if created else set())
        if databases(self.server) != names:
            yield f"databases are {sorted(databases(self.server))}"
            return
        if {path.name for path in self.root.iterdir()} != names:
            yield f"directories are {sorted(path.name for path in self.root.iterdir())}"
            return
        wanted = {"live": (self.new, self.new_files) if replaced else (self.old, self.old_files)}
        if created:
            wanted["fresh"] = (self.new, self.new_files)
        for name, (content, files) in wanted.items():
            if hashes(self.server, name) != content:
                yield f"the rows of {name} are not what they should be"
            if files_below(self.root / name) != files:
                yield f"the files of {name} are not what they should be"
        if replaced and files_below(self.root / "live__before") != self.old_files:
            yield "the kept files are not what they were"
        shut = self.server.rows("SELECT datname FROM pg_database WHERE NOT datallowconn AND datname <> 'template0'")
        if shut != ([("live__before",)] if replaced else []):
            yield f"databases that let nobody in: {shut}"

    def reset(self) -> None:
        self.journal.unlink(missing_ok=True)
        there = databases(self.server)
        for name in there - {"live", "live__before"}:
            self.server.execute(f'ALTER DATABASE "{name}" IS_TEMPLATE false')
            self.server.drop_database(name)
        for path in self.root.iterdir():
            if path.name not in ("live", "live__before"):
                shutil.rmtree(path)
        if "live__before" in there:
            self.server.execute('ALTER DATABASE "live" IS_TEMPLATE false')
            self.server.drop_database("live")
            self.server.execute("ALTER DATABASE live__before RENAME TO live")
        self.server.execute("ALTER DATABASE live ALLOW_CONNECTIONS true")
        if (self.root / "live__before").exists():
            shutil.rmtree(self.root / "live")
            (self.root / "live__before").rename(self.root / "live")


@contextmanager
def built_scene(server: PostgresServer, directory: Path) -> Iterator[Scene]:
    """Build both databases once."""
    built = build_odoo_database(server, "prod", directory / "source", rows=60, files=20)
    archive = take_archive(server.plan(directory / "source"), "prod", directory / "archive")
    new, new_files = hashes(server, "prod"), files_below(built.filestore)
    server.drop_database("prod")
    live = build_odoo_database(server, "live", directory / "filestore", rows=10, files=5, seed=99)
    yield Scene(server, directory, archive, hashes(server, "live"), files_below(live.filestore), new, new_files)
    server.drop_database("live")


def kill_at_random(scene: Scene, kills: int, seed: int) -> list[str]:
    """SIGKILL after a random time, in replacements and new databases; of each two restores one is killed near its end."""
    source = random.Random(seed)
    whole, swap = _durations(scene)
    wrong: list[str] = []
    for number in range(kills):
        plan = scene.plan(replacing=number % 4 < 2)
        child = in_child(lambda plan=plan: scene.restore(plan))
        if number % 2:
            wait_for(
                lambda child=child: scene.is_near_its_end() or _has_ended(child), "the restore comes to its end", 120
            )
        after = source.uniform(0, swap * 1.2 if number % 2 else whole)
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
        exit_code(child)
        wrong += scene.settle_and_judge(plan, f"killed after {after:.3f} s")
        if (number + 1) % 20 == 0:
            print(f"  {number + 1} of {kills} kills, {dict(scene.seen)}, {len(wrong)} wrong", flush=True)
    return wrong


def _has_ended(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _durations(scene: Scene) -> tuple[float, float]:
    """How long a restore lasts, and of this the swap."""
    began = time.monotonic()
    child = in_child(lambda: scene.restore(scene.plan(True)))
    wait_for(lambda: scene.is_near_its_end() or _has_ended(child), "the restore comes to its end", 120)
    swap_began = time.monotonic()
    assert exit_code(child) == 0
    scene.reset()
    return time.monotonic() - began, time.monotonic() - swap_began


def kill_at_calls(scene: Scene, limit: int, *, replacing: bool) -> list[str]:
    """SIGKILL at every system call from before the first change that people see to the end; 0 is no limit."""
    points = _list_calls(scene, replacing)
    chosen = points if not limit else random.Random(1).sample(points, min(limit, len(points)))
    what = "a replacement" if replacing else "a new database"
    print(f"  {len(points)} system calls at the end of {what}, {len(chosen)} to try", flush=True)
    wrong = []
    hits = 0
    for number, (call, when) in enumerate(chosen, 1):
        plan = scene.plan(replacing)
        code, _ = _traced(scene, plan, ["-e", f"inject={call}:signal=SIGKILL:when={when}", "-o", os.devnull])
        hits += code == -signal.SIGKILL
        wrong += scene.settle_and_judge(plan, f"killed at {call} #{when}")
        if number % 50 == 0:
            print(f"  {number} of {len(chosen)} calls, {dict(scene.seen)}, {len(wrong)} wrong", flush=True)
    print(f"  {hits} of {len(chosen)} were hit", flush=True)
    return wrong if hits >= len(chosen) * 0.9 else [*wrong, f"only {hits} of {len(chosen)} calls were hit"]


def _list_calls(scene: Scene, replacing: bool) -> list[tuple[str, int]]:
    trace = scene.directory / "trace"
    plan = scene.plan(replacing)
    code, _ = _traced(scene, plan, ["-o", str(trace)])
    assert code == 0, f"the restore under trace ended with {code}"
    scene.settle_and_judge(plan, "watched")
    counts: collections.Counter[str] = collections.Counter()
    points = []
    for call in re.findall(r"^(?:\d+ +)?(\w+)\(", trace.read_text(errors="replace"), re.MULTILINE):
        counts[call] += 1
        points.append((call, counts[call]))
    return points


def _traced(scene: Scene, plan: RestorePlan, options: list[str]) -> tuple[int, str]:
    """The restore in a child that strace joins right before the first change that people see."""
    ready_read, ready_write = os.pipe()
    go_read, go_write = os.pipe()

    def pause(step: str) -> None:
        if step in ("bar", "place"):
            os.write(ready_write, b"r")
            os.read(go_read, 1)

    child = in_child(lambda: scene.restore(plan, pause))
    os.close(ready_write)
    os.read(ready_read, 1)
    tracer = attach(child, CALLS, options)
    os.write(go_write, b"g")
    code = exit_code(child)
    said = tracer.communicate(timeout=30)[1]
    for descriptor in (ready_read, go_read, go_write):
        os.close(descriptor)
    return code, said.decode(errors="replace")
