"""The sweeper: settles what dead workers left. It runs at every start and with every pass of a scheduler.

Running tasks whose lease ran out are adopted when a complete archive of exactly their fence lies in the store, otherwise they
are tried again or failed as ``worker_lost``. Only what is dead is cleaned: a workplace whose task is alive is never touched.
"""

from __future__ import annotations

import logging
import os
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.core.errors import HoldfastError, StoreError
from webapp.core.manifest import Manifest
from webapp.core.naming import ParsedName
from webapp.core.reports import Check, CheckState
from webapp.core.snapshot_manifest import SnapshotManifest
from webapp.core.snapshot_plans import FoundSnapshot
from webapp.core.status import ArchiveFormat, ArchiveState, ErrorCode, StepStatus, TaskStatus, VerificationStatus
from webapp.engine.intake import clear_intakes
from webapp.engine.shelf import Placed, Shelf, read_side_car
from webapp.services.archives import CLOCK_TOLERANCE, adopt_archive, change_state, moment_of
from webapp.services.drill_policies import drill_after_run
from webapp.services.drills import sweep_clusters
from webapp.services.execution import cancelled_words, error_columns, retry_values
from webapp.services.fan_out import record_fan_out_failure
from webapp.services.kept_databases import request_due_removals
from webapp.services.restore_endings import record_ended
from webapp.services.retention import add_retention
from webapp.services.snapshot_runs import add_followers
from webapp.services.snapshot_sweep import adopt_tree, find_adoptable, sweep_snapshots
from webapp.services.store import the_shelf
from webapp.services.tasks import cancelled_values, ring
from webapp.services.trash import resume_deletions
from webapp.store.claims import release_target, settle_pending, take_expired
from webapp.store.db import db, release, writing
from webapp.store.models import Archive, FanOut, Restore, Run, TargetLock, Task, TaskLog, TaskStep

logger = logging.getLogger(__name__)

GRACE = timedelta(seconds=5)
UPLOAD_REST = timedelta(hours=6)


def sweep(now: datetime) -> None:
    """One pass. Each step is safe to repeat and to be killed."""
    settle_dead(now)
    shelf = _shelf()
    _settle_cancelled(now)
    _release_dead_locks()
    if shelf is not None:
        _clear_workplaces(shelf)
        _clear_orphans(shelf)
        mark_missing(shelf)
        resume_deletions(now)
        clear_intakes(shelf.root, older_than=now - UPLOAD_REST)
    sweep_snapshots(now)
    request_due_removals(now)
    sweep_clusters()
    release()


def settle_dead(now: datetime) -> None:
    """Settle the tasks whose lease ran out; one small query when there are none, so that it may be asked often."""
    expired = _expired(now)
    if not expired:
        return
    shelf = _shelf()
    for task_id, fence in expired:
        settle_expired(task_id, fence, now, shelf)


def _shelf() -> Shelf | None:
    try:
        return the_shelf()
    except StoreError as error:
        logger.warning("the archive store is offline, so nothing is swept there: %s", error.message)
        return None


def _expired(now: datetime) -> list[tuple[int, int]]:
    query = sa.select(Task.id, Task.fence).where(
        Task.status == TaskStatus.RUNNING, sa.or_(Task.lease_until.is_(None), Task.lease_until < now - GRACE)
    )
    found = [(row.id, row.fence) for row in db.session.execute(query)]
    release()
    return found


def settle_expired(task_id: int, fence: int, now: datetime, shelf: Shelf | None) -> None:
    """Adopt, repeat or fail one task whose worker is gone."""
    placed = shelf.find_placed(task_id, fence) if shelf is not None else None
    tree = _find_tree(task_id, fence)
    rung: list[int] = []
    with writing() as session:
        task = session.get(Task, task_id)
        if task is None:
            return
        if isinstance(task, Run) and tree is not None:
            rung = _adopt_tree(session, task, tree, fence, now)
        elif isinstance(task, Run) and placed is not None and _is_adoptable(task, placed):
            rung = _adopt(session, task, placed, now)
        else:
            rung = _give_up(session, task, fence, now)
    ring(rung)


def _find_tree(task_id: int, fence: int) -> FoundSnapshot | None:
    run = db.session.get(Run, task_id, populate_existing=True)
    found = find_adoptable(run, fence) if run is not None and run.format is ArchiveFormat.SNAPSHOT else None
    release()
    return found


