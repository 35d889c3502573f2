"""Jobs of hosts: what such a job may say, and those that ride along with an Odoo to keep its odd ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from webapp.core.rsync_options import check_host_path
from webapp.core.status import ArchiveFormat, Content, InstanceKind, VerificationLevel
from webapp.services.drafts import DraftCheck
from webapp.services.host_rules import check_lines
from webapp.services.job_drafts import JobDraft
from webapp.store.db import db
from webapp.store.models import Instance, Job


def riding_with(instance_id: int) -> Sequence[Job]:
    """The live host jobs that keep the odd ends of an Odoo instance, by name; each one's own instance is the host."""
    query = (
        sa.select(Job)
        .join(Job.instance)
        .where(Job.rides_with_id == instance_id, Job.deleted_at.is_(None), Instance.deleted_at.is_(None))
    )
    return db.session.scalars(query.order_by(sa.func.lower(Job.name), Job.id)).all()


def check_host_job(check: DraftCheck, draft: JobDraft) -> dict[str, Any]:
    """The columns that a host's job has in place of databases, content and format.

    After each run a snapshot is verified as *intact*; when it is read again in full, the drill columns say.
    """
    return {
        "database_selection": None,
        "databases": [],
        "content": Content.FILES,
        "format": ArchiveFormat.SNAPSHOT,
        "verification_level": VerificationLevel.INTACT,
        "drill_checks": [],
        "paths": check_lines(check, "paths", draft.paths, check_host_path),
        "rides_with_id": _check_rides_with(check, draft.rides_with),
    }


def refuse_host_words(check: DraftCheck, content: Content, archive_format: ArchiveFormat) -> None:
    """Refuse what only a host's job can say in a job of another kind."""
    if content is Content.FILES:
        check.refuse("content", "Only a host's job takes files.", "Choose what the database backup holds.")
    if archive_format is ArchiveFormat.SNAPSHOT:
        check.refuse("format", "Only a host's job makes snapshots.", "Choose the zip or PostgreSQL's custom format.")


def list_ridable() -> Sequence[Instance]:
    """The Odoo instances that a host's job can ride along with, by name: choices for the form."""
    query = sa.select(Instance).where(
        Instance.deleted_at.is_(None), Instance.kind.in_([InstanceKind.ODOO_HTTP, InstanceKind.ODOO_POSTGRES])
    )
    return db.session.scalars(query.order_by(sa.func.lower(Instance.name), Instance.id)).all()


def _check_rides_with(check: DraftCheck, text: str) -> int | None:
    """The id of a live Odoo instance, or None."""
    if not text.strip():
        return None
    found = {str(instance.id): instance.id for instance in list_ridable()}
    if text.strip() not in found:
        check.refuse("rides_with", "There is no such Odoo instance.", "Choose one of the list, or none.")
    return found.get(text.strip())
