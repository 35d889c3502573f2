"""What dead workers left below the backup roots, settled; called by the sweeper. Each step is safe to repeat and to be killed.

A promoted tree is never removed: the run that made it adopts it, or it is taken in as discovery does. A tree that is gone is said
to be missing, and stored again when it is back. A root that is away (no marker) tells nothing, and nothing is concluded.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.core.errors import StoreError, TaskStopped
from webapp.core.snapshot_manifest import SnapshotManifest
from webapp.core.snapshot_plans import FoundSnapshot, SnapshotPlace
from webapp.core.status import ArchiveState, ErrorCode
from webapp.engine.report import SilentReporter
from webapp.engine.snapshots.found import exists, find_promoted, list_found
from webapp.engine.snapshots.places import REMOVING, list_partials, open_root
from webapp.engine.snapshots.removal import finish_removals, remove_partial
from webapp.services.archives import CLOCK_TOLERANCE, change_state, moment_of
from webapp.services.snapshot_discovery import Taken, take_in
from webapp.services.snapshot_places import root_of
from webapp.services.snapshot_removals import request_due_removals
from webapp.services.snapshot_rows import NewSnapshot, add_snapshot, report_in
from webapp.store.db import db, release, writing
from webapp.store.models import Archive, Host, Instance, Run, SnapshotRecord, Task

logger = logging.getLogger(__name__)

PARTIAL_REST = timedelta(days=7)
CLEARING_SECONDS = 5.0
OUR_NAME = re.compile(r"\d{8}T\d{6}Z")


class Spell(SilentReporter):
    """A reporter that stops what takes longer than this, so that the calendar does not wait; the next pass goes on."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._until = time.monotonic() + seconds

    def check(self) -> None:
        """Raise when the time is up."""
        if time.monotonic() >= self._until:
            raise TaskStopped("The rest of what dead runs left is cleared in the next pass.", code=ErrorCode.TIMEOUT)

    @contextmanager
    def on_stop(self, action: Callable[[], None]) -> Iterator[None]:
        """Call ``action`` when the time is up."""
        timer = threading.Timer(max(0.0, self._until - time.monotonic()), action)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


# A run whose worker died


def find_adoptable(run: Run, fence: int) -> FoundSnapshot | None:
    """The tree that exactly this run and fence promoted, whole; None when there is none, or its root is away."""
    host = db.session.get(Host, run.instance_id) if run.instance_id is not None else None
    if host is None:
        return None
    try:
        found = find_promoted(root_of(host), host.directory, run.id, fence)
    except StoreError as error:
        logger.warning("run %s: %s", run.id, error.message)
        return None
    if found is None or found.problem or found.manifest is None:
        return None
    return found if _is_of(run, host.instance, found.manifest) else None


def _is_of(run: Run, instance: Instance, manifest: SnapshotManifest) -> bool:
    """Ids begin anew when the app's database is lost: what lies there may be of another run with this number."""
    if (manifest.run_id, manifest.instance_uid) != (run.id, instance.uid):
        return False
    return moment_of(manifest.started_at, run.created_at) >= run.created_at - CLOCK_TOLERANCE


def adopt_tree(session: Session, run: Run, found: FoundSnapshot, *, now: datetime) -> SnapshotRecord:
    """The rows of a run's tree, inside the transaction that settles the run."""
    assert found.manifest is not None
    report = report_in(found.manifest)
    record = add_snapshot(
        session,
        NewSnapshot(
            place=found.place,
            taken_at=found.taken_at,
            instance_id=run.instance_id,
            instance_name=run.instance_name,
            job_id=run.job_id,
            run_id=run.id,
            manifest=found.manifest,
            manifest_sha256=found.manifest_sha256,
            report=report,
        ),
        now=now,
    )
    run.size_bytes = found.manifest.new_bytes
    run.verification_status = record.archive.verification_status
    return record


# What lies on disk


@dataclass(frozen=True, slots=True)
class HostDirectory:
    """A host's directory below a root. ``instance_id`` is None when no host is kept there any more."""

    root: str
    directory: str
    instance_id: int | None
    deleted: bool


def sweep_snapshots(now: datetime) -> None:
    """One pass over every host's directory; one that cannot be read does not hold up the others."""
    spell = Spell(CLEARING_SECONDS)
    for where in list_directories():
        steps = (
            partial(mark_missing_trees, where),
            partial(take_in_unknown, where, now),
            partial(clear_partials, where, now, spell),
            partial(finish_cut_off, where, spell),
        )
        all(_alone(step, where) for step in steps)
    request_due_removals(now)
    release()


def _alone(action: Callable[[], object], where: HostDirectory) -> bool:
    try:
        action()
    except (StoreError, TaskStopped) as error:
        logger.warning("%s/%s is not swept to its end: %s", where.root, where.directory, error.message)
        return False
    finally:
        release()
    return True