def _adopt_tree(session: Session, run: Run, found: FoundSnapshot, fence: int, now: datetime) -> list[int]:
    assert found.manifest is not None
    if not _settle_adopted(session, run, fence, _warnings_in(found.manifest), now):
        return []
    record = adopt_tree(session, run, found, now=now)
    logger.warning("adopted the snapshot of run %s", run.id)
    return add_followers(session, run, record, now=now)


def _settle_adopted(session: Session, run: Run, fence: int, warnings: list[dict[str, str]], now: datetime) -> bool:
    """The run ends well though its worker did not; False when it lives or another settled it."""
    status = TaskStatus.COMPLETED_WITH_WARNINGS if warnings else TaskStatus.COMPLETED
    values = {"status": status, "completed_at": now, "lease_until": None, "progress_percent": 100}
    values |= {"progress_message": "", "error_code": None, "error_message": "", "hint": ""}
    if warnings:
        values |= {"warnings": warnings, "error_message": warnings[0]["message"]}
        values["error_code"] = ErrorCode(warnings[0]["code"])
    if not take_expired(session, run.id, fence, before=now - GRACE, values=values):
        return False
    session.expire(run)
    _close_steps(session, run.id, now, StepStatus.COMPLETED)
    _say(session, run.id, now, "good", "The worker ended before it could report; what it had finished was adopted.")
    release_target(session, run.id)
    return True


def _is_adoptable(run: Run, placed: Placed) -> bool:
    manifest = placed.manifest
    if manifest is None or placed.quarantined or not _is_of(run, manifest):
        return False
    return placed.size_bytes == manifest.size_bytes


def _is_of(run: Run, manifest: Manifest) -> bool:
    """Whether the archive is this very run's.

    Ids begin anew when the app's database is lost or put back to an older copy; what then lies in the store under a
    run's number may be the last good backup of another.
    """
    if (manifest.run_id, manifest.instance_id, manifest.database) != (run.id, run.instance_id, run.database_name):
        return False
    return moment_of(manifest.started_at, run.created_at) >= run.created_at - CLOCK_TOLERANCE


def _adopt(session: Session, run: Run, placed: Placed, now: datetime) -> list[int]:
    manifest = placed.manifest
    assert manifest is not None
    if not _settle_adopted(session, run, placed.fence, _warnings_in(manifest), now):
        return []
    digest = placed.manifest_sha256
    archive = adopt_archive(session, run, manifest, placed.relative_path, now=now, manifest_sha256=digest)
    run.size_bytes = manifest.size_bytes
    run.verification_status = VerificationStatus.PASSED if is_proved(manifest) else VerificationStatus.NOT_RUN
    proved = is_proved(manifest)
    followers = (add_retention(session, run, now=now), drill_after_run(session, archive, now=now)) if proved else ()
    session.flush()
    logger.warning("adopted the archive of run %s", run.id)
    return [task.id for task in followers if task is not None]


def _warnings_in(manifest: Manifest | SnapshotManifest) -> list[dict[str, str]]:
    """What the run would have warned of: the source's warnings, and those of the verification."""
    found = [dict(item) for item in manifest.warnings]
    for item in (manifest.verification or {}).get("checks", ()):
        check = Check.from_json(item)
        if check.state is CheckState.WARNING:
            found.append(
                {"code": (check.code or ErrorCode.INCOMPLETE).value, "message": f"{check.title}: {check.detail}"}
            )
    return found


def is_proved(manifest: Manifest) -> bool:
    """Whether the archive was verified before its worker died; one that failed lies in quarantine and is not adopted."""
    return manifest.verification is not None and bool(manifest.verification["checks"])


def _give_up(session: Session, task: Task, fence: int, now: datetime) -> list[int]:
    error = HoldfastError(
        "The worker stopped without a word while the task ran.",
        hint="Look in the worker's log and the system log (out of memory, restart, power cut).",
        code=ErrorCode.WORKER_LOST,
    )
    again = retry_values(task, error, now)
    values = again or {
        **error_columns(error),
        "status": TaskStatus.FAILED,
        "completed_at": now,
        "lease_until": None,
        "progress_message": "",
        "progress_percent": None,
    }
    if task.cancel_requested_at is not None:
        values |= {"error_code": ErrorCode.CANCELLED, **cancelled_words(task, now)}
        values |= {"completed_at": None} if again else {}
    if not take_expired(session, task.id, fence, before=now - GRACE, values=values):
        return []
    _close_steps(session, task.id, now, StepStatus.FAILED)
    _say(session, task.id, now, "error", error.message)
    release_target(session, task.id)
    if again is None:
        session.expire(task)
        _record_failure(session, task)
    logger.warning("task %s: its worker was lost%s", task.id, "; it will be tried again" if again else "")
    return []


