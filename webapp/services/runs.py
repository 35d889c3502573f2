"""Runs: asked for, kept, found. One Run is one backup of one database for one job; services/backups.py executes it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.core.actors import Actor
from webapp.core.errors import Conflict, NotFound
from webapp.core.snapshot_plans import FILES
from webapp.core.status import ACTIVE_STATUSES, DatabaseSelection, InstanceKind, JobKind, OverlapPolicy, TaskType
from webapp.services import audit
from webapp.services.refreshes import add_refresh, find_active_refresh
from webapp.services.tasks import add, find_active, ring
from webapp.store.db import db, writing
from webapp.store.models import FanOut, Job, Run, Slot, Task


def effective_selection(job: Job) -> tuple[DatabaseSelection, list[str]]:
    """Which databases the job means: its own choice, or the instance's. A host's files are filed as one of that name."""
    if job.instance.kind is InstanceKind.HOST:
        return DatabaseSelection.SINGLE, [FILES]
    chosen = job if job.database_selection is not None else job.instance
    assert chosen.database_selection is not None
    return chosen.database_selection, list(dict.fromkeys(chosen.databases))


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
        if job.kind is JobKind.REFRESH:
            active = find_active_refresh(job.id)
            tasks: list[Task] = [active or add_refresh(job, triggered_by=triggered_by, now=now)]
        elif selection is DatabaseSelection.ALL:
            found = find_active(FanOut, FanOut.job_id == job.id)
            tasks = [found or add_fan_out(job, None, triggered_by=triggered_by, now=now)]
        else:
            tasks = [
                _active_run(job.id, name) or add_run(job, name, triggered_by=triggered_by, now=now)
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
        active = _active_run(job.id, old.database_name)
        run = active or add_run(job, old.database_name, triggered_by=triggered_by, now=now)
        if active is None:
            run.retry_of_id = old.id
        session.flush()
        audit.record(actor, "run.retried", subject_kind="run", subject_id=old.id, subject_name=old.title, now=now)
    ring([run.id])
    return run


def _get_live_job(job_id: int) -> Job:
    # Locked: of two people who ask at the same moment the second sees the first one's runs (SQLite: BEGIN IMMEDIATE).
    job = db.session.get(Job, job_id, populate_existing=True, with_for_update=True)
    if job is None or job.deleted_at is not None:
        raise NotFound(f"There is no job {job_id}.")
    if job.instance.deleted_at is not None:
        raise Conflict("The instance of this job was deleted.")
    return job


def _active_run(job_id: int, database: str) -> Run | None:
    return find_active(Run, Run.job_id == job_id, Run.database_name == database)


def is_job_active(session: Session, job_id: int, *, other_than_slot: int | None) -> bool:
    """Whether a run or fan-out of the job, from another slot, is still at work."""
    for model in (Run, FanOut):
        query = sa.select(model.id).where(model.job_id == job_id, model.status.in_(ACTIVE_STATUSES))
        if other_than_slot is not None:
            query = query.where(sa.or_(model.slot_id.is_(None), model.slot_id != other_than_slot))
        if session.scalar(query.limit(1)) is not None:
            return True
    restore = find_active_refresh(job_id)
    return restore is not None and (other_than_slot is None or restore.slot_id != other_than_slot)


def add_run(job: Job, database: str, *, triggered_by: str, now: datetime, slot: Slot | None = None) -> Run:
    """A pending Run in the session of the caller's ``writing()``; it keeps what the job said at this moment."""
    run = Run(
        type=TaskType.BACKUP,
        title=_run_title(job, database),
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


def _run_title(job: Job, database: str) -> str:
    what = job.instance.name if job.instance.kind is InstanceKind.HOST else f"{job.instance.name} / {database}"
    return f"{what}: {job.name}"[:200]


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
