"""Runs: asked for, executed, settled. One Run is one backup of one database for one job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.core.actors import Actor
from webapp.core.errors import Conflict, HoldfastError, InvalidInput, NotFound
from webapp.core.plans import BackupPlan, Previous
from webapp.core.reports import BackupResult
from webapp.core.status import (
    ACTIVE_STATUSES,
    DatabaseSelection,
    ErrorCode,
    OverlapPolicy,
    TaskStatus,
    TaskType,
    VerificationStatus,
)
from webapp.engine import backup as engine_backup
from webapp.engine.shelf import open_shelf
from webapp.engine.sources.registry import build_source
from webapp.services import audit
from webapp.services.archives import add_archive, newest_verified
from webapp.services.execution import Outcome, execute
from webapp.services.instance_plans import source_plan
from webapp.services.reporting import TaskReporter
from webapp.services.retention import add_retention
from webapp.services.settings import get_settings
from webapp.services.tasks import add, ring
from webapp.services.wiring import wired
from webapp.store.db import db, release, writing
from webapp.store.models import FanOut, Instance, Job, Run, Slot, Task

# Asking


def effective_selection(job: Job) -> tuple[DatabaseSelection, list[str]]:
    """Which databases the job means: its own choice, or the instance's."""
    if job.database_selection is not None:
        return job.database_selection, list(job.databases)
    return job.instance.database_selection, list(job.instance.databases)


def get_run(run_id: int) -> Run:
    """The run. Raises NotFound."""
    run = db.session.get(Run, run_id, populate_existing=True)
    if run is None:
        raise NotFound(f"There is no run {run_id}.")
    return run


def request_job(job_id: int, *, actor: Actor, now: datetime) -> list[Task]:
    """*Run now*: one Run per database (or a FanOut that will make them). Active ones are answered, not doubled.

    Raises NotFound, Conflict (job or instance deleted).
    """
    triggered_by = actor.triggered_by
    with writing() as session:
        job = _get_live_job(job_id)
        selection, databases = effective_selection(job)
        if selection is DatabaseSelection.ALL:
            found = _active_fan_out(session, job.id)
            tasks: list[Task] = [found or add_fan_out(job, None, triggered_by=triggered_by, now=now)]
        else:
            tasks = [
                _active_run(session, job.id, name) or add_run(job, name, triggered_by=triggered_by, now=now)
                for name in databases
            ]
        session.flush()
        audit.record(actor, "job.run_requested", subject_kind="job", subject_id=job.id, subject_name=job.name, now=now)
    ring([task.id for task in tasks])
    return tasks


def request_retry(run_id: int, *, actor: Actor, now: datetime) -> Run:
    """Another run for the same job and database. Raises NotFound, Conflict."""
    triggered_by = actor.triggered_by
    with writing() as session:
        old = get_run(run_id)
        if old.job_id is None:
            raise Conflict("The job of this run no longer exists.", hint="Start a backup from another job.")
        job = _get_live_job(old.job_id)
        active = _active_run(session, job.id, old.database_name)
        run = active or add_run(job, old.database_name, triggered_by=triggered_by, now=now)
        if active is None:
            run.retry_of_id = old.id
        session.flush()
        audit.record(actor, "run.retried", subject_kind="run", subject_id=old.id, subject_name=old.title, now=now)
    ring([run.id])
    return run


def _get_live_job(job_id: int) -> Job:
    job = db.session.get(Job, job_id, populate_existing=True)
    if job is None or job.deleted_at is not None:
        raise NotFound(f"There is no job {job_id}.")
    if job.instance.deleted_at is not None:
        raise Conflict("The instance of this job was deleted.")
    return job


def _active_run(session: Session, job_id: int, database: str) -> Run | None:
    return session.scalar(
        sa.select(Run)
        .where(Run.job_id == job_id, Run.database_name == database, Run.status.in_(ACTIVE_STATUSES))
        .limit(1)
    )


def _active_fan_out(session: Session, job_id: int) -> FanOut | None:
    return session.scalar(sa.select(FanOut).where(FanOut.job_id == job_id, FanOut.status.in_(ACTIVE_STATUSES)).limit(1))


