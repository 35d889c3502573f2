"""What must hold of a host's snapshots after any kill and the recovery: asked of the disk, the tables and the model."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import sqlalchemy as sa

from tests.proof.host_world import World
from tests.support.host_trees import differences, list_wild, read_snapshot
from webapp.core.snapshot_manifest import FILE_NAME, LIST_NAME
from webapp.core.status import ArchiveState, ErrorCode, TaskStatus, TaskType, VerificationLevel
from webapp.engine.report import SilentReporter
from webapp.engine.snapshots import verification
from webapp.services.snapshot_places import place_of
from webapp.store.db import db
from webapp.store.models import Archive, SnapshotRecord, TargetLock, Task

PROGRAMS = (b"rsync", b"ssh", b"rm", b"find", b"sort")


def check_world(world: World, *, deeply: bool = False) -> list[str]:
    """Every broken promise as a sentence. ``deeply`` also lets our own verification read every snapshot again."""
    broken = check_trees(world)
    broken += [f"left over: {word}" for word in list_leftovers(world)]
    broken += list(world.ask(lambda: check_tables(deeply)))
    broken += [f"an orphan lives on: {word}" for word in list_orphans(world)]
    return broken


def check_trees(world: World) -> list[str]:
    """Every promoted tree is bit-equal to the source as it was then: contents, kinds, modes, owners, times, hard links."""
    broken = []
    for name in world.list_names():
        tree = world.snapshots / name / "data"
        if not tree.is_dir():
            broken.append(f"{name} has no tree")
            continue
        found = read_snapshot(tree)
        if name not in world.expected:
            unlike = [differences(held, found) for held in world.held]
            equal = [held for held, wrong in zip(world.held, unlike, strict=True) if not wrong]
            if not equal:
                broken.append(f"{name} is like nothing the source was: {min(unlike, key=len)[:6]}")
            world.expected[name] = equal[-1] if equal else found
        elif wrong := differences(world.expected[name], found):
            broken.append(f"{name} is no longer what it was: {wrong[:6]}")
        broken += [f"{name}: {word}" for word in list_wild(tree)]
    return broken


def list_leftovers(world: World) -> list[str]:
    """What may not be there when everything has come to its end."""
    found = []
    for name in (".partial", ".removing"):
        directory = world.snapshots / name
        found += [f"{name}/{entry}" for entry in (os.listdir(directory) if directory.is_dir() else [])]
    found += [f"tmp/{entry}" for entry in os.listdir(world.place / "tmp")]
    return found


def check_tables(deeply: bool) -> list[str]:
    """In a child: no task without an end, no lock, no record without its tree, no tree without its record."""
    broken = []
    for task in db.session.scalars(sa.select(Task)):
        if not task.status.is_final:
            broken.append(f"{task.type.value} {task.id} is {task.status.value} for ever: {task.error_message}")
        elif task.status is TaskStatus.FAILED and not _may_fail(task):
            broken.append(f"{task.type.value} {task.id} failed after recovery: {task.error_code}: {task.error_message}")
    if db.session.scalar(sa.select(sa.func.count()).select_from(TargetLock)):
        broken.append("a target is still locked")
    return [*broken, *_check_records(deeply)]


def _may_fail(task: Task) -> bool:
    """A discovery that was killed may say so: the sweeper takes in what it did not come to, and somebody may ask again."""
    return task.type is TaskType.SNAPSHOT_DISCOVERY and task.error_code is ErrorCode.WORKER_LOST


def _check_records(deeply: bool) -> list[str]:
    broken, recorded, host = [], set(), None
    query = sa.select(SnapshotRecord).join(Archive, Archive.id == SnapshotRecord.archive_id)
    for record in db.session.scalars(query.where(Archive.state != ArchiveState.DELETED)):
        place = place_of(record)
        host = Path(place.path).parent
        recorded.add(place.name)
        if record.archive.state not in (ArchiveState.STORED, ArchiveState.TRASHED):
            broken.append(f"the record of {place.name} is {record.archive.state.value}")
        elif not os.path.isdir(place.tree):
            broken.append(f"{place.name} has a record and no tree")
        else:
            broken += [f"{place.name}: {word}" for word in _check_digests(record, deeply)]
    if host is None:
        return broken
    found = {name for name in os.listdir(host) if not name.startswith(".")}
    return broken + [f"{name} has a tree and no record" for name in sorted(found - recorded)]


def _check_digests(record: SnapshotRecord, deeply: bool) -> list[str]:
    place, broken = place_of(record), []
    for name, wanted in ((LIST_NAME, record.list_sha256), (FILE_NAME, record.archive.manifest_sha256)):
        found = hashlib.sha256(Path(place.path, name).read_bytes()).hexdigest()
        if found != wanted:
            broken.append(f"{name} is not what its record says")
    if record.archive.sha256 != record.list_sha256:
        broken.append("the archive and its snapshot disagree about the list")
    if deeply:
        report = verification.verify(
            place,
            record.archive.manifest_sha256,
            record.list_sha256,
            level=VerificationLevel.COMPLETE,
            reporter=SilentReporter(),
        )
        broken += [f"{check.title}: {check.detail}" for check in report.checks if not report.passed]
    return broken


def list_orphans(world: World, seconds: float = 10.0) -> list[str]:
    """Programs that still work below the installation's directory, when they had time to notice that nobody wants them."""
    deadline = time.monotonic() + seconds
    while found := _programs_below(os.fsencode(world.place)):
        if time.monotonic() > deadline:
            return found
        time.sleep(0.05)
    return []


def _programs_below(place: bytes) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        is_program = os.path.basename(words[0]) in PROGRAMS
        if is_program and any(place in word for word in words[1:]):
            found.append(os.fsdecode(b" ".join(words))[:200])
    return found
