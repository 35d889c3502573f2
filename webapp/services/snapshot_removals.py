"""Removal of trees: a task of its own, since a large tree takes a while, and nobody else shall wait for it or feel it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.core.actors import HOLDFAST
from webapp.core.status import ACTIVE_STATUSES, ArchiveState, TaskType
from webapp.core.text import format_count
from webapp.engine.snapshots.removal import remove
from webapp.services.execution import Outcome, execute
from webapp.services.reporting import TaskReporter
from webapp.services.snapshot_places import get_record, is_root_there, place_of
from webapp.services.tasks import add, find_newest, ring
from webapp.store.db import db, release, writing
from webapp.store.models import Archive, SnapshotRecord, SnapshotRemoval

TIME_LIMIT_SECONDS = 12 * 3600
REST_AFTER_FAILURE = timedelta(minutes=15)
MOST_AT_ONCE = 20


def request_removal(archive_id: int, *, now: datetime) -> SnapshotRemoval | None:
    """Ask a worker to remove the tree of a snapshot that is marked as deleting; an active one is answered.

    None when it is not being deleted, or a removal failed a short while ago. Safe to repeat.
    """
    with writing() as session:
        archive = session.get(Archive, archive_id, with_for_update=True, populate_existing=True)
        if archive is None or archive.state is not ArchiveState.DELETING:
            return None
        newest = newest_removal(archive_id)
        if newest is not None and not _may_try_again(newest, now):
            return newest if newest.status in ACTIVE_STATUSES else None
        task = _add(session, archive, now)
    ring([task.id])
    return task


def _may_try_again(newest: SnapshotRemoval, now: datetime) -> bool:
    return newest.completed_at is not None and newest.completed_at + REST_AFTER_FAILURE <= now


def _add(session: Session, archive: Archive, now: datetime) -> SnapshotRemoval:
    task = SnapshotRemoval(
        type=TaskType.SNAPSHOT_REMOVAL,
        title=f"{archive.instance_name}: remove snapshot {archive.id}"[:200],
        triggered_by=HOLDFAST.username,
        instance_id=archive.instance_id,
        instance_name=archive.instance_name,
        archive_id=archive.id,
        max_attempts=3,
        retry_delay_seconds=120,
        time_limit_seconds=TIME_LIMIT_SECONDS,
    )
    add(task, now=now)
    session.flush()
    return task


def newest_removal(archive_id: int) -> SnapshotRemoval | None:
    """The newest one, whatever its state."""
    return find_newest(SnapshotRemoval, SnapshotRemoval.archive_id == archive_id)


def request_due_removals(now: datetime) -> int:
    """Ask for the removal of every tree whose snapshot is being deleted and that nobody is at work on. How many.

    Trees below a root that is away wait until it is back.
    """
    at_work = sa.select(SnapshotRemoval.archive_id).where(SnapshotRemoval.status.in_(ACTIVE_STATUSES))
    query = (
        sa.select(Archive.id, SnapshotRecord.root)
        .join(SnapshotRecord, SnapshotRecord.archive_id == Archive.id)
        .where(
            Archive.state == ArchiveState.DELETING,
            Archive.id.not_in(at_work),
        )
        .order_by(Archive.id)
    )
    due = [(archive_id, root) for archive_id, root in db.session.execute(query)]
    release()
    there = {root: is_root_there(root) for _, root in due}
    asked = 0
    for archive_id in (archive_id for archive_id, root in due if there[root]):
        asked += request_removal(archive_id, now=now) is not None
        if asked == MOST_AT_ONCE:
            break
    return asked


def execute_removal(task_id: int, *, clock: Callable[[], datetime]) -> None:
    """Execute a SnapshotRemoval. Removing what is gone already is fine, so it may be repeated."""
    execute(task_id, lambda i, reporter: _remove(i, reporter, clock), clock=clock)


def _remove(task_id: int, reporter: TaskReporter, clock: Callable[[], datetime]) -> Outcome:
    archive_id = db.session.get_one(SnapshotRemoval, task_id, populate_existing=True).archive_id
    record = get_record(archive_id)
    if record.archive.state is not ArchiveState.DELETING:
        return Outcome()
    place, files = place_of(record), record.file_count
    release()
    reporter.step("remove", "Remove", place.name)
    reporter.log(f"{place.path}" + (f" ({format_count(files)} files)" if files is not None else ""))
    if not remove(place, reporter):
        reporter.log("It was gone already.")

    def store(session: Session) -> None:
        archive = session.get_one(SnapshotRecord, archive_id, populate_existing=True).archive
        archive.state, archive.deleted_at = ArchiveState.DELETED, clock()

    return Outcome(store=store, irrevocable=True)
