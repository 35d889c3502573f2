"""What the page of restore points shows beside the rows: until when each is kept and by which rule, and a timeline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from webapp.core.retention import Kept, RetentionError
from webapp.core.status import VerificationStatus
from webapp.services.archives import SHOWN_STATES, ArchiveFilter
from webapp.services.retention import plan_for_job
from webapp.services.trash import IN_STORE
from webapp.store.db import db
from webapp.store.models import Archive, Job

LANE_DAYS = 30
MOST_LANES = 12
MOST_MARKS = 2_000


@dataclass(frozen=True, slots=True)
class Mark:
    """A restore point in a lane: ``x`` from 0 (30 days ago) to 100 (now); ``state``: ok, idle, fail; ``pinned``."""

    x: float
    state: str
    pinned: bool
    archive: Archive


@dataclass(frozen=True, slots=True)
class Lane:
    """The last 30 days of one database, oldest first."""

    instance_id: int | None
    instance_name: str
    database: str
    marks: tuple[Mark, ...]

    @property
    def good(self) -> int:
        """How many of them are verified."""
        return sum(mark.state == "ok" for mark in self.marks)


def find_kept(archives: Iterable[Archive], now: datetime) -> dict[int, Kept]:
    """By archive id, why retention keeps each of these that is stored; those due for deletion, or of no job, are not in it."""
    wanted = {archive.job_id for archive in archives if archive.job_id is not None and archive.state in IN_STORE}
    found: dict[int, Kept] = {}
    for job in db.session.scalars(sa.select(Job).where(Job.id.in_(wanted), Job.deleted_at.is_(None))):
        try:
            plan = plan_for_job(job, now, confirmed=True)
        except RetentionError:
            continue  # The job's own page says what is wrong with its policy.
        found |= {kept.point.archive_id: kept for kept in plan.keep}
    return found


def list_lanes(wanted: ArchiveFilter, now: datetime) -> list[Lane]:
    """A lane for each database that the filter shows, by name; at most 12."""
    since = now - timedelta(days=LANE_DAYS)
    query = sa.select(Archive).where(
        Archive.taken_at >= since, Archive.taken_at <= now, Archive.state.in_(SHOWN_STATES)
    )
    if wanted.instance_id is not None:
        query = query.where(Archive.instance_id == wanted.instance_id)
    if wanted.database:
        query = query.where(Archive.database_name == wanted.database)
    newest = db.session.scalars(query.order_by(Archive.taken_at.desc()).limit(MOST_MARKS)).all()
    lanes: dict[tuple[str, str], list[Archive]] = {}
    for archive in reversed(newest):
        lanes.setdefault((archive.instance_name, archive.database_name), []).append(archive)
    return [_lane(lanes[key], since) for key in sorted(lanes)[:MOST_LANES]]


def _lane(archives: Sequence[Archive], since: datetime) -> Lane:
    span = timedelta(days=LANE_DAYS)
    marks = tuple(
        Mark(
            round(1 + (archive.taken_at - since) / span * 98, 2),
            _state(archive),
            archive.pinned_at is not None,
            archive,
        )
        for archive in archives
    )
    first = archives[0]
    return Lane(first.instance_id, first.instance_name, first.database_name, marks)


def _state(archive: Archive) -> str:
    if archive.state not in IN_STORE or archive.verification_status is VerificationStatus.FAILED:
        return "fail"
    if archive.drill_status is VerificationStatus.FAILED:
        return "fail"
    return "ok" if archive.verification_status is VerificationStatus.PASSED else "idle"
