"""The trash: an archive that is to go waits some days before its files do, and can be taken back until then.

    stored → trashed → deleting → deleted

1. *Tombstone.* One transaction says trashed, why, by whom and until when. The files keep their place on the shelf, so there is
   no moment between two places, and a kill leaves either a stored archive or a trashed one.
2. *Grace.* Nothing counts a trashed archive. Taking it back is one transaction again.
3. *Gone.* When the grace is over, and everything that would have kept the archive is asked once more, one transaction says
   deleting; then the files go, then the row says deleted. A kill in between leaves «deleting», which the sweeper finishes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.core.errors import StoreError
from webapp.core.status import ArchiveFormat, ArchiveState, VerificationStatus
from webapp.services.archive_use import find_use
from webapp.services.retention_clock import watch_clock
from webapp.services.settings import get_settings
from webapp.services.snapshot_places import is_snapshot
from webapp.services.snapshot_removals import request_due_removals, request_removal
from webapp.services.store import the_shelf
from webapp.store.db import db, release, writing
from webapp.store.models import Archive, Job

logger = logging.getLogger(__name__)

BY_RETENTION = "retention"
QUARANTINE_PREFIX = "quarantine/"
IN_STORE = (ArchiveState.STORED, ArchiveState.QUARANTINED)
BATCH = 50


def list_trash() -> Sequence[Archive]:
    """What is in the trash, what goes first first."""
    query = sa.select(Archive).where(Archive.state == ArchiveState.TRASHED)
    return db.session.scalars(query.order_by(Archive.trash_until, Archive.id)).all()


def lock_archives(*conditions: sa.ColumnElement[bool]) -> None:
    """Until the end of the caller's ``writing()`` nobody else decides about these. SQLite has but one writer anyway."""
    db.session.execute(sa.select(Archive.id).where(*conditions).order_by(Archive.id).with_for_update()).all()


def put_in_trash(archive: Archive, *, reason: str, by: str, now: datetime) -> None:
    """The tombstone, inside the caller's ``writing()``."""
    archive.state = ArchiveState.TRASHED
    archive.trashed_at, archive.trash_until = now, now + timedelta(days=get_settings().trash_days)
    archive.trashed_by, archive.delete_reason = by[:100], reason[:255]


def put_back(archive: Archive, *, present: bool) -> None:
    """Undo the tombstone, inside the caller's ``writing()``; ``present``: its file is on the shelf."""
    quarantined = archive.relative_path.startswith(QUARANTINE_PREFIX)
    there = ArchiveState.QUARANTINED if quarantined else ArchiveState.STORED
    archive.state = there if present else ArchiveState.MISSING
    archive.trashed_at = archive.trash_until = None
    archive.trashed_by = archive.delete_reason = ""


def why_kept_in_trash(archive: Archive, now: datetime) -> str:
    """Why a trashed archive whose grace is over does not go, as words; "" when it goes."""
    job = db.session.get(Job, archive.job_id) if archive.job_id is not None else None
    if job is not None and job.retention_frozen_at is not None:
        return "retention of its job is frozen"
    if use := find_use(archive.id, now):
        return use
    if archive.trashed_by == BY_RETENTION and is_good(archive) and not _has_good_successor(db.session(), archive):
        return "no verified restore point of this database would be left"
    return ""


def is_good(archive: Archive) -> bool:
    """Whether its content counts: verified, and no restore drill failed."""
    passed = archive.verification_status is VerificationStatus.PASSED
    return passed and archive.drill_status is not VerificationStatus.FAILED


def _has_good_successor(session: Session, archive: Archive) -> bool:
    query = sa.select(Archive.id).where(
        Archive.job_id == archive.job_id,
        Archive.database_name == archive.database_name,
        Archive.state == ArchiveState.STORED,
        Archive.verification_status == VerificationStatus.PASSED,
        Archive.drill_status != VerificationStatus.FAILED,
    )
    return session.scalar(query.limit(1)) is not None


def empty_due(now: datetime) -> int:
    """Mark what has been in the trash long enough as deleting. How many; none while the clock is in doubt."""
    if watch_clock(now):
        return 0
    query = sa.select(Archive.id).where(Archive.state == ArchiveState.TRASHED, Archive.trash_until <= now)
    due = list(db.session.scalars(query.order_by(Archive.trash_until, Archive.id)))
    release()
    return sum(_condemn(archive_id, now) for archive_id in due)


def _condemn(archive_id: int, now: datetime) -> bool:
    with writing() as session:
        archive = session.get(Archive, archive_id, with_for_update=True, populate_existing=True)
        if archive is None or archive.state is not ArchiveState.TRASHED or why_kept_in_trash(archive, now):
            return False
        if archive.trash_until is None or archive.trash_until > now:
            return False
        archive.state = ArchiveState.DELETING
    return True


def finish_deletion(archive_id: int, now: datetime) -> None:
    """Remove the files of an archive marked as deleting, then say so. Safe to repeat after a kill at any point.

    Of a snapshot it only asks a worker to (services/snapshot_removals.py).
    """
    archive = db.session.get(Archive, archive_id, populate_existing=True)
    if archive is None or archive.state is not ArchiveState.DELETING:
        return
    if is_snapshot(archive):
        request_removal(archive_id, now=now)
        return
    path = archive.relative_path
    release()
    the_shelf().remove(path)
    with writing() as session:
        archive = session.get_one(Archive, archive_id)
        archive.state, archive.deleted_at = ArchiveState.DELETED, now
    logger.info("the files of restore point %s are gone", archive_id)


def resume_deletions(now: datetime) -> int:
    """Let go what the trash has kept long enough, and finish deletions that a kill interrupted. How many were finished."""
    empty_due(now)
    request_due_removals(now)
    files = sa.and_(Archive.state == ArchiveState.DELETING, Archive.format != ArchiveFormat.SNAPSHOT)
    ids = list(db.session.scalars(sa.select(Archive.id).where(files).limit(BATCH)))
    release()
    return sum(_try_to_finish(archive_id, now) for archive_id in ids)


def _try_to_finish(archive_id: int, now: datetime) -> bool:
    try:
        finish_deletion(archive_id, now)
    except StoreError as error:  # the others shall not wait for one that the disk will not let go
        logger.warning("restore point %s is not deleted yet: %s", archive_id, error.message)
        release()
        return False
    return True
