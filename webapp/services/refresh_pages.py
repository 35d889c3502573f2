"""What the pages of refresh jobs show, read-only: where from, where to, when next, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from webapp.core.errors import InvalidInput, NotFound
from webapp.core.status import InstanceKind, JobKind
from webapp.services.cron_preview import CronPreview, preview_cron
from webapp.services.instances import list_instances
from webapp.services.jobs import get_job
from webapp.services.refreshes import RefreshOrder
from webapp.services.restore_rules import POSTGRES_KINDS
from webapp.services.run_pages import Outcome, duration_seconds, outcome_of
from webapp.store.db import db
from webapp.store.models import Instance, Job, Restore

NEWEST = 20


@dataclass(frozen=True, slots=True)
class Places:
    """Instances to copy from, and those that a copy can be put to, by name."""

    sources: Sequence[Instance]
    targets: Sequence[Instance]


@dataclass(frozen=True, slots=True)
class RefreshedOnce:
    """One restore of the job's."""

    restore: Restore
    outcome: Outcome
    seconds: float | None


@dataclass(frozen=True, slots=True)
class RefreshPage:
    """All that the page of a refresh job shows."""

    job: Job
    order: RefreshOrder
    source: Instance | None
    target: Instance | None
    restores: Sequence[RefreshedOnce]
    preview: CronPreview | None


def list_places() -> Places:
    """Every instance that has databases can be copied from; a copy is put to a PostgreSQL server."""
    with_databases = [one for one in list_instances() if one.kind is not InstanceKind.HOST]
    found = sorted(with_databases, key=lambda one: one.name.lower())
    return Places(found, [one for one in found if one.kind in POSTGRES_KINDS])


def first_values(source_id: int | None) -> dict[str, Any]:
    """First values of a new refresh job that copies this instance."""
    source = next((one for one in list_instances() if one.id == source_id), None)
    if source is None or source.kind is InstanceKind.HOST:
        return {}
    database = source.databases[0] if source.databases else ""
    values: dict[str, Any] = {"source_instance_id": source.id, "database": database}
    if database:
        values |= {"target_database": f"{database}_staging"[:63], "name": f"Refresh {database}_staging"}
    return values


def get_refresh_job(job_id: int) -> Job:
    """The refresh job. Raises NotFound, also for a job of another kind."""
    job = get_job(job_id)
    if job.kind is not JobKind.REFRESH:
        raise NotFound(f"Job {job_id} is no refresh job.")
    return job


def get_refresh_page(job_id: int, now: datetime) -> RefreshPage:
    """All about it. Raises NotFound."""
    job = get_refresh_job(job_id)
    order = RefreshOrder.from_json(job.refresh)
    newest = sa.select(Restore).where(Restore.job_id == job_id).order_by(Restore.id.desc()).limit(NEWEST)
    return RefreshPage(
        job=job,
        order=order,
        source=db.session.get(Instance, order.source_instance_id),
        target=db.session.get(Instance, order.target_instance_id),
        restores=[
            RefreshedOnce(one, outcome_of(one), duration_seconds(one, now)) for one in db.session.scalars(newest)
        ],
        preview=preview(job.cron, job.time_zone, now),
    )


def preview(expression: str, zone: str, now: datetime) -> CronPreview | None:
    """The schedule in words with its next times; None while it cannot be read."""
    try:
        return preview_cron(expression, zone, now=now)
    except InvalidInput:
        return None
