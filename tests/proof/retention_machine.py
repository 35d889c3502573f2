"""A state machine that tries to make retention lose something: runs, statuses, clocks, policies, pins, drills, people and kills.

Real services over a real SQLite file and a real store on disk. Before every act of retention the whole shelf is remembered and
read by the slow oracle (tests/core/retention_oracle.py); afterwards every archive must be where it may be. A kill is an exception
that no code of ours catches, raised at the n-th statement, commit, rename or unlink of the act.

    python -m tests.proof.retention_machine --steps 100000
"""

from __future__ import annotations

import argparse
import collections
import json
import logging
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.proof.retention_kills import KILLER, Killed
from tests.proof.retention_shelf import Shelf
from tests.support.app import BOB, Installation, RecordingQueue, build_installation, make_wiring
from tests.support.factories import make_archive, make_instance, make_job, make_run
from webapp.core.errors import Conflict, InvalidInput
from webapp.core.naming import archive_directory_name
from webapp.core.retention import RetentionPlan
from webapp.core.status import (
    ACTIVE_STATUSES,
    ArchiveState,
    RetentionMode,
    TaskStatus,
    TaskType,
    VerificationLevel,
    VerificationStatus,
)
from webapp.services import points, retention, retention_by_hand, retention_holds, tasks, trash
from webapp.services.retention_clock import confirm_clock, watch_clock
from webapp.services.wiring import wired
from webapp.store.db import db, release, writing
from webapp.store.models import Archive, Drill, Job, RetentionTask, Task, Verification

START = datetime(2026, 3, 27, 22, 0, tzinfo=UTC)  # clocks change in Brussels two nights later
DATABASES = ("acme", "demo")
STORED, TRASHED = ArchiveState.STORED, ArchiveState.TRASHED
ON_DISK = (ArchiveState.STORED, ArchiveState.QUARANTINED, ArchiveState.TRASHED)
COUNTED: collections.Counter[str] = collections.Counter()
COUNTS = st.fixed_dictionaries(
    {name: st.sampled_from([0, 0, 1, 2, 3]) for name in ("last", "within_days", "hourly", "daily", "weekly", "monthly")}
)
SOME = st.integers(0, 10_000)
KILL_AT = st.one_of(st.none(), st.integers(1, 40))
_PLACES: list[tuple[Installation, Path]] = []


def installation() -> tuple[Installation, Path]:
    """One app for the whole process, below a directory in memory where there is one."""
    if not _PLACES:
        base = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
        directory = Path(tempfile.mkdtemp(prefix="holdfast-retention-", dir=base))
        _PLACES.append((build_installation(directory), directory))
    return _PLACES[0]


