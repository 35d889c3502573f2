"""Retention: planned by core/retention.py, shown, and applied as a task of its own after a verified run, or by a person."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.core.actors import HOLDFAST, Actor
from webapp.core.retention import Guards, RetentionPlan, RetentionPoint, RetentionPolicy, plan_retention
from webapp.core.retention_guards import cap_of
from webapp.core.retention_rules import RetentionRules
from webapp.core.status import ErrorCode, RetentionMode, TaskType, VerificationStatus
from webapp.services import audit
from webapp.services.archive_use import find_use, uses_of
from webapp.services.execution import Outcome, execute
from webapp.services.reporting import TaskReporter
from webapp.services.retention_clock import last_seen_at, watch_clock
from webapp.services.tasks import add
from webapp.services.trash import BY_RETENTION, IN_STORE, lock_archives, put_in_trash
from webapp.store.db import db, release, writing
from webapp.store.models import Archive, Job, RetentionTask, Run

MOST_DELETIONS = 10


def policy_of(job: Job) -> RetentionPolicy:
    """The job's policy as a value. Raises RetentionError when what is stored cannot be meant."""
    if job.retention_mode is RetentionMode.RULES:
        rules = RetentionRules.from_json(job.retention_rules)
        return RetentionPolicy(job.retention_mode, rules=rules, time_zone=job.time_zone)
    return RetentionPolicy(job.retention_mode, job.retention_value)


def points_of(job_id: int, now: datetime) -> list[RetentionPoint]:
    """The job's stored archives, those in quarantine too, as points, oldest first."""
    query = sa.select(Archive).where(Archive.job_id == job_id, Archive.state.in_(IN_STORE))
    used = uses_of(now)
    return [
        point_of(archive, in_use=archive.id in used)
        for archive in db.session.scalars(query.order_by(Archive.taken_at, Archive.id))
    ]


def point_of(archive: Archive, *, in_use: bool) -> RetentionPoint:
    """The archive as the planner sees it."""
    return RetentionPoint(
        archive_id=archive.id,
        database=archive.database_name,
        taken_at=archive.taken_at,
        verified=archive.verification_status is VerificationStatus.PASSED,
        state=archive.state.value,
        size_bytes=archive.size_bytes,
        in_use=in_use,
        pinned=archive.pinned_at is not None,
        drilled=archive.drill_status is VerificationStatus.PASSED,
        drill_failed=archive.drill_status is VerificationStatus.FAILED,
    )


def is_in_use(archive: Archive, now: datetime) -> bool:
    """Whether a task that waits or runs, or a download of the last 6 hours, needs the archive."""
    return bool(find_use(archive.id, now))


def plan_for_job(
    job: Job, now: datetime, policy: RetentionPolicy | None = None, *, confirmed: bool = False
) -> RetentionPlan:
    """What the policy (the job's own, or one being edited) would keep and drop now. Changes nothing.

    ``confirmed``: a person looks at it and says yes, so the cap does not hold anything back; a freeze still does.
    """
    frozen = job.retention_frozen_reason or "Retention of this job is frozen." if job.retention_frozen_at else ""
    guards = Guards(frozen, last_seen_at(), None if confirmed else job.retention_allowance)
    return plan_retention(policy or policy_of(job), points_of(job.id, now), now, guards)


def allowance_for(plan: RetentionPlan) -> int:
    """What agreeing to a (confirmed) plan allows; 0 where nobody needs to agree."""
    return len(plan.drop) if exceeds_cap(plan) else 0


def exceeds_cap(plan: RetentionPlan) -> bool:
    """Whether a confirmed plan drops more of some database than may go without a person's word."""
    gone = [dropped.point.database for dropped in plan.drop]
    stays = [kept.point.database for kept in plan.keep]
    return any(gone.count(name) > cap_of(gone.count(name) + stays.count(name)) for name in set(gone))


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
    watch_clock(clock())
    with writing() as session:
        task = session.get_one(RetentionTask, task_id)
        job, now = task.job, clock()
        if job is None or job.deleted_at is not None:
            return Outcome(values={"plan": {"kept": 0, "dropped": []}})
        lock_archives(Archive.job_id == job.id)
        plan = plan_for_job(job, now)
        chosen = trash_due(job, plan, most=MOST_DELETIONS, by=BY_RETENTION, now=now, database=task.database_name)
        if chosen:
            record_applied(HOLDFAST, job, plan, chosen, now)
        if job.retention_allowance and not plan.capped and not exceeds_cap(plan):
            set_quietly(job, retention_allowance=0)
        database = task.database_name
    release()
    _say(plan, database, reporter, len(chosen))
    return Outcome(values={"plan": {"kept": len(plan.keep), "dropped": chosen, "digest": plan.digest}})


def trash_due(
    job: Job, plan: RetentionPlan, *, most: int, by: str, now: datetime, database: str | None = None
) -> list[int]:
    """Put the oldest of what the plan drops into the trash, inside the caller's ``writing()``; their ids, oldest first."""
    due = sorted(
        (dropped for dropped in plan.drop if database is None or dropped.point.database == database),
        key=lambda dropped: (dropped.point.taken_at, dropped.point.archive_id),
    )
    for dropped in due[:most]:
        archive = db.session.get_one(Archive, dropped.point.archive_id)
        put_in_trash(archive, reason=f"{dropped.reason} (retention of {job.name})", by=by, now=now)
    return [dropped.point.archive_id for dropped in due[:most]]


def record_applied(actor: Actor, job: Job, plan: RetentionPlan, trashed: Sequence[int], now: datetime) -> None:
    """The audit log's record of what a plan did, inside the caller's ``writing()``."""
    details = {
        "policy": policy_of(job).in_words(),
        "kept": len(plan.keep),
        "trashed": len(trashed),
        "restore_points": ", ".join(map(str, trashed)),
        "digest": plan.digest,
    }
    audit.record(
        actor,
        "retention.applied",
        subject_kind="job",
        subject_id=job.id,
        subject_name=job.name,
        details=details,
        now=now,
    )


def set_quietly(job: Job, **values: object) -> None:
    """Set columns inside the caller's ``writing()`` without a new version: nobody who edits the job is overtaken by it."""
    statement = sa.update(Job).where(Job.id == job.id).values(**values)
    db.session.execute(statement.execution_options(synchronize_session=False))
    db.session.refresh(job)


def _say(plan: RetentionPlan, database: str, reporter: TaskReporter, chosen: int) -> None:
    mine = [dropped for dropped in plan.drop if dropped.point.database == database]
    for kept in (kept for kept in plan.keep if kept.point.database == database):
        reporter.log(f"keep {kept.point.archive_id} ({kept.point.taken_at:%Y-%m-%d %H:%M}): {', '.join(kept.reasons)}")
    for dropped in mine:
        reporter.log(f"drop {dropped.point.archive_id} ({dropped.point.taken_at:%Y-%m-%d %H:%M}): {dropped.reason}")
    if plan.frozen:
        reporter.warn(ErrorCode.RETENTION_FROZEN, plan.frozen)
    for sentence in plan.capped:
        reporter.warn(ErrorCode.RETENTION_HELD, sentence)
    if len(mine) > chosen:
        reporter.warn(
            ErrorCode.RETENTION_HELD,
            f"{len(mine)} restore points are due for deletion; {chosen} go now, the others after later runs.",
        )
