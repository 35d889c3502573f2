"""Who uses an archive now: neither retention nor a person may take it away meanwhile."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from webapp.core.status import ACTIVE_STATUSES
from webapp.store.db import db
from webapp.store.models import AuditEvent, Drill, Restore, RestoreCheck, Verification

DOWNLOAD_LEASE = timedelta(hours=6)
_USERS = (
    (Verification, "being verified"),
    (RestoreCheck, "being looked at for a restore"),
    (Restore, "being restored"),
    (Drill, "in a restore drill"),
)


def uses_of(now: datetime, archive_id: int | None = None) -> dict[int, str]:
    """What is done with each archive in use, in words: by a task that waits or runs, or by a download of the last 6 hours."""
    found = _downloads(now, archive_id)
    for model, words in _USERS:
        query = sa.select(model.archive_id).where(model.status.in_(ACTIVE_STATUSES))
        if archive_id is not None:
            query = query.where(model.archive_id == archive_id)
        found |= dict.fromkeys(db.session.scalars(query), words)
    return found


def find_use(archive_id: int, now: datetime) -> str:
    """What is done with the archive now, in words; "" when nothing is."""
    return uses_of(now, archive_id).get(archive_id, "")


def _downloads(now: datetime, archive_id: int | None) -> dict[int, str]:
    query = sa.select(AuditEvent.subject_id).where(
        AuditEvent.at > now - DOWNLOAD_LEASE,
        AuditEvent.event == "archive.downloaded",
        AuditEvent.subject_kind == "archive",
        AuditEvent.subject_id.is_not(None),
    )
    if archive_id is not None:
        query = query.where(AuditEvent.subject_id == archive_id)
    return dict.fromkeys(
        (found for found in db.session.scalars(query) if found is not None), "downloaded a short while ago"
    )
