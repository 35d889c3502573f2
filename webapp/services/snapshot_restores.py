"""Files of a snapshot put back, or somewhere else: first a dry run that a person looks at, then the same for real.

1. ``request_dry_run``: a worker asks rsync what would change; nothing does.
2. The person sees ``changes`` and ``counts``; ``preview_digest`` stands for what they saw.
3. ``confirm`` (the web door has asked for the password again): the same wish for real, when the digest is still that one.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from webapp.core.actors import Actor
from webapp.core.errors import Conflict, NotFound
from webapp.core.path_text import storable_path
from webapp.core.plans import SshPlan
from webapp.core.snapshot_plans import FileRestorePlan
from webapp.core.status import SnapshotTarget, TaskStatus, TaskType
from webapp.engine.snapshots import file_restore
from webapp.services import audit
from webapp.services.execution import Outcome, execute
from webapp.services.hosts import host_plan
from webapp.services.reporting import TaskReporter
from webapp.services.snapshot_places import IN_STORE, get_record, get_stored, place_of
from webapp.services.snapshot_wishes import FileRestoreWish, check_wish, target_host
from webapp.services.tasks import add, ring
from webapp.store.db import db, release, writing
from webapp.store.models import SnapshotRestore

__all__ = ["FileRestoreWish"]

TIME_LIMIT_SECONDS = 12 * 3600
PREVIEW_HOLDS = timedelta(hours=1)
_DONE = (TaskStatus.COMPLETED, TaskStatus.COMPLETED_WITH_WARNINGS)


def request_dry_run(wish: FileRestoreWish, *, actor: Actor, now: datetime) -> SnapshotRestore:
    """Ask a worker what the restore would change. Raises NotFound, InvalidInput (field named), Conflict."""
    clean = check_wish(wish)
    with writing() as session:
        task = _task(clean, actor=actor, dry_run=True)
        add(task, now=now)
        session.flush()
        _record(actor, "snapshot.restore_previewed", task, now)
    ring([task.id])
    return task


def _task(wish: FileRestoreWish, *, actor: Actor, dry_run: bool) -> SnapshotRestore:
    archive = get_stored(wish.archive_id).archive
    host = target_host(wish, archive)
    words = "what would a restore change" if dry_run else "restore files"
    return SnapshotRestore(
        type=TaskType.SNAPSHOT_RESTORE,
        title=f"{archive.instance_name}: {words} of snapshot {archive.id}"[:200],
        triggered_by=actor.triggered_by,
        instance_id=host.id if host is not None else archive.instance_id,
        instance_name=host.name if host is not None else archive.instance_name,
        archive_id=archive.id,
        target=wish.target,
        target_instance_id=host.id if host is not None else None,
        target_path=wish.target_path,
        paths=list(wish.paths),
        delete_others=wish.delete_others,
        dry_run=dry_run,
        max_attempts=1,
        time_limit_seconds=TIME_LIMIT_SECONDS,
    )


def get_restore(restore_id: int) -> SnapshotRestore:
    """The restore or dry run. Raises NotFound."""
    found = db.session.get(SnapshotRestore, restore_id, populate_existing=True)
    if found is None:
        raise NotFound(f"There is no restore of files {restore_id}.")
    return found


def list_restores(archive_id: int) -> Sequence[SnapshotRestore]:
    """The snapshot's restores and dry runs, the newest first."""
    query = sa.select(SnapshotRestore).where(SnapshotRestore.archive_id == archive_id)
    return db.session.scalars(query.order_by(SnapshotRestore.id.desc())).all()


def find_confirmed(preview_id: int) -> SnapshotRestore | None:
    """The restore that came of a dry run."""
    query = sa.select(SnapshotRestore).where(SnapshotRestore.preview_id == preview_id)
    return db.session.scalar(query.order_by(SnapshotRestore.id.desc()).limit(1))


def preview_digest(preview: SnapshotRestore) -> str:
    """What ``confirm`` wants back: stands for the wish and for all that the dry run said."""
    seen = [
        preview.id,
        preview.archive_id,
        preview.target.value,
        preview.target_instance_id,
        preview.target_path,
        list(preview.paths),
        preview.delete_others,
        preview.status.value,
        list(preview.changes),
        sorted(preview.counts.items()),
    ]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()