def is_job_active(session: Session, job_id: int, *, other_than_slot: int | None) -> bool:
    """Whether a run or fan-out of the job, from another slot, is still at work."""
    for model in (Run, FanOut):
        query = sa.select(model.id).where(model.job_id == job_id, model.status.in_(ACTIVE_STATUSES))
        if other_than_slot is not None:
            query = query.where(sa.or_(model.slot_id.is_(None), model.slot_id != other_than_slot))
        if session.scalar(query.limit(1)) is not None:
            return True
    return False


def add_run(job: Job, database: str, *, triggered_by: str, now: datetime, slot: Slot | None = None) -> Run:
    """A pending Run in the session of the caller's ``writing()``; it keeps what the job said at this moment."""
    run = Run(
        type=TaskType.BACKUP,
        title=f"{job.instance.name} / {database}: {job.name}"[:200],
        triggered_by=triggered_by,
        instance_id=job.instance_id,
        instance_name=job.instance.name,
        job_id=job.id,
        job_name=job.name,
        slot_id=slot.id if slot else None,
        scheduled_at=slot.scheduled_at if slot else None,
        database_name=database,
        content=job.content,
        format=job.format,
        verification_level=job.verification_level,
        exclusive=job.overlap_policy is not OverlapPolicy.PARALLEL,
        max_attempts=job.retries + 1,
        retry_delay_seconds=job.retry_delay_seconds,
        time_limit_seconds=job.time_limit_seconds,
        snapshot=job_snapshot(job),
    )
    add(run, now=now)
    return run


def job_snapshot(job: Job) -> dict[str, Any]:
    """What the job said, kept with the run: editing the job later changes no run."""
    return {
        "job": job.name,
        "cron": job.cron,
        "time_zone": job.time_zone,
        "retention_mode": job.retention_mode.value,
        "retention_value": job.retention_value,
        "verification_level": job.verification_level.value,
    }


def add_fan_out(job: Job, slot: Slot | None, *, triggered_by: str, now: datetime) -> FanOut:
    """A pending FanOut in the session of the caller's ``writing()``."""
    task = FanOut(
        type=TaskType.FAN_OUT,
        title=f"{job.instance.name}: find databases for {job.name}"[:200],
        triggered_by=triggered_by,
        instance_id=job.instance_id,
        instance_name=job.instance.name,
        job_id=job.id,
        slot_id=slot.id if slot else None,
        max_attempts=job.retries + 1,
        retry_delay_seconds=job.retry_delay_seconds,
        time_limit_seconds=600,
    )
    add(task, now=now)
    return task


# Finding the databases of «all»


def fan_out(task_id: int, *, clock: Callable[[], datetime]) -> None:
    """Execute a FanOut task: discover the databases, then make one Run for each, once."""
    execute(task_id, lambda i, reporter: _fan_out(i, reporter, clock), clock=clock, on_failure=_fan_out_failed)


def _fan_out(task_id: int, reporter: TaskReporter, clock: Callable[[], datetime]) -> Outcome:
    task = db.session.get_one(FanOut, task_id)
    job = task.job
    if job is None:
        raise InvalidInput("The job of this task no longer exists.")
    source = build_source(source_plan(job.instance))
    job_id, slot_id, triggered_by = job.id, task.slot_id, task.triggered_by
    release()
    reporter.step("discover", "Find databases")
    names = source.list_databases()
    reporter.log(f"{len(names)} found: {', '.join(names)}" if names else "None found.")
    if not names:
        reporter.warn(ErrorCode.NO_DATABASES, "The instance lists no databases, so there was nothing to back up.")
    outcome = Outcome(values={"details": {"databases": names}})

    def store(session: Session) -> None:
        live = session.get_one(Job, job_id, populate_existing=True)
        slot = session.get(Slot, slot_id) if slot_id is not None else None
        for name in names:
            if not _has_run(session, slot_id, name):
                run = add_run(live, name, triggered_by=triggered_by, now=clock(), slot=slot)
                session.flush()
                outcome.ring.append(run.id)

    outcome.store = store
    return outcome


def _has_run(session: Session, slot_id: int | None, database: str) -> bool:
    if slot_id is None:
        return False
    return session.scalar(sa.select(Run.id).where(Run.slot_id == slot_id, Run.database_name == database)) is not None


