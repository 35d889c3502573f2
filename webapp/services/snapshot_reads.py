"""When a snapshot is read again from beginning to end: after each run, after every n-th, or every n days.

A host's job says so in the columns that say for others when an archive is drilled (``drill_policy``, ``drill_value``).
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.core.status import (
    ACTIVE_STATUSES,
    ArchiveFormat,
    ArchiveState,
    DrillPolicy,
    SnapshotLayout,
    VerificationLevel,
    VerificationStatus,
)
from webapp.services.archives import add_verification
from webapp.services.drill_policies import BY_POLICY, list_scheduled
from webapp.services.tasks import ring
from webapp.store.db import db, release, writing
from webapp.store.models import Archive, Job, SnapshotRecord, Verification

logger = logging.getLogger(__name__)


def read_after_run(session: Session, archive: Archive, *, now: datetime) -> Verification | None:
    """A pending full read of a snapshot just taken, when its job's policy wants one. Ring its id after the commit."""
    job = session.get(Job, archive.job_id) if archive.job_id is not None else None
    if job is None or job.drill_policy not in (DrillPolicy.EACH, DrillPolicy.SAMPLED):
        return None
    if job.drill_policy is DrillPolicy.SAMPLED and _taken_since_last_read(session, archive) < max(1, job.drill_value):
        return None
    return add_verification(session, archive, VerificationLevel.COMPLETE, triggered_by=BY_POLICY, now=now)


def _taken_since_last_read(session: Session, archive: Archive) -> int:
    """How many snapshots the job has made since the last one that was read, or is about to be, this one included."""
    mine = sa.and_(Archive.job_id == archive.job_id, Archive.format == ArchiveFormat.SNAPSHOT)
    last = session.scalar(
        sa.select(sa.func.max(Verification.archive_id))
        .join(Archive, Archive.id == Verification.archive_id)
        .where(mine, Verification.level == VerificationLevel.COMPLETE)
    )
    query = sa.select(sa.func.count()).select_from(Archive).where(mine, Archive.id > (last or 0))
    return session.scalar(query) or 0


def request_due_reads(now: datetime) -> int:
    """Ask for the full reads of jobs that want one every so many days and had none for so long. How many were asked for."""
    return sum(_request_of_job(job_id, now) for job_id in list_scheduled(Job.format == ArchiveFormat.SNAPSHOT))


def _request_of_job(job_id: int, now: datetime) -> int:
    due = _due_archive(job_id, now)
    release()
    if due is None:
        return 0
    with writing() as session:
        # Looked at again inside the transaction: another scheduler may have been first.
        archive_id = _due_archive(job_id, now)
        if archive_id is None:
            return 0
        archive = session.get_one(Archive, archive_id)
        task = add_verification(session, archive, VerificationLevel.COMPLETE, triggered_by=BY_POLICY, now=now)
        session.flush()
        task_id = task.id
    logger.info("job %s: snapshot %s is to be read from beginning to end", job_id, archive_id)
    ring([task_id])
    return 1


def _due_archive(job_id: int, now: datetime) -> int | None:
    """The job's newest good snapshot, when none of the job's was read for too long."""
    job = db.session.get(Job, job_id, populate_existing=True)
    if job is None or job.drill_policy is not DrillPolicy.SCHEDULED:
        return None
    since = now - timedelta(days=max(1, job.drill_value))
    recent = (
        sa.select(Verification.id)
        .join(Archive, Archive.id == Verification.archive_id)
        .where(
            Archive.job_id == job_id,
            Verification.level == VerificationLevel.COMPLETE,
            sa.or_(Verification.created_at > since, Verification.status.in_(ACTIVE_STATUSES)),
        )
    )
    if db.session.scalar(recent.limit(1)) is not None:
        return None
    newest = (
        sa.select(Archive.id)
        .join(SnapshotRecord, SnapshotRecord.archive_id == Archive.id)
        .where(
            Archive.job_id == job_id,
            SnapshotRecord.layout == SnapshotLayout.OURS,
            Archive.state == ArchiveState.STORED,
            Archive.verification_status != VerificationStatus.FAILED,
        )
        .order_by(Archive.taken_at.desc(), Archive.id.desc())
    )
    return db.session.scalar(newest.limit(1))
