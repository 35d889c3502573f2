"""Refresh jobs: a standing order that a copy of production is made anew from its newest restore point."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from webapp.core.actors import Actor
from webapp.core.errors import NotFound
from webapp.core.naming import check_database_name
from webapp.core.status import InstanceKind, JobKind, RetentionMode
from webapp.services import audit
from webapp.services.drafts import DraftCheck, StaleDraft
from webapp.services.instances import get_instance
from webapp.services.job_rules import JobDraft, check_timing
from webapp.services.jobs import get_job
from webapp.services.refreshes import RefreshOrder, is_same_database
from webapp.services.restore_rules import MOST_KEEP_DAYS, POSTGRES_KINDS, SYSTEM_DATABASES
from webapp.services.schedule import reconcile_job, settle_new_job
from webapp.store.db import writing
from webapp.store.models import Instance, Job

SAFETY_BACKUPS_KEPT = 2


@dataclass(frozen=True, slots=True)
class RefreshDraft:
    """What a person typed, not yet checked. ``keep_days`` "0": the copy before is removed at once."""

    name: str = ""
    enabled: bool = True
    source_instance_id: int | None = None
    database: str = ""
    target_instance_id: int | None = None
    target_database: str = ""
    neutralise: bool = True
    new_identity: bool = True
    with_filestore: bool = True
    safety_backup: bool = True
    owner: str = ""
    keep_days: str = "0"
    cron: str = ""
    time_zone: str = "UTC"


def draft_of(job: Job) -> RefreshDraft:
    """The draft that a form for this job begins with."""
    order = RefreshOrder.from_json(job.refresh)
    values = {**order.as_json(), "keep_days": str(order.keep_days)}
    return RefreshDraft(name=job.name, enabled=job.enabled, cron=job.cron, time_zone=job.time_zone, **values)


def check_refresh(draft: RefreshDraft) -> dict[str, Any]:
    """The columns of the job. Raises InvalidDraft with every field that cannot be used."""
    check = DraftCheck()
    timing = check_timing(check, JobDraft(cron=draft.cron, time_zone=draft.time_zone))
    name = check.text("name", draft.name, label="The job's name", most=128, needed=True)
    keep_days = check.number(
        "keep_days", draft.keep_days, label="The days that the copy before is kept", low=0, high=MOST_KEEP_DAYS
    )
    source = _instance(check, "source_instance_id", draft.source_instance_id)
    target = _instance(check, "target_instance_id", draft.target_instance_id)
    database = check.take("database", check_database_name, draft.database.strip(), default="")
    target_database = check.take("target_database", check_database_name, draft.target_database.strip(), default="")
    owner = check.take("owner", check_database_name, draft.owner.strip(), default="") if draft.owner.strip() else ""
    if source is not None and target is not None:
        _check_places(check, draft, source, target)
    check.finish()
    assert source is not None  # else it was refused above; likewise the others
    assert target is not None
    assert timing is not None
    order = RefreshOrder(
        source_instance_id=source.id,
        database=database,
        target_instance_id=target.id,
        target_database=target_database,
        neutralise=draft.neutralise,
        new_identity=draft.new_identity,
        with_filestore=draft.with_filestore,
        safety_backup=draft.safety_backup,
        owner=owner,
        keep_days=keep_days,
    )
    return {
        "kind": JobKind.REFRESH,
        "name": name,
        "enabled": draft.enabled,
        "cron": timing.cron.expression,
        "time_zone": timing.time_zone,
        "instance_id": target.id,
        "refresh": order.as_json(),
    }


def create_refresh_job(draft: RefreshDraft, *, actor: Actor, now: datetime) -> Job:
    """Add a refresh job; it belongs to the target's instance, and its first slot lies after now. Raises InvalidDraft."""
    with writing() as session:
        columns = check_refresh(draft)
        instance = get_instance(columns["instance_id"])
        job = Job(
            instance=instance,
            retention_mode=RetentionMode.KEEP_LAST_N,
            retention_value=SAFETY_BACKUPS_KEPT,
            cursor_at=now,
            created_at=now,
            updated_at=now,
            **columns,
        )
        settle_new_job(job, now)
        session.add(job)
        session.flush()
        _record(actor, "job.added", job, {"cron": job.cron, "refresh": job.refresh}, now)
        job_id = job.id
    reconcile_job(job_id, now)
    return get_job(job_id)  # reconciling ended the session that the row above belongs to


def update_refresh_job(job_id: int, draft: RefreshDraft, *, version: int, actor: Actor, now: datetime) -> Job:
    """Save a draft over the version it was made from. A changed schedule counts from now.

    Raises NotFound (no such refresh job), InvalidDraft, StaleDraft.
    """
    with writing():
        job = get_job(job_id)
        if job.kind is not JobKind.REFRESH:
            raise NotFound(f"Job {job_id} is no refresh job.")
        if job.version != version:
            raise StaleDraft(f"The job «{job.name}»", job.version)
        columns = check_refresh(draft)
        before = {key: getattr(job, key) for key in columns}
        for key, value in columns.items():
            setattr(job, key, value)
        job.instance = get_instance(job.instance_id)
        job.updated_at = now
        if any(before[key] != columns[key] for key in ("cron", "time_zone", "enabled")):
            settle_new_job(job, now)
        _record(actor, "job.changed", job, audit.changes(before, columns), now)
    reconcile_job(job_id, now)
    return get_job(job_id)


def _instance(check: DraftCheck, field: str, instance_id: int | None) -> Instance | None:
    if instance_id is None:
        check.refuse(field, "Choose an instance.")
        return None
    try:
        return get_instance(instance_id)
    except NotFound as error:
        check.refuse(field, error.message)
        return None


def _check_places(check: DraftCheck, draft: RefreshDraft, source: Instance, target: Instance) -> None:
    if target.kind not in POSTGRES_KINDS:
        check.refuse(
            "target_instance_id",
            "A copy can be replaced on a PostgreSQL server only.",
            "Choose an instance that is reached through PostgreSQL.",
        )
    if draft.target_database.strip() in SYSTEM_DATABASES | {target.pg_maintenance_database}:
        check.refuse("target_database", "That database belongs to the server itself.", "Choose another name.")
    if is_same_database(source, draft.database.strip(), target, draft.target_database.strip()):
        check.refuse("target_database", "A refresh never replaces the database that it restores from.")
    if source.kind is InstanceKind.HOST:
        check.refuse("source_instance_id", "A host has files, no databases.", "Choose another instance.")
    if source.kind is InstanceKind.POSTGRES and (draft.neutralise or draft.new_identity):
        check.refuse("neutralise", "Only a database of Odoo can be neutralised.", "Switch it off.")


def _record(actor: Actor, event: str, job: Job, details: dict[str, Any], now: datetime) -> None:
    audit.record(actor, event, subject_kind="job", subject_id=job.id, subject_name=job.name, details=details, now=now)
