"""Retention held back: frozen by the sentinel or by a person until a person lets it go on, or let go beyond the cap."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from webapp.core.actors import Actor
from webapp.core.errors import Conflict, InvalidInput
from webapp.core.text import strip_controls
from webapp.services import audit
from webapp.services.jobs import get_job
from webapp.services.retention import set_quietly
from webapp.store.db import writing
from webapp.store.models import Job

LONGEST_REASON = 400


def freeze_in(job: Job, reason: str, *, actor: Actor | str, now: datetime) -> bool:
    """Freeze inside the caller's ``writing()``: nothing of the job is deleted until a person says so.

    The first reason stands. False when it was frozen already.
    """
    if job.retention_frozen_at is not None:
        return False
    said = strip_controls(reason).strip()[:LONGEST_REASON]
    set_quietly(job, retention_frozen_at=now, retention_frozen_reason=said)
    _record(actor, "retention.frozen", job, {"reason": said}, now)
    return True


def freeze(job_id: int, reason: str, *, actor: Actor, now: datetime) -> Job:
    """A person freezes it. Raises NotFound, InvalidInput, Conflict when it is frozen already."""
    if not strip_controls(reason).strip():
        raise InvalidInput("Say why, so that whoever lets it go on knows.", field="reason")
    with writing():
        job = get_job(job_id)
        if not freeze_in(job, reason, actor=actor, now=now):
            raise Conflict(f"Retention of «{job.name}» is frozen already: {job.retention_frozen_reason}")
    return job


def unfreeze(job_id: int, *, seen_reason: str, actor: Actor, now: datetime) -> Job:
    """A person has looked, and deleting goes on. Raises NotFound, Conflict when it was frozen for another reason since."""
    with writing():
        job = get_job(job_id)
        if job.retention_frozen_at is None:
            return job
        if job.retention_frozen_reason != seen_reason:
            raise Conflict("Retention was frozen for another reason meanwhile.", hint="Read it, then confirm.")
        details = {"reason": job.retention_frozen_reason, "since": job.retention_frozen_at.isoformat()}
        set_quietly(job, retention_frozen_at=None, retention_frozen_reason="")
        _record(actor, "retention.unfrozen", job, details, now)
    return job


def _record(actor: Actor | str, event: str, job: Job, details: Mapping[str, object], now: datetime) -> None:
    audit.record(actor, event, subject_kind="job", subject_id=job.id, subject_name=job.name, details=details, now=now)
