"""Snapshots of hosts: found, listed, and the word of a person that far fewer files are right."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import contains_eager

from webapp.core.actors import Actor
from webapp.core.errors import Conflict, StoreError
from webapp.core.status import ArchiveFormat, ArchiveState, ErrorCode, SnapshotLayout, TaskStatus
from webapp.engine.snapshots.places import open_root
from webapp.services import audit
from webapp.services.hosts import get_host
from webapp.services.runs import get_run
from webapp.services.snapshot_places import IN_STORE, get_record, is_new_root, place_of, root_of
from webapp.store.db import db, writing
from webapp.store.models import Archive, Host, Run, SnapshotRecord


@dataclass(frozen=True, slots=True)
class SnapshotFilter:
    """Which snapshots to list. ``with_gone`` adds those in the trash, deleted and missing ones."""

    instance_id: int | None = None
    job_id: int | None = None
    with_gone: bool = False
    offset: int = 0
    limit: int = 50


@dataclass(frozen=True, slots=True)
class RootFacts:
    """The backup root of a host. ``problem`` is why nothing can be written there now, with ``hint``; "" when all is well.

    ``free_bytes`` and ``total_bytes`` are of its disk, None when it cannot be looked at.
    """

    root: str
    free_bytes: int | None
    total_bytes: int | None
    problem: str = ""
    hint: str = ""


def list_snapshots(wanted: SnapshotFilter) -> tuple[Sequence[SnapshotRecord], int]:
    """One page of snapshots, the newest first, with their archives loaded; and how many there are in all."""
    query = _with_archives()
    if not wanted.with_gone:
        query = query.where(Archive.state.in_(IN_STORE))
    if wanted.instance_id is not None:
        query = query.where(Archive.instance_id == wanted.instance_id)
    if wanted.job_id is not None:
        query = query.where(Archive.job_id == wanted.job_id)
    total = db.session.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0
    page = query.order_by(Archive.taken_at.desc(), Archive.id.desc()).offset(wanted.offset).limit(wanted.limit)
    return db.session.scalars(page).all(), total


def _with_archives() -> sa.Select[SnapshotRecord]:
    return sa.select(SnapshotRecord).join(SnapshotRecord.archive).options(contains_eager(SnapshotRecord.archive))


def get_snapshot(archive_id: int) -> SnapshotRecord:
    """The snapshot, by its restore point's id (``.archive`` is the restore point). Raises NotFound."""
    return get_record(archive_id)


def is_host_there(archive: Archive) -> bool:
    """Whether the host that the snapshot was taken of is still an instance here: only then can it be compared or restored to."""
    return archive.instance is not None and archive.instance.deleted_at is None


def find_of_run(run_id: int) -> SnapshotRecord | None:
    """The snapshot that a run made, whatever its state."""
    return db.session.scalar(_with_archives().where(Archive.run_id == run_id))


def newest_of(instance_id: int, job_id: int | None = None) -> SnapshotRecord | None:
    """The newest stored snapshot of the host (and job)."""
    found, _ = list_snapshots(SnapshotFilter(instance_id, job_id, limit=1))
    return found[0] if found else None


def newest_of_each(instance_ids: Sequence[int]) -> dict[int, SnapshotRecord]:
    """The newest stored snapshot of each host that has one, in one query."""
    place = sa.func.row_number().over(
        partition_by=Archive.instance_id, order_by=(Archive.taken_at.desc(), Archive.id.desc())
    )
    ranked = (
        sa.select(Archive.id.label("id"), place.label("place"))
        .join(SnapshotRecord, SnapshotRecord.archive_id == Archive.id)
        .where(Archive.instance_id.in_(instance_ids), Archive.state.in_(IN_STORE))
        .subquery()
    )
    query = _with_archives().join(ranked, ranked.c.id == Archive.id).where(ranked.c.place == 1)
    return {record.archive.instance_id: record for record in db.session.scalars(query) if record.archive.instance_id}