def list_directories() -> list[HostDirectory]:
    """Where hosts' snapshots go, and where any were recorded; roots that nothing was ever written to are left out."""
    found: dict[tuple[str, str], HostDirectory] = {}
    for host in db.session.scalars(sa.select(Host)):
        root, deleted = root_of(host), host.instance.deleted_at is not None
        if os.path.isdir(os.path.join(root, host.directory)):
            found[root, host.directory] = HostDirectory(root, host.directory, host.instance_id, deleted)
    recorded = (
        sa.select(SnapshotRecord.root, SnapshotRecord.directory)
        .join(Archive)
        .where(Archive.state != ArchiveState.DELETED)
        .distinct()
    )
    for root, directory in db.session.execute(recorded):
        found.setdefault((root, directory), HostDirectory(root, directory, None, deleted=False))
    release()
    return list(found.values())


def mark_missing_trees(where: HostDirectory) -> int:
    """Snapshots whose tree is gone are said to be missing, and stored again when it is back. How many changed."""
    states = (ArchiveState.STORED, ArchiveState.MISSING)
    query = sa.select(SnapshotRecord).join(Archive).where(Archive.state.in_(states), *_in(where))
    rows = [
        (record.archive_id, record.archive.state, SnapshotPlace(*_place_words(record), record.layout))
        for record in db.session.scalars(query)
    ]
    release()
    there = set(_names(where))
    changed = 0
    for archive_id, state, place in rows:
        if (place.name.partition("/")[0] in there) is (state is ArchiveState.STORED) and "/" not in place.name:
            continue
        found = ArchiveState.STORED if exists(place) else ArchiveState.MISSING
        if found is not state:
            changed += change_state(archive_id, state, found)
    return changed


def _place_words(record: SnapshotRecord) -> tuple[str, str, str]:
    return record.root, record.directory, record.name


def _in(where: HostDirectory) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return SnapshotRecord.root == where.root, SnapshotRecord.directory == where.directory


def _names(where: HostDirectory) -> Iterator[str]:
    """Names in the directory that are not ours to work with. A root that is away raises StoreError where it is asked."""
    try:
        yield from (name for name in os.listdir(os.path.join(where.root, where.directory)) if name[:1] != ".")
    except OSError:
        return


def take_in_unknown(where: HostDirectory, now: datetime) -> int:
    """Trees of ours that no row stands for get their rows. How many. Those of a run that still works are its business."""
    if where.instance_id is None or where.deleted:
        return 0
    names = {name for name in _names(where) if OUR_NAME.fullmatch(name)}
    known = set(db.session.scalars(sa.select(SnapshotRecord.name).where(*_in(where))))
    release()
    if not names - known:
        return 0
    open_root(where.root)
    found = [one for one in list_found(where.root, where.directory) if one.place.name in names - known]
    result = Taken()
    with writing() as session:
        instance = session.get_one(Instance, where.instance_id)
        mine = [one for one in found if _is_left_behind(one, instance)]
        take_in(session, instance, mine, result, now=now)
    for archive_id in result.archive_ids:
        logger.warning("took in a snapshot that no run stands for: %s", archive_id)
    return len(result.archive_ids)


def _is_left_behind(found: FoundSnapshot, instance: Instance) -> bool:
    """Whether it is whole and of this very host; what else lies there waits for a person who asks for discovery."""
    manifest = found.manifest
    return manifest is not None and not found.problem and manifest.instance_uid == instance.uid


def clear_partials(where: HostDirectory, now: datetime, spell: Spell) -> int:
    """Unfinished trees that nobody will finish are removed: a week old, or of a host that was deleted. How many."""
    cleared = 0
    for left in list_partials(where.root, where.directory):
        rested = now.timestamp() - left.changed_at > PARTIAL_REST.total_seconds()
        if (rested or where.deleted) and not _is_alive(left.run_id):
            open_root(where.root)
            logger.info("clearing what run %s left in %s", left.run_id, left.path)
            cleared += remove_partial(where.root, where.directory, left.run_id, spell)
    return cleared


def _is_alive(run_id: int) -> bool:
    task = db.session.get(Task, run_id, populate_existing=True)
    release()
    return task is not None and not task.status.is_final


def finish_cut_off(where: HostDirectory, spell: Spell) -> int:
    """What a removal of an unfinished tree left when it was killed. Snapshots' own removals finish theirs as tasks."""
    try:
        left = os.listdir(os.path.join(where.root, where.directory, REMOVING))
    except OSError:
        return 0
    deleting = sa.select(SnapshotRecord.archive_id).join(Archive)
    deleting = deleting.where(Archive.state == ArchiveState.DELETING, *_in(where))
    if not left or db.session.scalar(deleting.limit(1)) is not None:
        return 0
    release()
    return finish_removals(where.root, where.directory, spell)
