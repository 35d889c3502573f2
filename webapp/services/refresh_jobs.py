"""Refresh jobs: a standing order that a copy of production is made anew from its newest restore point."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from webapp.core.actors import Actor
from webapp.store.models import Job


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


def check_refresh(draft: RefreshDraft) -> dict[str, Any]:
    """The columns of the job. Raises InvalidDraft with every field that cannot be used."""
    raise NotImplementedError


def create_refresh_job(draft: RefreshDraft, *, actor: Actor, now: datetime) -> Job:
    """Add a refresh job; its first slot lies after now. Raises InvalidDraft."""
    raise NotImplementedError


def update_refresh_job(job_id: int, draft: RefreshDraft, *, version: int, actor: Actor, now: datetime) -> Job:
    """Save a draft over the version it was made from. Raises NotFound, InvalidDraft, StaleDraft."""
    raise NotImplementedError
