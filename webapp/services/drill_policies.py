"""When a job's archives are restored for practice: after each verified run, after every n-th, or every n days.

Called by services/backups inside the transaction that settles a run, and by the scheduler with every sweep.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.core.actors import HOLDFAST
from webapp.core.status import ACTIVE_STATUSES, ArchiveFormat, ArchiveState, DrillPolicy, VerificationStatus
from webapp.services.drills import add_drill
from webapp.services.tasks import ring
from webapp.store.db import db, release, writing
from webapp.store.models import Archive, Drill, Job

logger = logging.getLogger(__name__)

BY_POLICY = f"policy:{HOLDFAST.username}"


def drill_after_run(session: Session, archive: Archive, *, now: datetime) -> Drill | None:
    """A pending drill of an archive just verified, when its job's policy wants one. Ring its id after the commit.

    Sampled: when ``drill_value`` verified archives of the job's database were made since the last one that was drilled,
    this one included.
    """
    job = session.get(Job, archive.job_id) if archive.job_id is not None else None
    if job is None or not _counts(archive):
        return None
    if job.drill_policy is DrillPolicy.EACH:
        return add_drill(session, archive, triggered_by=BY_POLICY, now=now)
    if job.drill_policy is DrillPolicy.SAMPLED:
        session.flush()
        if _made_since_last_drill(session, archive) >= max(1, job.drill_value):
            return add_drill(session, archive, triggered_by=BY_POLICY, now=now)
    return None


def _counts(archive: Archive) -> bool:
    return archive.state is ArchiveState.STORED and archive.verification_status is VerificationStatus.PASSED


def _made_since_last_drill(session: Session, archive: Archive) -> int:
    same = (Archive.job_id == archive.job_id, Archive.database_name == archive.database_name)
    last = session.scalar(
        sa.select(sa.func.max(Drill.archive_id)).join(Archive, Archive.id == Drill.archive_id).where(*same)
    )
    query = (
        sa.select(sa.func.count())
        .select_from(Archive)
        .where(*same, Archive.id > (last or 0), Archive.verification_status == VerificationStatus.PASSED)
    )
    return session.scalar(query) or 0


def request_due_drills(now: datetime) -> int:
    """Ask for the drills of jobs that want one every so many days and had none for so long. How many were asked for."""
    # Those of snapshots are read again instead: services/snapshot_reads.py
    job_ids = list_scheduled(Job.format != ArchiveFormat.SNAPSHOT)
    return sum(_request_of_job(job_id, now) for job_id in job_ids)


def list_scheduled(condition: sa.ColumnElement[bool]) -> list[int]:
    """Ids of the enabled jobs that want a drill, or a full read, every so many days. Ends the session's transaction."""
    query = sa.select(Job.id).where(
        condition, Job.drill_policy == DrillPolicy.SCHEDULED, Job.deleted_at.is_(None), Job.enabled
    )
    job_ids = list(db.session.scalars(query))
    release()
    return job_ids


def _request_of_job(job_id: int, now: datetime) -> int:
    due = _due_archives(job_id, now)
    release()
    if not due:
        return 0
    with writing() as session:
        # Looked at again inside the transaction: another scheduler may have been first.
        drills = [
            add_drill(session, session.get_one(Archive, archive_id), triggered_by=BY_POLICY, now=now)
            for archive_id in _due_archives(job_id, now)
        ]
        session.flush()
        ids = [drill.id for drill in drills]
    logger.info("job %s: %s scheduled restore drills", job_id, len(ids))
    ring(ids)
    return len(ids)


def _due_archives(job_id: int, now: datetime) -> list[int]:
    """The newest good archive of each of the job's databases whose last drill is too long ago."""
    job = db.session.get(Job, job_id)
    if job is None or job.drill_policy is not DrillPolicy.SCHEDULED:
        return []
    since = now - timedelta(days=max(1, job.drill_value))
    good = sa.and_(
        Archive.job_id == job_id,
        Archive.state == ArchiveState.STORED,
        Archive.verification_status == VerificationStatus.PASSED,
    )
    newest = sa.select(Archive.database_name, sa.func.max(Archive.taken_at)).where(good).group_by(Archive.database_name)
    due = []
    for database, taken_at in db.session.execute(newest).all():
        recent = (
            sa.select(Drill.id)
            .join(Archive, Archive.id == Drill.archive_id)
            .where(
                Archive.job_id == job_id,
                Archive.database_name == database,
                sa.or_(Drill.created_at > since, Drill.status.in_(ACTIVE_STATUSES)),
            )
        )
        if db.session.scalar(recent.limit(1)) is None:
            chosen = sa.select(Archive.id).where(good, Archive.database_name == database, Archive.taken_at == taken_at)
            due.append(db.session.scalars(chosen.limit(1)).one())
    return due
