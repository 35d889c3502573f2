"""Jobs: the standing orders of an instance. Editing, disabling or deleting one never touches archives or history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from webapp.core.actors import Actor
from webapp.core.errors import Conflict, NotFound
from webapp.core.status import ArchiveState, JobKind
from webapp.services import audit
from webapp.services.drafts import StaleDraft
from webapp.services.instances import get_instance
from webapp.services.job_rules import SCHEDULE_FIELDS, JobDraft, check_job
from webapp.services.job_shortening import check_shortening
from webapp.services.runs import request_job
from webapp.services.schedule import reconcile_job, settle_new_job
from webapp.store.db import db, writing
from webapp.store.models import Archive, Instance, Job, Task


def get_job(job_id: int) -> Job:
    """The job as it is now. Raises NotFound, also for a deleted one or one of a deleted instance."""
    job = db.session.get(Job, job_id, populate_existing=True)
    if job is None or job.deleted_at is not None or job.instance.deleted_at is not None:
        raise NotFound(f"There is no job {job_id}.")
    return job


def list_jobs(instance_id: int | None = None) -> Sequence[Job]:
    """Live jobs of one instance, or of all, by name."""
    query = sa.select(Job).join(Job.instance).where(Job.deleted_at.is_(None), Instance.deleted_at.is_(None))
    if instance_id is not None:
        query = query.where(Job.instance_id == instance_id)
    return db.session.scalars(query.order_by(sa.func.lower(Job.name), Job.id)).all()


def create_job(instance_id: int, draft: JobDraft, *, actor: Actor, now: datetime) -> Job:
    """Add a job; its first slot lies after now. Raises NotFound, InvalidDraft."""
    with writing():
        job_id = add_job(get_instance(instance_id), draft, actor=actor, now=now).id
    reconcile_job(job_id, now)
    return get_job(job_id)  # reconciling ended the session that the row above belongs to


def add_job(instance: Instance, draft: JobDraft, *, actor: Actor, now: datetime) -> Job:
    """A job in the session of the caller's ``writing()``; who calls it reconciles it after the commit. Raises InvalidDraft."""
    columns = check_job(draft, instance, now)
    with writing() as session:
        job = Job(instance=instance, instance_id=instance.id, cursor_at=now, created_at=now, updated_at=now, **columns)
        settle_new_job(job, now)
        session.add(job)
        session.flush()
        _record(actor, "job.added", job, {"cron": job.cron, "time_zone": job.time_zone, "instance": instance.name}, now)
    return job


def update_job(job_id: int, draft: JobDraft, *, version: int, actor: Actor, now: datetime) -> Job:
    """Save a draft over the version it was made from. A changed schedule counts from now: nothing in the past fires.

    Raises NotFound, InvalidDraft, StaleDraft (another saved in between; nothing is overwritten). A policy that would delete
    much at once is refused until the draft carries the digest of that plan.
    """
    with writing():
        job = get_job(job_id)
        if job.version != version:
            raise StaleDraft(f"The job «{job.name}»", job.version)
        if job.kind is not JobKind.BACKUP:
            raise Conflict(
                f"«{job.name}» makes no backups, so it is not changed here.", hint="Open it as a refresh job."
            )
        columns = check_job(draft, job.instance, now)
        columns |= check_shortening(job, draft, now)
        before = {key: getattr(job, key) for key in columns}
        _apply(job, columns, now)
        _record(actor, "job.changed", job, audit.changes(before, columns), now)
    reconcile_job(job_id, now)
    return get_job(job_id)


def set_enabled(job_id: int, enabled: bool, *, actor: Actor, now: datetime) -> Job:
    """Switch a job on or off. Switched on, it counts from now; what was missed is not made up for."""
    with writing():
        job = get_job(job_id)
        if job.enabled == enabled:
            return job
        _apply(job, {"enabled": enabled}, now)
        _record(actor, "job.enabled" if enabled else "job.disabled", job, {}, now)
    reconcile_job(job_id, now)
    return get_job(job_id)


def delete_job(job_id: int, *, actor: Actor, now: datetime) -> Job:
    """Soft delete: it never starts again. Its archives, runs and a run at work stay."""
    with writing():
        job = get_job(job_id)
        job.enabled, job.next_slot_at, job.deleted_at, job.updated_at = False, None, now, now
        _record(actor, "job.deleted", job, {}, now)
    return job


def run_now(job_id: int, *, actor: Actor, now: datetime) -> list[Task]:
    """Ask for the job's runs at once; active ones are answered, not doubled. Raises NotFound, Conflict."""
    return request_job(job_id, actor=actor, now=now)


def run_all(instance_id: int, *, actor: Actor, now: datetime) -> list[Task]:
    """Ask for the runs of every enabled job of an instance. Raises NotFound, Conflict when there is none."""
    instance = get_instance(instance_id)
    enabled = [job.id for job in list_jobs(instance_id) if job.enabled and job.kind is JobKind.BACKUP]
    if not enabled:
        raise Conflict(f"«{instance.name}» has no enabled job.", hint="Add a job first: it says what is backed up.")
    return [task for job_id in enabled for task in run_now(job_id, actor=actor, now=now)]


def count_points(job_id: int) -> int:
    """How many restore points of the job are stored."""
    query = sa.select(sa.func.count()).select_from(Archive)
    return db.session.scalar(query.where(Archive.job_id == job_id, Archive.state == ArchiveState.STORED)) or 0


def _apply(job: Job, columns: dict[str, Any], now: datetime) -> None:
    retimed = any(getattr(job, key) != columns[key] for key in SCHEDULE_FIELDS if key in columns)
    woken = columns.get("enabled", job.enabled) and not job.enabled
    for key, value in columns.items():
        setattr(job, key, value)
    job.updated_at = now
    if retimed or woken:
        settle_new_job(job, now)
    elif not job.enabled:
        job.next_slot_at = None


def _record(actor: Actor, event: str, job: Job, details: dict[str, Any], now: datetime) -> None:
    audit.record(actor, event, subject_kind="job", subject_id=job.id, subject_name=job.name, details=details, now=now)
