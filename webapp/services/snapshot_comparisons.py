"""A sample of a snapshot compared with what its host has now, by checksum. Changes nothing on either side."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy.orm import Session

from webapp.core.actors import Actor
from webapp.core.errors import Conflict
from webapp.core.reports import find_failure
from webapp.core.status import ErrorCode, TaskType
from webapp.engine.report import tell_check
from webapp.engine.snapshots.live import compare_live
from webapp.services import audit
from webapp.services.execution import Outcome, execute
from webapp.services.hosts import host_plan
from webapp.services.reporting import TaskReporter
from webapp.services.snapshot_places import get_record, get_stored, place_of
from webapp.services.tasks import add, find_active, find_newest, ring
from webapp.store.db import db, release, writing
from webapp.store.models import Archive, Instance, SnapshotComparison

TIME_LIMIT_SECONDS = 3600


def request_comparison(archive_id: int, *, actor: Actor, now: datetime) -> SnapshotComparison:
    """Ask a worker to compare; an active one is answered, not doubled. ``checks`` has the answers when it has ended.

    Raises NotFound, Conflict when the host was deleted.
    """
    with writing() as session:
        archive = get_stored(archive_id).archive
        live_host(archive)
        active = find_active(SnapshotComparison, SnapshotComparison.archive_id == archive_id)
        if active is not None:
            return active
        task = SnapshotComparison(
            type=TaskType.SNAPSHOT_COMPARISON,
            title=f"{archive.instance_name}: compare snapshot {archive_id} with the host"[:200],
            triggered_by=actor.triggered_by,
            instance_id=archive.instance_id,
            instance_name=archive.instance_name,
            archive_id=archive_id,
            max_attempts=1,
            time_limit_seconds=TIME_LIMIT_SECONDS,
        )
        add(task, now=now)
        session.flush()
        audit.record(
            actor,
            "snapshot.compared",
            subject_kind="archive",
            subject_id=archive_id,
            subject_name=f"{archive.instance_name} / {archive.taken_at:%Y-%m-%d %H:%M}",
            details={"task_id": task.id},
            now=now,
        )
    ring([task.id])
    return task


def live_host(archive: Archive) -> Instance:
    """The host that the snapshot was taken of. Raises Conflict when it was deleted."""
    if archive.instance is None or archive.instance.deleted_at is not None:
        raise Conflict("The host of this snapshot was deleted.", hint="Its files can still be browsed and downloaded.")
    return archive.instance


def newest_comparison(archive_id: int) -> SnapshotComparison | None:
    """The newest one, whatever its state."""
    return find_newest(SnapshotComparison, SnapshotComparison.archive_id == archive_id)


def execute_comparison(task_id: int, *, clock: Callable[[], datetime]) -> None:
    """Execute a SnapshotComparison."""
    execute(task_id, lambda i, reporter: _compare(i, reporter, clock), clock=clock)


def _compare(task_id: int, reporter: TaskReporter, clock: Callable[[], datetime]) -> Outcome:
    archive_id = db.session.get_one(SnapshotComparison, task_id, populate_existing=True).archive_id
    record = get_stored(archive_id)
    place, plan = place_of(record), host_plan(live_host(record.archive))
    reporter.hide(plan.ssh.private_key.reveal())
    release()
    checks = compare_live(place, plan, reporter)
    for check in checks:
        line = f"{check.title}: {check.detail or check.value or check.state.value}"
        tell_check(check, line, reporter, code=ErrorCode.HOST_DIFFERS)

    def store(_session: Session) -> None:
        get_record(archive_id).compared_at = clock()

    values = {"checks": [check.as_json() for check in checks]}
    return Outcome(values=values, store=store, error=find_failure(checks, code=ErrorCode.HOST_DIFFERS))