def _fan_out_failed(session: Session, task: Task) -> None:
    """A slot whose databases could not be found is a failed run in the history, not a silence."""
    assert isinstance(task, FanOut)
    if task.job is None or task.error_code is ErrorCode.CANCELLED:
        return
    slot = session.get(Slot, task.slot_id) if task.slot_id is not None else None
    assert task.completed_at is not None
    run = add_run(task.job, "*", triggered_by=task.triggered_by, now=task.completed_at, slot=slot)
    run.status = TaskStatus.FAILED
    run.error_code, run.error_message, run.hint = task.error_code, task.error_message, task.hint
    run.started_at, run.completed_at = task.started_at, task.completed_at


# Executing


def execute_run(run_id: int, *, clock: Callable[[], datetime]) -> None:
    """Execute one backup: plan from rows, bytes through the engine, result in one transaction."""
    execute(run_id, lambda i, reporter: _back_up(i, reporter, clock), clock=clock)


def _back_up(run_id: int, reporter: TaskReporter, clock: Callable[[], datetime]) -> Outcome:
    run = get_run(run_id)
    plan = backup_plan(run, clock())
    source = build_source(plan.source)
    release()
    result = engine_backup.run(plan, source, reporter)
    outcome = Outcome(values=_run_values(result), error=_verification_error(result))

    def store(session: Session) -> None:
        stored = get_run(run_id)
        add_archive(session, stored, result, now=clock())
        if not result.quarantined and stored.verification_status is VerificationStatus.PASSED:
            retention = add_retention(session, stored, now=clock())
            if retention is not None:
                session.flush()
                outcome.ring.append(retention.id)

    def undo() -> None:
        open_shelf(str(wired().archive_directory)).remove(result.relative_path)

    outcome.store, outcome.undo = store, undo
    return outcome


def backup_plan(run: Run, now: datetime) -> BackupPlan:
    """Everything the engine needs, unsealed, as one frozen value."""
    instance = run.instance
    if instance is None or instance.deleted_at is not None:
        raise InvalidInput("The instance of this run was deleted.")
    previous = newest_verified(instance.id, run.database_name, run.content)
    return BackupPlan(
        run_id=run.id,
        fence=run.fence,
        attempt=run.attempt,
        instance_id=instance.id,
        instance_name=instance.name,
        instance_directory=instance_directory(instance),
        job_id=run.job_id,
        database=run.database_name,
        content=run.content,
        format=run.format,
        source=source_plan(instance),
        store_directory=str(wired().archive_directory),
        started_at=now,
        verification=run.verification_level,
        previous=_previous(previous),
        expected_bytes=previous.size_bytes if previous else 0,
        reserve_bytes=get_settings().reserve_bytes,
        compression_threads=wired().compression_threads,
        labels={"job": run.job_name, "instance": instance.name, "triggered_by": run.triggered_by},
    )


def instance_directory(instance: Instance) -> str:
    """The instance's folder in the store: its id, so that renaming moves nothing, and its slug for people."""
    return f"{instance.id}-{instance.slug}"


def _previous(archive: Any) -> Previous | None:
    if archive is None:
        return None
    return Previous(archive.size_bytes, archive.row_total, archive.attachment_count, archive.taken_at)


def _run_values(result: BackupResult) -> dict[str, Any]:
    status = VerificationStatus.NOT_RUN
    if result.report is not None:
        status = VerificationStatus.PASSED if result.report.passed else VerificationStatus.FAILED
    return {
        "verification_status": status,
        "size_bytes": result.size_bytes,
        "database_bytes": result.facts.dump_bytes or None,
        "filestore_bytes": result.facts.filestore_bytes or None,
    }


def _verification_error(result: BackupResult) -> HoldfastError | None:
    if result.report is None or result.report.passed:
        return None
    first = result.report.failed[0]
    return HoldfastError(
        f"Verification failed: {first.title}: {first.detail}",
        hint=first.hint or "The archive is kept in quarantine and does not count as a backup. Look at the report.",
        code=first.code or ErrorCode.CORRUPT,
        permanent=True,
    )


def list_active(instance_id: int | None = None) -> Sequence[Run]:
    """Pending and running runs, the oldest first."""
    query = sa.select(Run).where(Run.status.in_(ACTIVE_STATUSES)).order_by(Run.id)
    if instance_id is not None:
        query = query.where(Run.instance_id == instance_id)
    return db.session.scalars(query).all()
