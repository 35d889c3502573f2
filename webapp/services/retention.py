"""Retention: planned by core/retention.py, shown, and applied as a task of its own after a verified run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.core.retention import RetentionPlan, RetentionPoint, RetentionPolicy, plan_retention
from webapp.core.status import ACTIVE_STATUSES, ArchiveState, ErrorCode, TaskType, VerificationStatus
from webapp.services.archive_use import find_use
from webapp.services.execution import Outcome, execute
from webapp.services.reporting import TaskReporter
from webapp.services.tasks import add
from webapp.services.trash import BY_RETENTION, put_in_trash
from webapp.store.db import db, release, writing
from webapp.store.models import Archive, Job, RetentionTask, Run, Verification

MOST_DELETIONS = 10


def policy_of(job: Job) -> RetentionPolicy:
    """The job's policy as a value."""
    return RetentionPolicy(job.retention_mode, job.retention_value)


def points_of(job_id: int, database: str | None = None) -> list[RetentionPoint]:
    """The job's stored archives, those in quarantine too, as points, oldest first; of one database, or of all."""
    states = (ArchiveState.STORED, ArchiveState.QUARANTINED)
    query = sa.select(Archive).where(Archive.job_id == job_id, Archive.state.in_(states))
    if database is not None:
        query = query.where(Archive.database_name == database)
    busy = set(db.session.scalars(sa.select(Verification.archive_id).where(Verification.status.in_(ACTIVE_STATUSES))))
    return [
        RetentionPoint(
            archive_id=archive.id,
            database=archive.database_name,
            taken_at=archive.taken_at,
            verified=archive.verification_status is VerificationStatus.PASSED,
            state=archive.state.value,
            size_bytes=archive.size_bytes,
            in_use=archive.id in busy,
        )
        for archive in db.session.scalars(query.order_by(Archive.taken_at))
    ]


def is_in_use(archive: Archive, now: datetime) -> bool:
    """Whether a task that waits or runs, or a download of the last 6 hours, needs the archive."""
    return bool(find_use(archive.id, now))


def plan_for_job(job: Job, now: datetime, policy: RetentionPolicy | None = None) -> RetentionPlan:
    """What the policy (the job's own, or one being edited) would keep and drop now. Changes nothing."""
    return plan_retention(policy or policy_of(job), points_of(job.id), now)


def add_retention(session: Session, run: Run, *, now: datetime) -> RetentionTask | None:
    """A pending retention task for the run's job and database, inside the transaction that settles the run."""
    if run.job_id is None:
        return None
    task = RetentionTask(
        type=TaskType.RETENTION,
        title=f"{run.instance_name} / {run.database_name}: retention of {run.job_name}"[:200],
        triggered_by=run.triggered_by,
        instance_id=run.instance_id,
        instance_name=run.instance_name,
        job_id=run.job_id,
        database_name=run.database_name,
        max_attempts=3,
        retry_delay_seconds=60,
        time_limit_seconds=3600,
    )
    add(task, now=now)
    return task


def execute_retention(task_id: int, *, clock: Callable[[], datetime]) -> None:
    """Execute a RetentionTask."""
    execute(task_id, lambda i, reporter: _apply(i, reporter, clock), clock=clock)


def _apply(task_id: int, reporter: TaskReporter, clock: Callable[[], datetime]) -> Outcome:
    reporter.step("plan", "Plan")
    with writing() as session:
        task = session.get_one(RetentionTask, task_id)
        job = task.job
        if job is None or job.deleted_at is not None:
            return Outcome(values={"plan": {"kept": 0, "dropped": []}})
        plan = plan_retention(policy_of(job), points_of(job.id, task.database_name), clock())
        chosen = plan.drop[-MOST_DELETIONS:]  # the oldest
        for dropped in chosen:
            archive = session.get_one(Archive, dropped.point.archive_id)
            put_in_trash(archive, reason=dropped.reason, by=BY_RETENTION, now=clock())
        doomed = [dropped.point.archive_id for dropped in chosen]
    release()
    _say(plan, reporter, len(chosen))
    return Outcome(values={"plan": {"kept": len(plan.keep), "dropped": doomed, "digest": plan.digest}})


def _say(plan: RetentionPlan, reporter: TaskReporter, chosen: int) -> None:
    for kept in plan.keep:
        reporter.log(f"keep {kept.point.archive_id} ({kept.point.taken_at:%Y-%m-%d %H:%M}): {', '.join(kept.reasons)}")
    for dropped in plan.drop:
        reporter.log(f"drop {dropped.point.archive_id} ({dropped.point.taken_at:%Y-%m-%d %H:%M}): {dropped.reason}")
    if plan.frozen:
        reporter.warn(ErrorCode.RETENTION_HELD, plan.frozen)
    if len(plan.drop) > chosen:
        reporter.warn(
            ErrorCode.RETENTION_HELD,
            f"{len(plan.drop)} restore points are due for deletion; {chosen} are deleted now, the others after later runs.",
        )
