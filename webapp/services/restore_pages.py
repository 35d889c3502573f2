"""What the pages of a restore show: the points to choose from, the check, what will be gone, and what became of it. Read-only."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from webapp.core.reports import Check
from webapp.core.restore_plans import RestoreOptions, TargetFacts
from webapp.core.status import ArchiveFormat, ArchiveState, RestoreOutcome, RestoreTarget, VerificationStatus
from webapp.core.text import format_duration
from webapp.services.archives import get_archive
from webapp.services.restore_files import file_of
from webapp.services.restore_tasks import SAFETY
from webapp.services.restores import (
    RestoreWish,
    checks_of,
    facts_of,
    get_check,
    get_restore,
    why_not_startable,
)
from webapp.services.task_pages import TaskPage, get_task_page
from webapp.store.db import db
from webapp.store.models import Archive, KeptDatabase, Restore, RestoreCheck, Run

POINTS = 100


@dataclass(frozen=True, slots=True)
class Source:
    """A database that has restore points, with the one that would be taken."""

    instance_name: str
    database_name: str
    count: int
    newest: Archive


@dataclass(frozen=True, slots=True)
class CheckPage:
    """The page of a restore check. ``why_not``: why the restore cannot begin, "" when it can."""

    seen: TaskPage
    check: RestoreCheck
    archive: Archive
    wish: RestoreWish
    checks: Sequence[Check]
    facts: TargetFacts
    why_not: str
    restore: Restore | None
    estimate_seconds: float | None
    gone: str

    @property
    def options(self) -> RestoreOptions:
        """What was chosen."""
        return self.wish.options

    @property
    def is_replacement(self) -> bool:
        """Whether something that exists will be replaced."""
        return self.check.target is RestoreTarget.REPLACE


@dataclass(frozen=True, slots=True)
class RestorePage:
    """The page of a restore. ``headline``: what the target is now, in words; ``said``: what was restored, with its numbers."""

    seen: TaskPage
    restore: Restore
    archive: Archive
    options: RestoreOptions
    checks: Sequence[Check]
    headline: str
    said: str
    has_file: bool
    kept: KeptDatabase | None
    safety_run: Run | None


def list_sources() -> list[Source]:
    """Every database that has a restore point, by name, with the newest verified one, else the newest."""
    stored = sa.select(Archive).where(
        Archive.state == ArchiveState.STORED,
        Archive.verification_status != VerificationStatus.FAILED,
        Archive.format != ArchiveFormat.SNAPSHOT,
    )
    found: dict[tuple[str, str], list[Archive]] = {}
    for archive in db.session.scalars(stored.order_by(Archive.taken_at.desc(), Archive.id.desc())):
        found.setdefault((archive.instance_name, archive.database_name), []).append(archive)
    for_safety = _safety_runs()
    return [Source(*names, len(points), pick_newest(points, for_safety)) for names, points in sorted(found.items())]


def list_points(archive: Archive) -> list[Archive]:
    """What can be restored of the same database, newest first, at most 100, and the archive itself in any case."""
    query = (
        sa.select(Archive)
        .where(
            Archive.instance_id == archive.instance_id,
            Archive.instance_name == archive.instance_name,
            Archive.database_name == archive.database_name,
            Archive.state == ArchiveState.STORED,
            Archive.verification_status != VerificationStatus.FAILED,
        )
        .order_by(Archive.taken_at.desc(), Archive.id.desc())
        .limit(POINTS)
    )
    found = list(db.session.scalars(query))
    return found if archive in found or archive.state is not ArchiveState.STORED else [*found, archive]


def find_newest(instance_id: int, database: str = "") -> Archive | None:
    """The newest verified restore point of an instance (of one database when it is named), else the newest."""
    query = sa.select(Archive).where(
        Archive.instance_id == instance_id,
        Archive.state == ArchiveState.STORED,
        Archive.verification_status != VerificationStatus.FAILED,
        Archive.format != ArchiveFormat.SNAPSHOT,
    )
    if database:
        query = query.where(Archive.database_name == database)
    found = db.session.scalars(query.order_by(Archive.taken_at.desc(), Archive.id.desc()).limit(POINTS)).all()
    return pick_newest(found, _safety_runs()) if found else None


def pick_newest(points: Sequence[Archive], for_safety: Set[int]) -> Archive:
    """Of points that are ordered newest first: the first that is verified and failed no drill, else the first.

    A safety backup is the last to be proposed: what it holds is what somebody wanted to be rid of.
    """
    good = [
        one
        for one in points
        if one.verification_status is VerificationStatus.PASSED and one.drill_status is not VerificationStatus.FAILED
    ]
    return next((one for one in good if one.run_id not in for_safety), (*good, points[0])[0])


def _safety_runs() -> Set[int]:
    """The runs that made safety backups."""
    return set(db.session.scalars(sa.select(Run.id).where(Run.triggered_by.startswith(SAFETY))))


def estimate_seconds(archive: Archive) -> float | None:
    """How long a restore takes, as measured by the newest drill of this database; None when none was made."""
    if archive.drill_seconds is not None and archive.drill_status is VerificationStatus.PASSED:
        return archive.drill_seconds
    query = (
        sa.select(Archive.drill_seconds)
        .where(
            Archive.instance_id == archive.instance_id,
            Archive.database_name == archive.database_name,
            Archive.drill_status == VerificationStatus.PASSED,
            Archive.drill_seconds.is_not(None),
        )
        .order_by(Archive.drilled_at.desc())
        .limit(1)
    )
    return db.session.scalar(query)


def get_check_page(check_id: int, now: datetime) -> CheckPage:
    """All that the pages of a check and of its confirmation show. Raises NotFound."""
    check = get_check(check_id)
    archive = get_archive(check.archive_id)
    wish = RestoreWish(
        archive_id=archive.id,
        target=check.target,
        instance_id=check.instance_id,
        database=check.target_database,
        options=RestoreOptions.from_json(check.options),
    )
    return CheckPage(
        seen=get_task_page(check, now),
        check=check,
        archive=archive,
        wish=wish,
        checks=checks_of(check),
        facts=facts_of(check),
        why_not=why_not_startable(check, now),
        restore=db.session.scalar(sa.select(Restore).where(Restore.check_id == check_id)),
        estimate_seconds=estimate_seconds(archive),
        gone=format_duration(max(0.0, (now - archive.taken_at).total_seconds())),
    )


def get_restore_page(restore_id: int, now: datetime) -> RestorePage:
    """All that the page of a restore shows. Raises NotFound."""
    restore = get_restore(restore_id)
    kept = sa.select(KeptDatabase).where(KeptDatabase.restore_id == restore_id).limit(1)
    return RestorePage(
        seen=get_task_page(restore, now),
        restore=restore,
        archive=get_archive(restore.archive_id),
        options=RestoreOptions.from_json(restore.options),
        checks=checks_of(restore),
        headline=headline_of(restore),
        said=restore.details.get("result", {}).get("message", ""),
        has_file=bool(file_of(restore)),
        kept=db.session.scalar(kept),
        safety_run=db.session.get(Run, restore.safety_run_id) if restore.safety_run_id else None,
    )


def headline_of(restore: Restore) -> str:
    """What the target is now, in words; "" while the restore waits or works."""
    if not restore.status.is_final:
        return ""
    name = restore.target_database
    if restore.outcome is RestoreOutcome.UNKNOWN:
        return f"It is not known yet what {name or 'the target'} is: it could not be reached to look."
    if restore.outcome is RestoreOutcome.REPLACED:
        return f"{name} was replaced whole."
    if restore.outcome is RestoreOutcome.CREATED:
        return f"{name} was made." if restore.target.is_database else "The files are in their place."
    if restore.target is RestoreTarget.REPLACE:
        return f"{name} is as it was before: nothing in it was changed."
    return "Nothing was left behind at the target."