def _record_failure(session: Session, task: Task) -> None:
    """What else a task leaves when it failed for good."""
    if isinstance(task, FanOut):
        record_fan_out_failure(session, task)
    if isinstance(task, Restore):
        record_ended(session, task)


def _close_steps(session: Session, task_id: int, now: datetime, status: StepStatus) -> None:
    session.execute(
        sa.update(TaskStep)
        .where(TaskStep.task_id == task_id, TaskStep.completed_at.is_(None))
        .values(status=status, completed_at=now)
    )


def _say(session: Session, task_id: int, now: datetime, level: str, message: str) -> None:
    last = session.scalar(sa.select(sa.func.max(TaskLog.n)).where(TaskLog.task_id == task_id)) or 0
    session.add(TaskLog(task_id=task_id, n=last + 1, at=now, level=level, message=message))


def _settle_cancelled(now: datetime) -> None:
    query = sa.select(Task).where(Task.status == TaskStatus.PENDING, Task.cancel_requested_at.is_not(None))
    for task in db.session.scalars(query).all():
        with writing() as session:
            settle_pending(session, task.id, cancelled_values(task.cancelled_by, now))


def _release_dead_locks() -> None:
    held = sa.select(Task.id).where(Task.id == TargetLock.task_id, Task.status == TaskStatus.RUNNING).exists()
    if db.session.scalar(sa.select(sa.func.count()).select_from(TargetLock).where(~held)):
        with writing() as session:
            session.execute(sa.delete(TargetLock).where(~held))
    release()


def _clear_workplaces(shelf: Shelf) -> None:
    for run_id, fence in shelf.list_workplaces():
        task = db.session.get(Task, run_id, populate_existing=True)
        alive = task is not None and task.status is TaskStatus.RUNNING and task.fence == fence
        release()
        if not alive:
            logger.info("clearing what run %s left (fence %s)", run_id, fence)
            shelf.clear_workplace(run_id, fence)


def _clear_orphans(shelf: Shelf) -> None:
    """Placed archives of a run that ended otherwise. What is not certainly a run's of ours is left alone."""
    known = _known_directories()
    for directory, name in shelf.list_directories():
        if directory not in known and _is_orphan(shelf, directory, name) and directory not in _known_directories():
            logger.warning("removing an archive that no run stands for: %s", directory)
            shelf.remove(directory)


def _is_orphan(shelf: Shelf, directory: str, name: ParsedName) -> bool:
    run = db.session.get(Run, name.run_id, populate_existing=True)
    superseded = run is not None and (run.fence > name.fence or run.status.is_final)
    release()  # a run that was final is read before its archive, which was committed with it
    if run is None or not superseded:
        return False
    manifest = read_side_car(os.path.join(shelf.root, directory))
    return manifest is not None and _is_of(run, manifest)


def _known_directories() -> set[str]:
    files = Archive.format != ArchiveFormat.SNAPSHOT
    paths = db.session.scalars(sa.select(Archive.relative_path).where(Archive.state != ArchiveState.DELETED, files))
    found = {path.rpartition("/")[0] for path in paths}
    release()
    return found


def mark_missing(shelf: Shelf) -> int:
    """Archives whose file is gone are said to be missing, never expired; back again when the file is. How many changed."""
    there = {directory for directory, _ in shelf.list_directories()}
    states = (ArchiveState.STORED, ArchiveState.MISSING)
    query = sa.select(Archive.id, Archive.relative_path, Archive.state).where(
        Archive.state.in_(states), Archive.format != ArchiveFormat.SNAPSHOT
    )
    rows = db.session.execute(query).all()
    release()
    changed = 0
    for archive_id, path, state in rows:
        if (path.rpartition("/")[0] in there) is (state is ArchiveState.STORED):
            continue
        # Placed or taken away since the list was read? The file itself decides; a store that is gone raises.
        found = ArchiveState.STORED if shelf.exists(path) else ArchiveState.MISSING
        if found is not state:
            changed += change_state(archive_id, state, found)
    return changed
