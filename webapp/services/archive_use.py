"""Who uses an archive now: neither retention nor a person may take it away meanwhile."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from webapp.core.status import ACTIVE_STATUSES, ArchiveFormat, TaskStatus
from webapp.store.db import db
from webapp.store.models import (
    AuditEvent,
    Drill,
    Restore,
    RestoreCheck,
    Run,
    SnapshotComparison,
    SnapshotRestore,
    Verification,
)

DOWNLOAD_LEASE = timedelta(hours=6)
DOWNLOADS = ("archive.downloaded", "snapshot.downloaded")
BASE_OF_RUN = "base_id"  # in the details of a host's run: the snapshot that it shares files with
_USERS = (
    (Verification, "being verified"),
    (RestoreCheck, "being looked at for a restore"),
    (Restore, "being restored"),
    (Drill, "in a restore drill"),
    (SnapshotRestore, "being restored"),
    (SnapshotComparison, "being compared with its host"),
)


def uses_of(now: datetime, archive_id: int | None = None) -> dict[int, str]:
    """What is done with each archive in use, in words: by a task that waits or runs, or by a download of the last 6 hours."""
    found = _downloads(now, archive_id) | _bases(archive_id)
    for model, words in _USERS:
        query = sa.select(model.archive_id).where(model.status.in_(ACTIVE_STATUSES))
        if archive_id is not None:
            query = query.where(model.archive_id == archive_id)
        found |= dict.fromkeys(db.session.scalars(query), words)
    return found


def find_use(archive_id: int, now: datetime) -> str:
    """What is done with the archive now, in words; "" when nothing is."""
    return uses_of(now, archive_id).get(archive_id, "")


def _bases(archive_id: int | None) -> dict[int, str]:
    """Snapshots that a running backup shares its unchanged files with."""
    query = sa.select(Run.details).where(Run.status == TaskStatus.RUNNING, Run.format == ArchiveFormat.SNAPSHOT)
    found = [details.get(BASE_OF_RUN) for details in db.session.scalars(query)]
    bases = [base for base in found if isinstance(base, int) and archive_id in (None, base)]
    return dict.fromkeys(bases, "the base of a backup that runs now")


def _downloads(now: datetime, archive_id: int | None) -> dict[int, str]:
    query = sa.select(AuditEvent.subject_id).where(
        AuditEvent.at > now - DOWNLOAD_LEASE,
        AuditEvent.event.in_(DOWNLOADS),
        AuditEvent.subject_kind == "archive",
        AuditEvent.subject_id.is_not(None),
    )
    if archive_id is not None:
        query = query.where(AuditEvent.subject_id == archive_id)
    return dict.fromkeys(
        (found for found in db.session.scalars(query) if found is not None), "downloaded a short while ago"
    )
