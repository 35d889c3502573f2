"""A whole Holdfast to torment: two schedulers and two workers over a copy of the stage, with a Redis of their own.

The processes are forked from here, each runs the very function that ``holdfast worker`` and ``holdfast scheduler`` run, and
whatever ends is started again at once, as the supervisor does. Orphans come to us, because we say so to the kernel.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.proof.stage import in_child, settings_in
from tests.support.redis import RedisServer, is_alive, wait_for
from webapp.queue.lifeline import die_with_parent
from webapp.settings import Settings
from webapp.worker import run_scheduler, run_worker

LEASE_SECONDS = 6
HEARTBEAT_SECONDS = 2
RECONCILE_SECONDS = 1
STOP_SECONDS = 25.0
PR_SET_CHILD_SUBREAPER = 36


@dataclass(slots=True)
class Member:
    """One process of the installation."""

    name: str
    work: Callable[[], None]
    pid: int = 0
    starts: int = 0
    up_since: float = 0.0


@dataclass(slots=True)
class Installation:
    """Its processes, its Redis, its database."""

    place: Path
    redis: RedisServer
    settings: Settings
    members: list[Member] = field(default_factory=list)
    strangers: frozenset[int] = frozenset()
    visitors: list[int] = field(default_factory=list)
    paused: set[int] = field(default_factory=set)
    next_look: float = 0.0

    @property
    def workers(self) -> list[Member]:
        """The workers."""
        return [member for member in self.members if member.name.startswith("worker")]

    @property
    def schedulers(self) -> list[Member]:
        """The schedulers."""
        return [member for member in self.members if member.name.startswith("scheduler")]

    def start(self, member: Member) -> None:
        """Start it (again)."""
        parent = os.getpid()

        def work() -> None:
            die_with_parent(parent)
            os.environ["TMPDIR"] = str(self.place / "tmp")
            log = os.open(self.place / f"{member.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            member.work()

        member.pid = in_child(work)
        member.starts += 1
        member.up_since = time.monotonic()

    def revive(self) -> None:
        """Start again what ended; see off visitors that got their answer."""
        self.visitors = [pid for pid in self.visitors if not os.waitpid(pid, os.WNOHANG)[0]]
        for member in self.members:
            if os.waitpid(member.pid, os.WNOHANG)[0]:
                self.start(member)

    def stop(self) -> list[str]:
        """SIGTERM to all; those that stay are named, and killed."""
        late = []
        for member in self.members:
            os.kill(member.pid, signal.SIGCONT)
            os.kill(member.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for member in self.members:
            while not os.waitpid(member.pid, os.WNOHANG)[0]:
                if time.monotonic() > deadline:
                    late.append(f"{member.name} did not stop within {STOP_SECONDS:.0f} s of a SIGTERM")
                    os.kill(member.pid, signal.SIGKILL)
                    os.waitpid(member.pid, 0)
                    break
                time.sleep(0.02)
        return late

    def orphans(self) -> list[int]:
        """Living processes that lost their parent to a kill and came to us."""
        ours = {*self.strangers, *self.visitors, *(member.pid for member in self.members)}
        if self.redis.process is not None:
            ours.add(self.redis.process.pid)
        found = []
        for pid in children_of(os.getpid()):
            if pid in ours:
                continue
            if is_alive(pid):
                found.append(pid)
            else:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
        return found

    def ask(self, query: str) -> list[tuple[object, ...]]:
        """Rows, read beside the product: no code of ours between the question and the file."""
        connection = sqlite3.connect(self.place / "holdfast.sqlite", timeout=15)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def scheduler_up_seconds(self) -> float:
        """For how long one and the same scheduler has been at work now: neither killed nor paused."""
        now = time.monotonic()
        return max((now - member.up_since for member in self.schedulers if member.pid not in self.paused), default=0.0)

    def woken(self, pid: int) -> None:
        """A process goes on after a pause."""
        self.paused.discard(pid)
        for member in self.members:
            if member.pid == pid:
                member.up_since = time.monotonic()

    def is_writable(self, seconds: float = 1.5) -> bool:
        """Whether somebody can write to the database within so long."""
        connection = sqlite3.connect(self.place / "holdfast.sqlite", timeout=seconds, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return False
        finally:
            connection.close()
        return True


@contextmanager
def running_installation(place: Path) -> Iterator[Installation]:
    """Two schedulers, two workers, one Redis; all gone afterwards."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    strangers = frozenset(children_of(os.getpid()))
    redis = RedisServer()
    redis.start()
    settings = replace(
        settings_in(place),
        redis_url=redis.url,
        lease_seconds=LEASE_SECONDS,
        heartbeat_seconds=HEARTBEAT_SECONDS,
        reconcile_seconds=RECONCILE_SECONDS,
        compression_threads=1,
    )
    found = Installation(place, redis, settings, strangers=strangers)
    found.members = [
        *(Member(f"scheduler-{number}", lambda: run_scheduler(settings)) for number in (1, 2)),
        *(Member(f"worker-{number}", lambda: run_worker(settings)) for number in (1, 2)),
    ]
    try:
        for member in found.members:
            found.start(member)
        wait_for(lambda: len(found.ask("SELECT name FROM beat")) >= len(found.members), "all of them beat", 60)
        yield found
    finally:
        for member in found.members:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(member.pid, signal.SIGKILL)
                os.waitpid(member.pid, 0)
        redis.remove()


def children_of(pid: int) -> list[int]:
    """Children of all threads of a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            found.extend(int(word) for word in (task / "children").read_text().split())
    return found


def descendants_of(pid: int) -> list[int]:
    """Children, their children, and so on."""
    found, queue = [], [pid]
    while queue:
        for child in children_of(queue.pop()):
            found.append(child)
            queue.append(child)
    return found


def name_of(pid: int) -> str:
    """The kernel's short name of a process; "" when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def command_of(pid: int) -> str:
    """Name and command line, for a report."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        words = []
    return f"{name_of(pid)} ({b' '.join(words).decode(errors='replace')[:80]})"
