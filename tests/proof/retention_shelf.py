"""What lies on the shelf before an act of retention, and what the oracle says may go."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from tests.core.retention_oracle import droppable
from webapp.core.retention import RetentionPoint
from webapp.core.status import ACTIVE_STATUSES, ArchiveState, VerificationStatus
from webapp.services import retention
from webapp.services.retention_clock import last_seen_at
from webapp.store.db import db, release
from webapp.store.models import Archive, Drill, Job, Verification

COLUMNS = (
    Archive.id,
    Archive.state,
    Archive.database_name,
    Archive.taken_at,
    Archive.verification_status,
    Archive.drill_status,
    Archive.pinned_at,
    Archive.trash_until,
    Archive.trashed_by,
)


class Shelf:
    """What lay where at one moment."""

    def __init__(self, now: datetime) -> None:
        release()
        job = db.session.get_one(Job, 1)
        self.now = now
        self.states = {row.id: row.state for row in db.session.execute(sa.select(Archive.id, Archive.state))}
        alive = sa.select(*COLUMNS).where(Archive.state.not_in((ArchiveState.DELETED, ArchiveState.DELETING)))
        self.rows = {row.id: row for row in db.session.execute(alive)}
        self.used = set(db.session.scalars(sa.select(Drill.archive_id).where(Drill.status.in_(ACTIVE_STATUSES))))
        self.used |= set(
            db.session.scalars(sa.select(Verification.archive_id).where(Verification.status.in_(ACTIVE_STATUSES)))
        )
        self.points = [
            RetentionPoint(
                archive_id=row.id,
                database=row.database_name,
                taken_at=row.taken_at,
                verified=row.verification_status is VerificationStatus.PASSED,
                state=row.state.value,
                size_bytes=7,
                in_use=row.id in self.used,
                pinned=row.pinned_at is not None,
                drilled=row.drill_status is VerificationStatus.PASSED,
                drill_failed=row.drill_status is VerificationStatus.FAILED,
            )
            for row in self.rows.values()
        ]
        self.policy = retention.policy_of(job)
        self.allowance = job.retention_allowance
        self.frozen = job.retention_frozen_at is not None
        seen = last_seen_at()
        self.doubted = seen is not None and not seen - timedelta(minutes=5) <= now <= seen + timedelta(days=3)
        self.may_go = droppable(self.policy, self.points, now)

    def good(self, database: str) -> list[RetentionPoint]:
        """What counts, oldest first."""
        found = [p for p in self.points if p.database == database and p.counts]
        return sorted(found, key=lambda p: (p.taken_at, p.archive_id))
