"""Discovery: snapshots of a host that lie on disk and are in no table are taken into SQL. Only reads there; safe to repeat.

What Holdfast made itself comes back with all that its manifest says; a tree of something else (plain) with the time in its name.
One of ours belongs to the job that its manifest names, else to the host's only job, so that retention counts it. A plain one
belongs to none: it was never verified, so a retention plan would drop it as soon as there is one snapshot of ours.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.core.actors import Actor
from webapp.core.errors import InvalidInput, StoreError
from webapp.core.snapshot_manifest import SnapshotManifest
from webapp.core.snapshot_plans import FoundSnapshot
from webapp.core.status import ArchiveOrigin, ErrorCode, JobKind, TaskStatus, TaskType
from webapp.core.text import strip_controls
from webapp.engine.snapshots.found import list_found
from webapp.services import audit
from webapp.services.execution import Outcome, execute
from webapp.services.host_rows import taken_directories
from webapp.services.hosts import get_host
from webapp.services.reporting import TaskReporter
from webapp.services.snapshot_places import find_at, root_of
from webapp.services.snapshot_rows import NewSnapshot, add_snapshot, link_base, report_in
from webapp.services.tasks import add, find_active, find_newest, ring
from webapp.store.db import db, release, writing
from webapp.store.models import Host, Instance, Job, Run, SnapshotDiscovery, SnapshotRecord

TIME_LIMIT_SECONDS = 3600
MOST_PROBLEMS = 200
LONGEST_ROOT = 1024
LONGEST_NAME = 128
MOST_COUNTED = 2**53


def request_discovery(instance_id: int, *, backup_root: str = "", actor: Actor, now: datetime) -> SnapshotDiscovery:
    """Ask a worker to look; an active one is answered, not doubled. ``backup_root`` "" is the host's own root.

    When it has ended ``task.details`` has "found", "added", "known" (counts), "problems" (sentences) and "archive_ids".
    Raises NotFound, InvalidInput (no host; a root that is no absolute path).
    """
    root = _checked_root(backup_root)
    with writing() as session:
        instance = get_host(instance_id).instance
        active = find_active(SnapshotDiscovery, SnapshotDiscovery.instance_id == instance_id)
        if active is not None:
            return active
        task = SnapshotDiscovery(
            type=TaskType.SNAPSHOT_DISCOVERY,
            title=f"{instance.name}: find snapshots on disk"[:200],
            triggered_by=actor.triggered_by,
            instance_id=instance.id,
            instance_name=instance.name,
            backup_root=root,
            max_attempts=1,
            time_limit_seconds=TIME_LIMIT_SECONDS,
        )
        add(task, now=now)
        session.flush()
        audit.record(
            actor,
            "snapshot.discovery_requested",
            subject_kind="instance",
            subject_id=instance.id,
            subject_name=instance.name,
            details={"task_id": task.id, "backup_root": root},
            now=now,
        )
    ring([task.id])
    return task


def _checked_root(text: str) -> str:
    root = text.strip()
    if not root:
        return ""
    if not root.startswith("/") or "\0" in root or ".." in root.split("/") or len(root) > LONGEST_ROOT:
        raise InvalidInput("The backup root is an absolute path.", field="backup_root")
    return os.path.normpath(root)


def newest_discovery(instance_id: int) -> SnapshotDiscovery | None:
    """The newest one, whatever its state."""
    return find_newest(SnapshotDiscovery, SnapshotDiscovery.instance_id == instance_id)


def execute_discovery(task_id: int, *, clock: Callable[[], datetime]) -> None:
    """Execute a SnapshotDiscovery."""
    execute(task_id, lambda i, reporter: _discover(i, reporter, clock), clock=clock)


def _discover(task_id: int, reporter: TaskReporter, clock: Callable[[], datetime]) -> Outcome:
    task = db.session.get_one(SnapshotDiscovery, task_id, populate_existing=True)
    if task.instance_id is None:
        raise InvalidInput("The host of this task was deleted.")
    host = get_host(task.instance_id)
    instance_id, root = host.instance_id, os.path.realpath(task.backup_root) if task.backup_root else root_of(host)
    directories = _directories_of(host)
    release()
    reporter.step("look", "Look at the disk", root)
    found = _look(root, directories)
    reporter.log(f"{len(found)} snapshots lie below {root}/{', '.join(directories)}.")
    result = Taken()
    outcome = Outcome()

    def store(session: Session) -> None:
        take_in(session, session.get_one(Instance, instance_id), found, result, now=clock())
        task = session.get_one(SnapshotDiscovery, task_id)
        task.details = {**task.details, **result.as_json(len(found))}

    outcome.store = store
    for one in found:
        if one.problem:
            reporter.warn(ErrorCode.CORRUPT, f"{one.place.name}: {one.problem}")
    return outcome


def _directories_of(host: Host) -> list[str]:
    """Where its snapshots may lie: its own directory, and what another tool would have named it; never another host's."""
    others = taken_directories() - {host.directory}
    names = dict.fromkeys([host.directory, host.instance.slug, host.instance.name])
    return [name for name in names if name not in others]