def why_not_confirmable(preview: SnapshotRestore, now: datetime) -> str:
    """Why the dry run cannot be confirmed (any more), as a sentence; "" when it can."""
    if not preview.dry_run:
        return "This is a restore already, not a dry run."
    if preview.status not in _DONE or preview.completed_at is None:
        return "The dry run has not ended well, so nobody knows what would change."
    if find_confirmed(preview.id) is not None:
        return "This dry run was confirmed already."
    if now > preview.completed_at + PREVIEW_HOLDS:
        return "The dry run is more than an hour old; what it found may no longer be so."
    if get_record(preview.archive_id).archive.state not in IN_STORE:
        return "The snapshot is no longer stored."
    return ""


def confirm(preview_id: int, *, digest: str, actor: Actor, now: datetime) -> SnapshotRestore:
    """Do for real what the dry run showed. Raises NotFound, Conflict (changed, too old, failed, confirmed already)."""
    with writing() as session:
        preview = session.get(SnapshotRestore, preview_id, with_for_update=True, populate_existing=True)
        if preview is None:
            raise NotFound(f"There is no restore of files {preview_id}.")
        if why_not := why_not_confirmable(preview, now):
            raise Conflict(why_not, hint="Ask for a new dry run.")
        if not hmac.compare_digest(preview_digest(preview).encode(), digest.encode("utf-8", "replace")):
            raise Conflict("This is not the dry run that was shown.", hint="Look at it again, then confirm.")
        task = _task(_wish_of(preview), actor=actor, dry_run=False)
        task.preview_id = preview_id
        add(task, now=now)
        session.flush()
        _record(actor, "snapshot.restore_confirmed", task, now)
    ring([task.id])
    return task


def _wish_of(restore: SnapshotRestore) -> FileRestoreWish:
    return FileRestoreWish(
        archive_id=restore.archive_id,
        paths=tuple(restore.paths),
        target=restore.target,
        target_path=restore.target_path,
        target_instance_id=restore.target_instance_id,
        delete_others=restore.delete_others,
    )


def execute_restore(task_id: int, *, clock: Callable[[], datetime]) -> None:
    """Execute a SnapshotRestore, dry or real."""
    execute(task_id, _restore, clock=clock)


def _restore(task_id: int, reporter: TaskReporter) -> Outcome:
    plan = restore_plan(get_restore(task_id))
    if plan.ssh is not None:
        reporter.hide(plan.ssh.private_key.reveal())
    release()
    result = file_restore.run(plan, reporter)
    for code, message in result.warnings:
        reporter.warn(code, message)
    values = {"changes": list(result.changes), "counts": dict(result.counts)}
    return Outcome(values=values, irrevocable=not plan.dry_run)


def restore_plan(restore: SnapshotRestore) -> FileRestorePlan:
    """Everything the engine needs, unsealed, as one frozen value. Raises NotFound, Conflict, InvalidInput, VaultError."""
    record = get_stored(restore.archive_id)
    return FileRestorePlan(
        task_id=restore.id,
        place=place_of(record),
        paths=tuple(restore.paths),
        target=restore.target,
        target_path=restore.target_path,
        ssh=_ssh(restore),
        delete_others=restore.delete_others,
        dry_run=restore.dry_run,
    )


def _ssh(restore: SnapshotRestore) -> SshPlan | None:
    if restore.target is SnapshotTarget.DIRECTORY:
        return None
    host = target_host(_wish_of(restore), get_record(restore.archive_id).archive)
    assert host is not None
    return host_plan(host).ssh


def _record(actor: Actor, event: str, task: SnapshotRestore, now: datetime) -> None:
    paths = [storable_path(path) for path in task.paths]
    audit.record(
        actor,
        event,
        subject_kind="archive",
        subject_id=task.archive_id,
        subject_name=task.title,
        details={
            "task_id": task.id,
            "target": task.target.value,
            "target_path": task.target_path,
            "target_instance_id": task.target_instance_id,
            "paths": paths[:50],
            "delete_others": task.delete_others,
        },
        now=now,
    )
