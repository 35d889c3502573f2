"""Instances: added, changed, paused, muted, duplicated, deleted. Archives and history outlive all of it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.core.actors import Actor
from webapp.core.errors import Conflict, InvalidInput, NotFound
from webapp.core.naming import slugify, unique_slug
from webapp.core.plans import Secret
from webapp.core.status import ACTIVE_STATUSES, JobKind, TaskType
from webapp.services import audit
from webapp.services.drafts import StaleDraft
from webapp.services.host_rows import copy_host, write_host
from webapp.services.instance_keys import new_key_columns, pasted_key_columns
from webapp.services.instance_plans import secret_context
from webapp.services.instance_rules import SECRET_FIELDS, CheckedInstance, InstanceDraft, check_draft
from webapp.services.schedule import reconcile_job
from webapp.services.wiring import wired
from webapp.store.db import db, writing
from webapp.store.models import Instance, Job, Task

NOT_COPIED = frozenset(
    {"id", "uid", "slug", "name", "version", "created_at", "updated_at", "deleted_at", "master_password", "pg_password"}
    | {"ssh_private_key", "paused_at", "paused_by", "pause_reason", "paused_until", "muted_until", "mute_reason"}
)

# While one of these is at work, its instance is not deleted.
HOLDING_TASKS = (
    *(TaskType.BACKUP, TaskType.FAN_OUT, TaskType.VERIFICATION, TaskType.RETENTION),
    *(TaskType.SNAPSHOT_DISCOVERY, TaskType.SNAPSHOT_COMPARISON, TaskType.SNAPSHOT_RESTORE),
)


def get_instance(instance_id: int) -> Instance:
    """The instance as it is now. Raises NotFound, also for a deleted one."""
    instance = db.session.get(Instance, instance_id, populate_existing=True)
    if instance is None or instance.deleted_at is not None:
        raise NotFound(f"There is no instance {instance_id}.")
    return instance


def list_instances() -> Sequence[Instance]:
    """All that are not deleted, by name."""
    query = sa.select(Instance).where(Instance.deleted_at.is_(None)).order_by(sa.func.lower(Instance.name), Instance.id)
    return db.session.scalars(query).all()


def stored_secrets(instance: Instance) -> frozenset[str]:
    """Names of the secrets that are stored; never their values."""
    return frozenset(name for name in SECRET_FIELDS if getattr(instance, name) is not None)


def create_instance(draft: InstanceDraft, *, actor: Actor, now: datetime) -> Instance:
    """Add an instance. Raises InvalidDraft with every field that cannot be used."""
    checked = check_draft(draft, frozenset())
    with writing() as session:
        _refuse_taken_name(session, checked.columns["name"], None)
        instance = Instance(
            uid=str(uuid.uuid4()), slug=_free_slug(session, checked.columns["name"]), created_at=now, updated_at=now
        )
        _apply(instance, checked, draft)
        session.add(instance)
        session.flush()
        if checked.host is not None:
            write_host(session, instance, checked.host)
        details = {"kind": instance.kind.value, "secrets": sorted(stored_secrets(instance))}
        _record(actor, "instance.added", instance, details, now)
    return instance


def update_instance(instance_id: int, draft: InstanceDraft, *, version: int, actor: Actor, now: datetime) -> Instance:
    """Save a draft over the version it was made from.

    Raises NotFound, InvalidDraft, StaleDraft (another saved in between; nothing is overwritten).
    """
    with writing() as session:
        instance = get_instance(instance_id)
        if instance.version != version:
            raise StaleDraft(f"«{instance.name}»", instance.version)
        checked = check_draft(draft, stored_secrets(instance))
        if checked.columns["kind"] is not instance.kind:
            raise InvalidInput("The kind of an instance cannot be changed.", field="kind", hint="Add a new instance.")
        _refuse_taken_name(session, checked.columns["name"], instance.id)
        _refuse_moved_secrets(instance, checked)
        before = _visible(instance, checked.columns)
        _apply(instance, checked, draft)
        details: dict[str, Any] = audit.changes(before, _visible(instance, checked.columns))
        if checked.host is not None:
            details |= write_host(session, instance, checked.host)
        if checked.secrets:
            details["secrets"] = {name: "set" if value else "cleared" for name, value in checked.secrets.items()}
        instance.updated_at = now
        _record(actor, "instance.changed", instance, details, now)
    return instance


def duplicate_instance(instance_id: int, *, actor: Actor, now: datetime) -> Instance:
    """A copy with its own name and its secrets sealed anew; its jobs are copied switched off, so nothing runs twice."""
    with writing() as session:
        old = get_instance(instance_id)
        name = _free_name(session, old.name)
        copied = {c.key: getattr(old, c.key) for c in sa.inspect(Instance).column_attrs if c.key not in NOT_COPIED}
        new = Instance(
            **copied, uid=str(uuid.uuid4()), name=name, slug=_free_slug(session, name), created_at=now, updated_at=now
        )
        for field in SECRET_FIELDS:
            _set_secret(new, field, wired().vault.open(getattr(old, field), secret_context(old, field)))
        session.add(new)
        session.flush()
        copy_host(session, old.id, new)
        for job in _live_jobs(session, old.id):
            if job.kind is JobKind.BACKUP:  # a refresh names its places itself
                session.add(_copy_job(job, new.id, now))
        _record(actor, "instance.duplicated", new, {"from": old.name}, now)
    return new


def _copy_job(job: Job, instance_id: int, now: datetime) -> Job:
    skipped = {"id", "instance_id", "enabled", "cursor_at", "next_slot_at", "created_at", "updated_at", "version"}
    copied = {c.key: getattr(job, c.key) for c in sa.inspect(Job).column_attrs if c.key not in skipped}
    return Job(**copied, instance_id=instance_id, enabled=False, cursor_at=now, created_at=now, updated_at=now)


def delete_instance(instance_id: int, *, typed_name: str, actor: Actor, now: datetime) -> None:
    """Soft delete: jobs are switched off, archives, runs and log lines stay.

    Raises InvalidInput (the typed name differs), Conflict (a task of it is at work; nothing is cancelled).
    """
    with writing() as session:
        instance = get_instance(instance_id)
        if typed_name.strip() != instance.name:
            raise InvalidInput("The name you typed is not the instance's name.", field="typed_name")
        if _has_active_task(session, instance.id):
            raise Conflict(
                f"«{instance.name}» cannot be deleted while a task of it is at work.",
                hint="Wait for it to end, or cancel it on its page, then delete the instance.",
            )
        for job in _live_jobs(session, instance.id):
            job.enabled, job.next_slot_at, job.deleted_at, job.updated_at = False, None, now, now
        session.execute(sa.update(Job).where(Job.rides_with_id == instance.id).values(rides_with_id=None))
        instance.deleted_at = instance.updated_at = now
        _record(actor, "instance.deleted", instance, {}, now)


def pause_instance(instance_id: int, *, reason: str, until: datetime | None, actor: Actor, now: datetime) -> Instance:
    """No job of it starts until it is resumed, or ``until``. What runs already goes on."""
    _check_until(until, now)
    with writing():
        instance = get_instance(instance_id)
        instance.paused_at, instance.paused_by, instance.paused_until = now, actor.username[:80], until
        instance.pause_reason = _reason(reason)
        instance.updated_at = now
        _record(actor, "instance.paused", instance, {"reason": instance.pause_reason, "until": until}, now)
    _reconcile_jobs(instance_id, now)
    return get_instance(instance_id)  # reconciling ends the session that the row belonged to


def resume_instance(instance_id: int, *, actor: Actor, now: datetime) -> Instance:
    """Jobs start again from now on; what was missed during the pause is not made up for."""
    with writing() as session:
        instance = get_instance(instance_id)
        if instance.paused_at is None:
            return instance
        instance.paused_at = instance.paused_until = None
        instance.paused_by = instance.pause_reason = ""
        instance.updated_at = now
        for job in _live_jobs(session, instance.id):
            job.cursor_at, job.next_slot_at = now, None
        _record(actor, "instance.resumed", instance, {}, now)
    _reconcile_jobs(instance_id, now)
    return get_instance(instance_id)  # reconciling ends the session that the row belonged to


def mute_instance(instance_id: int, *, reason: str, until: datetime, actor: Actor, now: datetime) -> Instance:
    """Its problems are shown but not announced until then. Backups go on."""
    _check_until(until, now)
    with writing():
        instance = get_instance(instance_id)
        instance.muted_until, instance.mute_reason = until, _reason(reason)
        instance.updated_at = now
        _record(actor, "instance.muted", instance, {"reason": instance.mute_reason, "until": until}, now)
    return instance


def unmute_instance(instance_id: int, *, actor: Actor, now: datetime) -> Instance:
    """Announce its problems again."""
    with writing():
        instance = get_instance(instance_id)
        instance.muted_until, instance.mute_reason, instance.updated_at = None, "", now
        _record(actor, "instance.unmuted", instance, {}, now)
    return instance


def is_muted(instance: Instance, now: datetime) -> bool:
    """Whether its problems are silent at this moment."""
    return instance.muted_until is not None and instance.muted_until > now


_ADDRESSES = {
    "master_password": ("url", "host_header", "allow_plain_http", "tls_ca_pem", "tls_fingerprint"),
    "pg_password": ("pg_host", "pg_port", "pg_through_ssh", "pg_sslmode", "pg_ssl_root_cert"),
}


def _refuse_moved_secrets(instance: Instance, checked: CheckedInstance) -> None:
    """A stored password is never sent to an address, or under a protection, that it was not entered for."""
    for name, columns in _ADDRESSES.items():
        kept = getattr(instance, name) is not None and name not in checked.secrets
        moved = any(key in checked.columns and checked.columns[key] != getattr(instance, key) for key in columns)
        if kept and moved:
            raise InvalidInput(
                "Enter the password again: the address or its protection changed.",
                field=name,
                hint="So a stored password cannot be sent to another server by changing its address alone.",
            )


def _apply(instance: Instance, checked: CheckedInstance, draft: InstanceDraft) -> None:
    """Write checked values to the row; an SSH host that moved must show its key anew.

    An instance of the kind *host* keeps the pinned key: it is the same machine only if it shows the same key there.
    """
    moved = (instance.ssh_host, instance.ssh_port) != (checked.columns.get("ssh_host"), checked.columns.get("ssh_port"))
    for column, value in checked.columns.items():
        setattr(instance, column, value)
    for name, secret in checked.secrets.items():
        if name != "ssh_private_key":
            _set_secret(instance, name, secret)
    if (moved and checked.host is None) or not checked.uses_ssh:
        instance.ssh_host_key = ""
    _apply_ssh_key(instance, checked, draft)


def _apply_ssh_key(instance: Instance, checked: CheckedInstance, draft: InstanceDraft) -> None:
    """A pasted key, a new pair, or the one it has; an instance that uses SSH is never without."""
    pasted = checked.secrets.get("ssh_private_key")
    if not checked.uses_ssh:
        _set_key(instance, None, "")
    elif pasted:
        _set_key(instance, *pasted_key_columns(pasted))
    elif draft.new_ssh_key or instance.ssh_private_key is None or "ssh_private_key" in checked.secrets:
        _set_key(instance, *new_key_columns(instance.name))


def _set_key(instance: Instance, private: Secret | None, public: str) -> None:
    _set_secret(instance, "ssh_private_key", private)
    instance.ssh_public_key = public


def _set_secret(instance: Instance, name: str, secret: Secret | None) -> None:
    sealed = wired().vault.seal(secret, secret_context(instance, name)) if secret else None
    setattr(instance, name, sealed)


def _visible(instance: Instance, columns: dict[str, Any]) -> dict[str, Any]:
    return {key: getattr(instance, key) for key in [*columns, "ssh_public_key"]}


def _record(actor: Actor, event: str, instance: Instance, details: dict[str, Any], now: datetime) -> None:
    audit.record(
        actor,
        event,
        subject_kind="instance",
        subject_id=instance.id,
        subject_name=instance.name,
        details=details,
        now=now,
    )


def _refuse_taken_name(session: Session, name: str, own_id: int | None) -> None:
    query = sa.select(Instance.id).where(Instance.deleted_at.is_(None), sa.func.lower(Instance.name) == name.lower())
    if own_id is not None:
        query = query.where(Instance.id != own_id)
    if session.scalar(query.limit(1)) is not None:
        raise InvalidInput(f"Another instance is called «{name}».", field="name", hint="Choose a different name.")


def _free_name(session: Session, name: str) -> str:
    taken = {found.lower() for found in session.scalars(sa.select(Instance.name).where(Instance.deleted_at.is_(None)))}
    candidates = [f"{name[:115]} (copy)", *(f"{name[:115]} (copy {n})" for n in range(2, len(taken) + 3))]
    return next(candidate for candidate in candidates if candidate.lower() not in taken)


def _free_slug(session: Session, name: str) -> str:
    """The name as a slug, with a counter where another, also a deleted one, has it."""
    stem = slugify(name)[:50]
    return unique_slug(name, set(session.scalars(sa.select(Instance.slug).where(Instance.slug.startswith(stem)))))


def _live_jobs(session: Session, instance_id: int) -> Sequence[Job]:
    return session.scalars(
        sa.select(Job).where(Job.instance_id == instance_id, Job.deleted_at.is_(None)).order_by(Job.id)
    ).all()


def _has_active_task(session: Session, instance_id: int) -> bool:
    query = sa.select(Task.id).where(
        Task.instance_id == instance_id,
        Task.status.in_(ACTIVE_STATUSES),
        Task.type.in_(HOLDING_TASKS),
    )
    return session.scalar(query.limit(1)) is not None


def _check_until(until: datetime | None, now: datetime) -> None:
    if until is not None and until <= now:
        raise InvalidInput("The end lies in the past.", field="until")


def _reason(text: str) -> str:
    return " ".join(text.split())[:255]


def _reconcile_jobs(instance_id: int, now: datetime) -> None:
    query = sa.select(Job.id).where(Job.instance_id == instance_id, Job.deleted_at.is_(None), Job.enabled)
    for job_id in db.session.scalars(query).all():
        reconcile_job(job_id, now)
