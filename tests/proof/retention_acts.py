"""What retention does, and the sweeper after it: each act is compared with its dry run and with what was promised."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.proof.retention_promises import check_dropped, check_swept, newly
from tests.proof.retention_shelf import Shelf
from tests.proof.retention_world import DATABASES, KILL_AT, TRASHED, RetentionWorld
from tests.support.app import BOB
from tests.support.factories import make_run
from webapp.core.errors import Conflict
from webapp.core.retention import RetentionPlan
from webapp.core.status import ACTIVE_STATUSES, TaskStatus, TaskType, VerificationStatus
from webapp.services import retention, retention_by_hand, trash
from webapp.services.retention_clock import watch_clock
from webapp.store.db import db, release, writing
from webapp.store.models import Job, RetentionTask, Task


class WhatRetentionDoes(RetentionWorld):
    """The rules by which archives go into the trash and out of it, by policy."""

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

        gone = newly(before, self.clock, TRASHED)
        assert gone == chosen or (killed and not gone), f"dry run said {chosen}, {gone} went"
        check_dropped(before, gone, capped=True)
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

        gone = newly(before, self.clock, TRASHED)
        assert gone == chosen or (killed and not gone)
        check_dropped(before, gone, capped=False)

    @rule()
    def agree(self) -> None:
        """A person agrees to what goes beyond the cap."""
        before = Shelf(self.clock)
        retention_by_hand.allow(1, digest=self.dry_run(confirmed=True).digest, actor=BOB, now=self.clock)
        assert not newly(before, self.clock, TRASHED)

    @rule(hours=st.sampled_from([1, 5, 24, 49, 71]))
    def pass_time(self, hours: int) -> None:
        """Time goes by; the sweeper works at its end."""
        self.now += timedelta(hours=hours)
        self.sweep_now(None)

    @rule(kill_at=KILL_AT)
    def sweep(self, kill_at: int | None) -> None:
        """The sweeper lets go what the trash has kept long enough."""
        self.sweep_now(kill_at)

    def sweep_now(self, kill_at: int | None) -> None:
        """One pass, and what it may have done."""
        before = Shelf(self.clock)
        killed = self.under_knife(lambda: trash.resume_deletions(self.clock), kill_at)
        check_swept(before, Shelf(self.clock), killed=killed)

    def dry_run(self, *, confirmed: bool = False) -> RetentionPlan:
        """The plan, as every page and the shell show it."""
        release()
        plan = retention.plan_for_job(db.session.get_one(Job, 1), self.clock, confirmed=confirmed)
        release()
        return plan

    def settle_the_dead(self) -> None:
        """What a killed worker left running is failed, as the sweeper would."""
        with writing() as session:
            session.execute(
                sa.update(Task)
                .where(Task.type == TaskType.RETENTION, Task.status.in_(ACTIVE_STATUSES))
                .values(status=TaskStatus.FAILED),
                execution_options={"synchronize_session": False},
            )
