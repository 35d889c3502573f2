"""What happens to an installation while retention is at work: backups, clocks, policies, results, pins, uses and freezes."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.proof.retention_world import COUNTED, DATABASES, ON_DISK, SOME, STORED, RetentionWorld
from tests.support.app import BOB
from webapp.core.status import (
    ACTIVE_STATUSES,
    ArchiveState,
    RetentionMode,
    TaskStatus,
    TaskType,
    VerificationLevel,
    VerificationStatus,
)
from webapp.services import points, retention_holds, tasks
from webapp.services.retention_clock import confirm_clock
from webapp.store.db import db, writing
from webapp.store.models import Archive, Drill, Job, Task, Verification

COUNTS = st.fixed_dictionaries(
    {name: st.sampled_from([0, 0, 1, 2, 3]) for name in ("last", "within_days", "hourly", "daily", "weekly", "monthly")}
)


class WhatHappens(RetentionWorld):
    """The rules by which the world changes around retention."""

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