class RetentionMachine(RuleBasedStateMachine):
    """See the module. ``now`` is the true time; the clock shows ``now + skew``."""

    def __init__(self) -> None:
        super().__init__()
        app, directory = installation()
        store = Path(tempfile.mkdtemp(dir=directory))
        self.store_directory = store
        self.app = app.restore(make_wiring(store, RecordingQueue()))
        self.context = self.app.app_context()
        self.context.push()
        KILLER.attach(db.engine)
        self.now, self.skew, self.frozen = START, timedelta(0), False
        self.watched, self.made = START, 0

    def teardown(self) -> None:
        """Leave nothing open, and no files."""
        KILLER.disarm()
        release()
        self.context.pop()
        shutil.rmtree(self.store_directory)

    @property
    def clock(self) -> datetime:
        """What the machine's clock shows."""
        return self.now + self.skew

    @initialize()
    def begin(self) -> None:
        """A job that keeps two, and a clock that was seen."""
        make_job(make_instance(START), START, retention_mode=RetentionMode.KEEP_LAST_N, retention_value=2)
        trash.resume_deletions(self.clock)
        for database in DATABASES:
            self.back_up_some(database, VerificationStatus.PASSED, quarantined=False, count=5, step_hours=7)

    # What happens

    @rule(
        database=st.sampled_from(DATABASES),
        status=st.sampled_from(
            [VerificationStatus.PASSED] * 4 + [VerificationStatus.FAILED, VerificationStatus.NOT_RUN]
        ),
        quarantined=st.integers(0, 6).map(lambda n: n == 0),
        count=st.sampled_from([1, 3, 6, 14]),
        step_hours=st.sampled_from([1, 7, 24]),
    )
    def back_up(
        self, database: str, status: VerificationStatus, quarantined: bool, count: int, step_hours: int
    ) -> None:
        """One archive or some, each with its file."""
        self.back_up_some(database, status, quarantined=quarantined, count=count, step_hours=step_hours)

    def back_up_some(
        self, database: str, status: VerificationStatus, *, quarantined: bool, count: int, step_hours: int
    ) -> None:
        """Runs that ended well, hours apart, while the sweeper watches the clock."""
        COUNTED["runs"] += count
        for _ in range(count):
            self.now += timedelta(hours=step_hours)
            self.store(database, status, quarantined=quarantined)
            if self.now - self.watched > timedelta(days=2):
                self.watched = self.now
                watch_clock(self.clock)

    def store(self, database: str, status: VerificationStatus, *, quarantined: bool) -> None:
        """A run that ended, its archive and the archive's file."""
        self.made += 1
        name = f"1-acme-prod/{archive_directory_name(START, database, self.made, 1)}/{database}.zip"
        name = f"quarantine/{name}" if quarantined else name
        job = db.session.get_one(Job, 1)
        with writing():
            run = make_run(job, self.clock, database_name=database, status=TaskStatus.COMPLETED)
            make_archive(
                run,
                self.clock,
                run_id=None,
                relative_path=name,
                verification_status=status,
                state=ArchiveState.QUARANTINED if quarantined else STORED,
                size_bytes=7,
            )
        path = Path(wired().archive_directory, name)
        path.parent.mkdir(parents=True)
        path.write_bytes(b"archive")

    @rule(hours=st.sampled_from([1, 5, 24, 49, 71]))
    def pass_time(self, hours: int) -> None:
        """Time goes by; the sweeper works at its end."""
        self.now += timedelta(hours=hours)
        self.sweep_now(None)

    @precondition(lambda self: self.made % 4 == 1)  # else most of a walk would stand still
    @rule(days=st.sampled_from([-3650, -40, -1, 1, 4, 40, 3650]))
    def set_clock_wrong(self, days: int) -> None:
        """The clock of the machine is set wrong."""
        COUNTED["clock set wrong"] += 1
        self.skew = timedelta(days=days)

    @precondition(lambda self: self.skew)
    @rule(clear_up=st.booleans())
    def set_clock_right(self, clear_up: bool) -> None:
        """And right again; a person may say so, and delete what bears a date of the future."""
        self.skew = timedelta(0)
        if not clear_up:
            return
        confirm_clock(actor=BOB, now=self.clock)
        for row in db.session.scalars(sa.select(Archive).where(Archive.taken_at > self.clock)).all():
            if row.state in (STORED, ArchiveState.QUARANTINED) and row.pinned_at is None:
                preview = points.deletion_preview(row.id, now=self.clock)
                if not preview.obstacle:
                    points.delete(row.id, typed=preview.must_type, digest=preview.digest, actor=BOB, now=self.clock)

    @precondition(lambda self: not self.skew)
    @rule()
    def believe_the_clock(self) -> None:
        """A person says that it is right."""
        confirm_clock(actor=BOB, now=self.clock)

    @precondition(lambda self: self.skew)
    @rule()
    def believe_a_wrong_clock(self) -> None:
        """A person says so although it is wrong."""
        confirm_clock(actor=BOB, now=self.clock)

    @rule(value=st.integers(1, 5), mode=st.sampled_from([RetentionMode.KEEP_LAST_N, RetentionMode.OLDER_THAN_DAYS]))
    def set_simple_policy(self, value: int, mode: RetentionMode) -> None:
        """Another number or age."""
        with writing() as session:
            job = session.get_one(Job, 1)
            job.retention_mode, job.retention_value, job.retention_allowance = mode, value, 0

    @rule(counts=COUNTS.filter(lambda counts: any(counts.values())), zone=st.sampled_from(["UTC", "Europe/Brussels"]))
    def set_rules(self, counts: dict[str, int], zone: str) -> None:
        """Combined rules."""
        with writing() as session:
            job = session.get_one(Job, 1)
            job.retention_mode, job.retention_rules, job.time_zone = RetentionMode.RULES, counts, zone
            job.retention_allowance = 0

    @rule(which=SOME, status=st.sampled_from(list(VerificationStatus)), drill=st.booleans())
    def find_out(self, which: int, status: VerificationStatus, drill: bool) -> None:
        """A verification or a drill ends with some result."""
        with writing() as session:
            archive = self.pick(which, (STORED, ArchiveState.QUARANTINED))
            if archive is not None:
                name = "drill_status" if drill else "verification_status"
                setattr(session.get_one(Archive, archive.id), name, status)

    @rule(which=SOME, keep=st.booleans())
    def pin_or_unpin(self, which: int, keep: bool) -> None:
        """A person pins, or changes their mind."""
        archive = self.pick(which, (STORED, ArchiveState.QUARANTINED))
        if archive is not None and keep:
            points.pin(archive.id, "kept", actor=BOB, now=self.clock)
        elif archive is not None:
            points.unpin(archive.id, actor=BOB, now=self.clock)

    @rule(which=SOME, drill=st.booleans())
    def begin_use(self, which: int, drill: bool) -> None:
        """A drill or a verification of something begins; it may have been put into the trash since it was asked for."""
        archive = self.pick(which, ON_DISK)
        if archive is None:
            return
        task: Task = (
            Drill(type=TaskType.DRILL, triggered_by="manual:bob", archive_id=archive.id)
            if drill
            else Verification(
                type=TaskType.VERIFICATION,
                triggered_by="manual:bob",
                archive_id=archive.id,
                level=VerificationLevel.INTACT,
            )
        )
        with writing():
            tasks.add(task, now=self.clock)

    @rule()
    def end_uses(self) -> None:
        """All of them end."""
        with writing() as session:
            session.execute(
                sa.update(Task).where(Task.status.in_(ACTIVE_STATUSES)).values(status=TaskStatus.COMPLETED),
                execution_options={"synchronize_session": False},
            )

    @precondition(lambda self: not self.frozen and self.made % 4 == 3)
    @rule()
    def freeze(self) -> None:
        """The sentinel, or a person, freezes."""
        self.frozen = True
        retention_holds.freeze(1, "something collapsed", actor=BOB, now=self.clock)

    @precondition(lambda self: self.frozen)
    @rule()
    def unfreeze(self) -> None:
        """A person lets it go on."""
        self.frozen = False
        retention_holds.unfreeze(1, seen_reason="something collapsed", actor=BOB, now=self.clock)

    # What retention does

    @rule(database=st.sampled_from(DATABASES), kill_at=KILL_AT)
    def apply(self, database: str, kill_at: int | None) -> None:
        """After a run: the worker applies the policy."""
        run = make_run(db.session.get_one(Job, 1), self.clock, database_name=database, status=TaskStatus.COMPLETED)
        with writing() as session:
            task = retention.add_retention(session, run, now=self.clock)
            assert task is not None
            session.flush()
            task_id = task.id
        watch_clock(self.clock)
        before, plan = Shelf(self.clock), self.dry_run()
        due = sorted(
            (d.point for d in plan.drop if d.point.database == database), key=lambda p: (p.taken_at, p.archive_id)
        )
        chosen = {point.archive_id for point in due[: retention.MOST_DELETIONS]}

        killed = self.under_knife(lambda: retention.execute_retention(task_id, clock=lambda: self.clock), kill_at)

        gone = self.newly(before, TRASHED)
        assert gone == chosen or (killed and not gone), f"dry run said {chosen}, {gone} went"
        self.check_dropped(before, gone, capped=True)
        if not killed:
            release()
            assert db.session.get_one(RetentionTask, task_id).status.is_final
        self.settle_the_dead()

    @rule(database=st.sampled_from(DATABASES), days=st.integers(1, 3))
    def go_on_quietly(self, database: str, days: int) -> None:
        """Some days as they should be: a backup, retention, the sweeper."""
        for _ in range(days):
            self.back_up_some(database, VerificationStatus.PASSED, quarantined=False, count=1, step_hours=23)
            self.apply(database, None)
            self.sweep_now(None)

    @rule(most=st.integers(1, 30), kill_at=KILL_AT)
    def apply_by_hand(self, most: int, kill_at: int | None) -> None:
        """A person applies the plan on the screen."""
        watch_clock(self.clock)
        before, plan = Shelf(self.clock), self.dry_run(confirmed=True)
        ages = sorted((d.point for d in plan.drop), key=lambda p: (p.taken_at, p.archive_id))
        chosen = {point.archive_id for point in ages[:most]}

        def act() -> None:
            try:
                retention_by_hand.apply_now(1, digest=plan.digest, most=most, actor=BOB, now=self.clock)
            except Conflict:
                assert plan.frozen

        killed = self.under_knife(act, kill_at)

        gone = self.newly(before, TRASHED)
        assert gone == chosen or (killed and not gone)
        self.check_dropped(before, gone, capped=False)

    @rule()
    def agree(self) -> None:
        """A person agrees to what goes beyond the cap."""
        before = Shelf(self.clock)
        retention_by_hand.allow(1, digest=self.dry_run(confirmed=True).digest, actor=BOB, now=self.clock)
        assert not self.newly(before, TRASHED)

    @rule(kill_at=KILL_AT)
    def sweep(self, kill_at: int | None) -> None:
        """The sweeper lets go what the trash has kept long enough."""
        self.sweep_now(kill_at)

    def sweep_now(self, kill_at: int | None) -> None:
        """One pass, and what it may have done."""
        before = Shelf(self.clock)
        killed = self.under_knife(lambda: trash.resume_deletions(self.clock), kill_at)
        after = Shelf(self.clock)
        for number, state in before.states.items():
            now = after.states[number]
            if state is TRASHED and now is not TRASHED:
                row = before.rows[number]
                assert now in (ArchiveState.DELETING, ArchiveState.DELETED)
                assert not before.doubted, "the trash was emptied by a clock in doubt"
                assert not before.frozen, "the trash of a frozen job was emptied"
                assert number not in before.used, "what was in use left the trash"
                assert row.trash_until is not None
                assert row.trash_until <= self.clock, "the grace was cut short"
                good = row.verification_status is VerificationStatus.PASSED
                good = good and row.drill_status is not VerificationStatus.FAILED
                lone = row.trashed_by == "retention" and good and not before.good(row.database_name)
                assert not lone, "the last good copy left the trash by itself"
                COUNTED["gone for good"] += 1
            elif state is ArchiveState.DELETING:
                assert now is ArchiveState.DELETED or killed
            else:
                assert now is state, f"the sweeper made {state} {now}"

    # What people do

    @rule(which=SOME, typed=st.booleans(), kill_at=KILL_AT)
    def delete_by_hand(self, which: int, typed: bool, kill_at: int | None) -> None:
        """Into the trash; the last one only with the word."""
        archive = self.pick(which, (STORED, ArchiveState.QUARANTINED))
        if archive is None:
            return
        before, number, name = Shelf(self.clock), archive.id, archive.database_name
        others = [p for p in before.points if p.database == name and p.state == STORED and p.archive_id != number]
        mine = next(p for p in before.points if p.archive_id == number)
        good = mine.verified and not mine.drill_failed
        last = not others or (good and not any(other.counts for other in others))

        def act() -> None:
            preview = points.deletion_preview(number, now=self.clock)
            try:
                word = name if typed else ""
                points.delete(number, typed=word, digest=preview.digest, actor=BOB, now=self.clock)
            except (Conflict, InvalidInput):
                assert mine.pinned or mine.in_use or (last and not typed)
            else:
                assert not mine.pinned
                assert not mine.in_use
                assert typed or not last
                COUNTED["deleted by hand"] += 1

        self.under_knife(act, kill_at)
        assert self.newly(before, TRASHED) <= {number}

    @rule(which=SOME, kill_at=KILL_AT)
    def take_back(self, which: int, kill_at: int | None) -> None:
        """Out of the trash, as it was."""
        archive = self.pick(which, (TRASHED,))
        if archive is None:
            return
        number, quarantined = archive.id, archive.relative_path.startswith("quarantine/")
        killed = self.under_knife(lambda: points.take_back(number, actor=BOB, now=self.clock) and None, kill_at)
        COUNTED["taken back"] += not killed
        state = Shelf(self.clock).states[number]
        assert state is (ArchiveState.QUARANTINED if quarantined else STORED) or (killed and state is TRASHED)

    @rule(which=SOME, kill_at=KILL_AT)
    def delete_for_good(self, which: int, kill_at: int | None) -> None:
        """Out of the trash for good."""
        archive = self.pick(which, (TRASHED,))
        if archive is None:
            return
        number, name, before = archive.id, archive.database_name, Shelf(self.clock)

        def act() -> None:
            preview = points.deletion_preview(number, now=self.clock)
            try:
                points.delete_for_good(number, typed=name, digest=preview.digest, actor=BOB, now=self.clock)
            except Conflict:
                assert number in before.used or before.rows[number].pinned_at is not None

        self.under_knife(act, kill_at)
        changed = {n for n, state in Shelf(self.clock).states.items() if state is not before.states[n]}
        assert changed <= {number}

    # What is always true

    @invariant()
    def every_row_has_its_file_and_every_file_its_row(self) -> None:
        """Nothing is said to be there that is not, and nothing lies there unsaid."""
        COUNTED["steps"] += 1
        release()
        found_rows = db.session.execute(sa.select(Archive.relative_path, Archive.state)).all()
        rows = {row.relative_path: row.state for row in found_rows}
        release()
        store = wired().archive_directory
        found = {str(path.relative_to(store)) for path in store.rglob("*.zip") if ".trash" not in path.parts}
        assert {path for path, state in rows.items() if state in ON_DISK} <= found, "a file is gone"
        allowed = {path for path, state in rows.items() if state in (*ON_DISK, ArchiveState.DELETING)}
        assert found <= allowed, "a file lies there that its row says is deleted"

    # Helpers

    def pick(self, which: int, states: tuple[ArchiveState, ...]) -> Archive | None:
        """Some archive in one of the states."""
        found = db.session.scalars(sa.select(Archive).where(Archive.state.in_(states)).order_by(Archive.id)).all()
        return found[which % len(found)] if found else None

    def dry_run(self, *, confirmed: bool = False) -> RetentionPlan:
        """The plan, as every page and the shell show it."""
        release()
        plan = retention.plan_for_job(db.session.get_one(Job, 1), self.clock, confirmed=confirmed)
        release()
        return plan

    def under_knife(self, act: Callable[[], Any], kill_at: int | None) -> bool:
        """Do it, and perhaps be killed in it. Whether that happened."""
        release()
        KILLER.arm(kill_at)
        try:
            act()
        except Killed:
            COUNTED["killed"] += 1
            db.session.registry.clear()
            KILLER.bury()
            return True
        finally:
            KILLER.disarm()
        release()
        return False

    def newly(self, before: Shelf, state: ArchiveState) -> set[int]:
        """What came into a state; everything else must be as it was."""
        after = Shelf(self.clock).states
        changed = {number for number in after if number in before.states and after[number] is not before.states[number]}
        assert {after[number] for number in changed} <= {state}
        return changed

    def check_dropped(self, before: Shelf, gone: set[int], *, capped: bool) -> None:
        """The promises of retention, against what really went."""
        COUNTED["trashed"] += len(gone)
        COUNTED["applied"] += 1
        if not gone:
            COUNTED["held back"] += bool(before.may_go) and (before.frozen or before.doubted)
            return
        assert not before.frozen, "a frozen job dropped something"
        assert not before.doubted, "a clock in doubt dropped something"
        assert gone <= before.may_go, f"dropped against the rules: {gone - before.may_go}"
        for database in DATABASES:
            here = [
                p for p in before.points if p.database == database and p.state in (STORED, ArchiveState.QUARANTINED)
            ]
            due = [p for p in here if p.archive_id in before.may_go]
            mine = gone & {p.archive_id for p in here}
            if capped and mine:
                assert len(due) <= max(10, len(here) // 5, before.allowance), "more than the cap went"
                assert len(mine) <= retention.MOST_DELETIONS
            kept = [p for p in here if p.archive_id not in gone]
            assert kept or not here, "the last of a database went"
            assert not any(p.pinned or p.in_use for p in here if p.archive_id in gone)
            good, tested = before.good(database), [p for p in here if p.drilled]
            assert not good or good[-1].archive_id not in gone, "the newest verified went"
            newest = max(tested, key=lambda p: (p.taken_at, p.archive_id), default=None)
            assert newest is None or newest.archive_id not in gone, "the newest restore-tested went"

    def settle_the_dead(self) -> None:
        """What a killed worker left running is failed, as the sweeper would."""
        with writing() as session:
            session.execute(
                sa.update(Task)
                .where(Task.type == TaskType.RETENTION, Task.status.in_(ACTIVE_STATUSES))
                .values(status=TaskStatus.FAILED),
                execution_options={"synchronize_session": False},
            )


def prove(steps: int, per_example: int = 100, *, shrink: bool = True) -> dict[str, Any]:
    """Run until so many steps were made. Raises AssertionError (with the shrunk story) when a promise was broken."""
    COUNTED.clear()
    logging.disable(logging.CRITICAL)
    try:
        return _walk(steps, per_example, (Phase.generate, Phase.shrink) if shrink else (Phase.generate,))
    finally:
        logging.disable(logging.NOTSET)
        for _, directory in _PLACES:
            shutil.rmtree(directory, ignore_errors=True)
        _PLACES.clear()


def _walk(steps: int, per_example: int, phases: tuple[Phase, ...]) -> dict[str, Any]:
    began = time.monotonic()
    while COUNTED["steps"] < steps:
        wanted = settings(
            max_examples=max(1, min(50, (steps - COUNTED["steps"]) // per_example + 1)),
            stateful_step_count=per_example,
            deadline=None,
            database=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        )
        run_state_machine_as_test(RetentionMachine, settings=wanted)
    return {**COUNTED, "seconds": round(time.monotonic() - began, 1)}


def main() -> int:
    """The proof from the shell; its numbers as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    began, total = time.monotonic(), collections.Counter[str]()
    share = -(-given.steps // given.processes)
    with ProcessPoolExecutor(given.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for found in pool.map(prove, [share] * given.processes):
            total.update(found)
    print(json.dumps({**total, "seconds": round(time.monotonic() - began, 1)}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
