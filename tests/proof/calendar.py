"""Three schedulers over one calendar, on a clock that runs fast, killed again and again: ten thousand slots, each exactly once.

The chaos next door has everything else in it, but only a few slots a minute. Here nothing but the calendar is at work.
"""

from __future__ import annotations

import collections
import os
import random
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from tests.proof.aftermath import MINUTE, check_calendar, check_fan_out
from tests.proof.stage import Stage, answer_in_child, app_in, in_child
from tests.support.app import service_context
from tests.support.factories import make_instance, make_job
from webapp.core.status import OverlapPolicy
from webapp.queue.lifeline import die_with_parent
from webapp.services import schedule
from webapp.store.db import db, release
from webapp.store.models import Slot

SCHEDULERS = 3
SECONDS_PER_MINUTE = 0.75
BETWEEN_KILLS = (0.05, 0.6)


def run_calendar(stage: Stage, *, jobs: int, minutes: int, seed: int) -> list[str]:
    """Let the minutes pass while schedulers are killed; list what is broken."""
    place = stage.sandbox("calendar")
    first = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
    answer_in_child(place, lambda: furnish(jobs, first))
    began = time.monotonic()

    def clock() -> datetime:
        passed = timedelta(minutes=(time.monotonic() - began) / SECONDS_PER_MINUTE)
        return min(first + passed, first + minutes * MINUTE)

    kills = torment(place, clock, random.Random(seed), seconds=minutes * SECONDS_PER_MINUTE)
    last = first + minutes * MINUTE
    answer_in_child(place, lambda: schedule.reconcile(last))
    counts, broken = answer_in_child(place, lambda: examine(first, last))
    print(f"calendar: {sum(counts.values())} slots of {jobs} jobs, {SCHEDULERS} schedulers, {kills} kills: {counts}")
    return list(broken)


def furnish(jobs: int, now: datetime) -> None:
    """Jobs of every minute."""
    instance = make_instance(now, name="calendar")
    policies = [OverlapPolicy.SKIP, OverlapPolicy.QUEUE]
    for number in range(jobs):
        make_job(instance, now, name=f"Job {number}", cron="* * * * *", overlap_policy=policies[number % 2])


def torment(place: Path, clock: Callable[[], datetime], chance: random.Random, *, seconds: float) -> int:
    """Keep the schedulers going, kill one now and then. How many were killed."""
    parent = os.getpid()

    def reconcile_on() -> None:
        die_with_parent(parent)
        with service_context(app_in(place)):
            while True:
                schedule.reconcile(clock())
                release()

    pids = [in_child(reconcile_on) for _ in range(SCHEDULERS)]
    kills, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(chance.uniform(*BETWEEN_KILLS))
        victim = chance.randrange(SCHEDULERS)
        kill(pids[victim])
        pids[victim] = in_child(reconcile_on)
        kills += 1
    for pid in pids:
        kill(pid)
    return kills


def kill(pid: int) -> None:
    """SIGKILL one that must still be alive: a scheduler never ends by itself."""
    ended, status = os.waitpid(pid, os.WNOHANG)
    assert not ended, f"a scheduler ended by itself with {os.waitstatus_to_exitcode(status)}"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def examine(first: datetime, last: datetime) -> tuple[dict[str, int], list[str]]:
    """Counts by state, and what is broken."""
    states = collections.Counter(slot.state.value for slot in db.session.scalars(sa.select(Slot)))
    return dict(states), [*check_calendar(first, last, "Job %"), *check_fan_out()]
