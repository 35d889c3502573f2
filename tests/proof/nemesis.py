"""What goes wrong at random: kills, pauses, a Redis that forgets or dies. The installation starts again what was killed."""

from __future__ import annotations

import collections
import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from redis.exceptions import RedisError

from tests.proof.installation import Installation, children_of, descendants_of, name_of
from webapp.queue.connection import connect

SCHEDULER_PAUSE_SECONDS = 12.0
HORSE_PAUSE_SECONDS = 30.0  # longer than lease, grace and sweep: when it wakes up, its run is another's


@dataclass(slots=True)
class Nemesis:
    """Strikes when told to, and counts what it did."""

    installation: Installation
    chance: random.Random
    done: collections.Counter[str] = field(default_factory=collections.Counter)
    _wakes: list[tuple[float, int]] = field(default_factory=list)

    def strike(self) -> str:
        """One blow of a random kind that finds something to hit; its name, "" when nothing was there."""
        kinds = list(self._kinds())
        for name, blow in self.chance.sample(kinds, len(kinds)):
            if blow():
                self.done[name] += 1
                return name
        return ""

    def _kinds(self) -> list[tuple[str, Callable[[], bool]]]:
        """Frequent ones are listed more than once."""
        return [
            *[("work-horse killed", self.kill_horse)] * 4,
            *[("pg_dump killed", self.kill_dump)] * 2,
            *[("worker killed", self.kill_worker)] * 2,
            *[("scheduler killed", self.kill_scheduler)] * 2,
            ("scheduler paused", self.pause_scheduler),
            ("work-horse paused", self.pause_horse),
            ("Redis flushed", self.flush_redis),
            ("Redis killed", self.kill_redis),
        ]

    def wake(self, *, all_of_them: bool = False) -> None:
        """Let those go on whose pause is over."""
        now = time.monotonic()
        for at, pid in list(self._wakes):
            if all_of_them or now >= at:
                self._wakes.remove((at, pid))
                _signal(pid, signal.SIGCONT)
                self.installation.woken(pid)

    def kill_horse(self) -> bool:
        """SIGKILL the child of a worker that runs a task."""
        return self._hit(self._horses(), signal.SIGKILL)

    def kill_dump(self) -> bool:
        """SIGKILL a pg_dump."""
        below = [pid for horse in self._horses() for pid in descendants_of(horse)]
        return self._hit([pid for pid in below if name_of(pid) == "pg_dump"], signal.SIGKILL)

    def kill_worker(self) -> bool:
        """SIGKILL a worker; its child must die with it."""
        return self._hit([member.pid for member in self.installation.workers], signal.SIGKILL)

    def kill_scheduler(self) -> bool:
        """SIGKILL a scheduler."""
        return self._hit([member.pid for member in self.installation.schedulers], signal.SIGKILL)

    def pause_scheduler(self) -> bool:
        """SIGSTOP a scheduler for longer than its lock lasts, one at a time."""
        return self._pause([member.pid for member in self.installation.schedulers], SCHEDULER_PAUSE_SECONDS)

    def pause_horse(self) -> bool:
        """SIGSTOP a running task until its lease is gone: a zombie that wakes up and goes on."""
        return self._pause(self._horses(), HORSE_PAUSE_SECONDS)

    def flush_redis(self) -> bool:
        """Everything in Redis is gone."""
        with contextlib.closing(connect(self.installation.redis.url)) as client:
            try:
                return bool(client.flushall())
            except RedisError:
                return False

    def kill_redis(self) -> bool:
        """SIGKILL Redis, and start it again."""
        self.installation.redis.stop(signal.SIGKILL)
        time.sleep(self.chance.uniform(0.0, 1.0))  # how long it is away
        self.installation.redis.start()
        return True

    def _horses(self) -> list[int]:
        return [child for member in self.installation.workers for child in children_of(member.pid)]

    def _pause(self, pids: list[int], seconds: float) -> bool:
        """One of these at a time, and never one that holds SQLite's write lock: then nobody could write, whoever they are."""
        if not pids or {pid for _, pid in self._wakes} & set(pids):
            return False
        pid = self.chance.choice(pids)
        if not _signal(pid, signal.SIGSTOP):
            return False
        if not self.installation.is_writable():
            _signal(pid, signal.SIGCONT)
            return False
        self._wakes.append((time.monotonic() + seconds, pid))
        self.installation.paused.add(pid)
        return True

    def _hit(self, pids: list[int], number: signal.Signals) -> bool:
        return bool(pids) and _signal(self.chance.choice(pids), number)


def _signal(pid: int, number: signal.Signals) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