def find_before(record: SnapshotRecord) -> SnapshotRecord | None:
    """The newest stored snapshot of the same host and paths that is older: what «what changed» compares with."""
    older = (
        _with_archives()
        .where(
            Archive.instance_id == record.archive.instance_id,
            Archive.state.in_(IN_STORE),
            Archive.taken_at < record.archive.taken_at,
        )
        .order_by(Archive.taken_at.desc(), Archive.id.desc())
        .limit(100)
    )
    found = db.session.scalars(older).all()
    return next((one for one in found if list(one.paths) == list(record.paths)), None)


def root_facts(instance_id: int) -> RootFacts:
    """How it stands with the place where the host's snapshots go. Raises NotFound. Looks at the disk, writes nothing."""
    root = root_of(get_host(instance_id))
    free, total = _room(root)
    try:
        open_root(root)
    except StoreError as error:
        if not is_new_root(root) or error.code is not ErrorCode.STORE_UNAVAILABLE:
            return RootFacts(root, free, total, error.message, error.hint)
    return RootFacts(root, free, total)


def _room(root: str) -> tuple[int | None, int | None]:
    """Free and all bytes of the disk that the root lies on, or will."""
    for path in (Path(root), *Path(root).parents):
        try:
            found = shutil.disk_usage(path)
        except OSError:
            continue
        return found.free, found.total
    return None, None


def can_accept_shrink(run_id: int) -> bool:
    """Whether the run was stopped as SOURCE_EMPTIED, nobody has said yet that this is right, and no snapshot came since."""
    run = get_run(run_id)
    host = db.session.get(Host, run.instance_id) if run.instance_id is not None else None
    if host is None or host.instance.deleted_at is not None or not _was_stopped(run):
        return False
    return host.shrink_accepted_at is None and not _has_newer(run)


def _was_stopped(run: Run) -> bool:
    return run.status is TaskStatus.FAILED and run.error_code is ErrorCode.SOURCE_EMPTIED


def _has_newer(run: Run) -> bool:
    query = sa.select(Archive.id).where(
        Archive.instance_id == run.instance_id,
        Archive.job_id == run.job_id,
        Archive.format == ArchiveFormat.SNAPSHOT,
        Archive.run_id > run.id,
    )
    return db.session.scalar(query.limit(1)) is not None


def accept_shrink(run_id: int, *, actor: Actor, now: datetime) -> None:
    """A person says that the host really has so few files: the next snapshot of it passes once.

    Raises NotFound, Conflict when the run did not end as SOURCE_EMPTIED or its host is gone.
    """
    with writing():
        run = get_run(run_id)
        if not _was_stopped(run) or run.instance_id is None:
            raise Conflict(f"Run {run_id} was not stopped because its source was emptied.")
        host = get_host(run.instance_id)
        if host.shrink_accepted_at is None:
            host.shrink_accepted_at, host.shrink_accepted_by = now, actor.username[:100]
        audit.record(
            actor,
            "host.shrink_accepted",
            subject_kind="instance",
            subject_id=run.instance_id,
            subject_name=run.instance_name,
            details={"run_id": run_id, "why": run.error_message},
            now=now,
        )


def snapshot_commands(archive_id: int) -> list[str]:
    """Commands that put all of a snapshot back with rsync alone, safe to paste; [] for one that is not stored."""
    record = get_record(archive_id)
    if record.archive.state is not ArchiveState.STORED:
        return []
    tree = shlex.quote(place_of(record).tree + "/")
    # Without the window rsync leaves a time as it is that differs by less than a second.
    words = "rsync --archive --hard-links --numeric-ids --modify-window=-1"
    if record.layout is SnapshotLayout.PLAIN:
        return [f"{words} {tree} restored/"]
    # Owners, modes and links are noted in attributes; the first option reads them, the second makes them real again.
    return [f"{words} --fake-super --remote-option=--super {tree} restored/"]