def _look(root: str, directories: Sequence[str]) -> list[FoundSnapshot]:
    found: list[FoundSnapshot] = []
    refused: list[StoreError] = []
    for directory in directories:
        try:
            found += list_found(root, directory)
        except StoreError as error:
            refused.append(error)
    if not found and refused:
        raise refused[0]
    return found


@dataclass(slots=True)
class Taken:
    """What became of the snapshots found."""

    archive_ids: list[int] = field(default_factory=list)
    known: int = 0
    problems: list[str] = field(default_factory=list)

    def as_json(self, found: int) -> dict[str, object]:
        """For the task's details."""
        return {
            "found": found,
            "added": len(self.archive_ids),
            "known": self.known,
            "problems": self.problems[:MOST_PROBLEMS],
            "archive_ids": self.archive_ids,
        }


def take_in(
    session: Session, instance: Instance, found: Sequence[FoundSnapshot], result: Taken, *, now: datetime
) -> None:
    """Rows for the snapshots that have none, inside the caller's ``writing()``; safe to repeat."""
    fallback = _only_job(session, instance.id)
    records: list[SnapshotRecord] = []
    for one in found:
        if one.manifest is not None and is_of_running_run(session, one.manifest):
            continue
        problem = why_not_stored(one)
        known = find_at(one.place) if not problem else None
        problem = problem or one.problem or _belongs_elsewhere(session, instance, one.manifest)
        if known is not None:
            result.known += 1
            records.append(known)
        elif problem:
            result.problems.append(strip_controls(f"{one.place.name}: {problem}", 500))
        else:
            records.append(add_snapshot(session, _new(session, instance, one, fallback, now), now=now))
            result.archive_ids.append(records[-1].archive_id)
    for record in records:  # once more: a base may have come after what was made of it
        link_base(session, record)


def is_of_running_run(session: Session, manifest: SnapshotManifest) -> bool:
    """Whether the run that made it still works: then it is about to write the rows itself."""
    run = session.get(Run, manifest.run_id, populate_existing=True)
    return run is not None and run.status is TaskStatus.RUNNING and run.fence == manifest.fence


def why_not_stored(found: FoundSnapshot) -> str:
    """Why no row can hold it, as a sentence; "" when one can. Whatever lies on disk may have been written by anybody."""
    manifest = found.manifest
    texts = [found.place.name, *((manifest.base,) if manifest is not None else ())]
    if any(len(text) > LONGEST_NAME or not _is_utf8(text) for text in texts):
        return f"its name, or its base's, is longer than {LONGEST_NAME} characters or is not UTF-8."
    counts = [value for value in asdict(manifest).values() if isinstance(value, int)] if manifest is not None else []
    return "its manifest has numbers that no tree can have." if any(count > MOST_COUNTED for count in counts) else ""


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _belongs_elsewhere(session: Session, instance: Instance, manifest: SnapshotManifest | None) -> str:
    """Why a snapshot in the host's directory is not the host's, as a sentence; "" when it may be."""
    if manifest is None or manifest.instance_uid == instance.uid:
        return ""
    other = session.scalar(sa.select(Instance.name).where(Instance.uid == manifest.instance_uid))
    return f"it is of another host, «{other}»." if other is not None else ""


def _new(
    session: Session, instance: Instance, found: FoundSnapshot, fallback: int | None, now: datetime
) -> NewSnapshot:
    manifest = found.manifest
    return NewSnapshot(
        place=found.place,
        taken_at=min(found.taken_at, now),  # a clock that was ahead must not choose what retention takes for new
        instance_id=instance.id,
        instance_name=instance.name,
        job_id=None if manifest is None else _job_in(session, instance, manifest) or fallback,
        origin=ArchiveOrigin.DISCOVERED,
        manifest=manifest,
        manifest_sha256=found.manifest_sha256,
        report=report_in(manifest) if manifest is not None else None,
    )


def _job_in(session: Session, instance: Instance, manifest: SnapshotManifest | None) -> int | None:
    if manifest is None or manifest.job_id is None or manifest.instance_uid != instance.uid:
        return None
    job = session.get(Job, manifest.job_id)
    return job.id if job is not None and job.instance_id == instance.id else None


def _only_job(session: Session, instance_id: int) -> int | None:
    query = sa.select(Job.id).where(
        Job.instance_id == instance_id, Job.deleted_at.is_(None), Job.kind == JobKind.BACKUP
    )
    ids = session.scalars(query.limit(2)).all()
    return ids[0] if len(ids) == 1 else None
