"""What must hold after any crash, once the sweeper has come by: asked of the database, the store and the process table."""

from __future__ import annotations

import hashlib
import time
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from tests.proof.stage import Stage
from webapp.core.status import ArchiveState, TaskStatus, TaskType
from webapp.engine.shelf import open_shelf
from webapp.services import backups, sweeper
from webapp.services.wiring import wired
from webapp.store.db import db, release
from webapp.store.models import Archive, Run, Slot, TargetLock, Task

Clock = Callable[[], datetime]
Execute = Callable[[int, Clock], None]

SUCCESS = (TaskStatus.COMPLETED, TaskStatus.COMPLETED_WITH_WARNINGS)
PASSES = 4


def execute_run(run_id: int, clock: Clock) -> None:
    """What a worker does with a run."""
    backups.execute_run(run_id, clock=clock)


def recover_and_check(execute: Execute = execute_run) -> list[str]:
    """Sweep as if the lease had run out, run again what became pending, then list every broken invariant.

    Each pass is later than the one before, as passes are.
    """
    lease = timedelta(seconds=wired().lease_seconds + 10)
    for number in range(1, PASSES + 1):
        clock = _clock_ahead(number * lease)
        sweeper.sweep(clock())
        pending = db.session.scalars(
            sa.select(Task.id).where(Task.status == TaskStatus.PENDING, Task.type == TaskType.BACKUP)
        ).all()
        release()
        for run_id in pending:
            execute(run_id, clock)
    db.session.commit()
    return [*check_runs(), *check_archives(), *check_leftovers()]


def _clock_ahead(by: timedelta) -> Clock:
    return lambda: datetime.now(UTC) + by


def check_runs() -> list[str]:
    """Every slot has exactly one final run, and nobody is running."""
    broken = []
    runs = db.session.scalars(sa.select(Run)).all()
    slots = db.session.scalars(sa.select(Slot)).all()
    for slot in slots:
        of_slot = [run for run in runs if run.slot_id == slot.id]
        if len(of_slot) != 1:
            broken.append(f"slot {slot.scheduled_at} has {len(of_slot)} runs")
    for run in runs:
        if not run.status.is_final:
            broken.append(f"run {run.id} is {run.status.value} for ever")
        elif run.status not in SUCCESS:
            broken.append(f"run {run.id} failed after recovery: {run.error_code}: {run.error_message}")
        elif db.session.scalar(sa.select(sa.func.count()).where(Archive.run_id == run.id)) != 1:
            broken.append(f"false success: run {run.id} has no archive")
    return broken


def check_archives() -> list[str]:
    """Every archive that counts is on disk, whole, and what its row says."""
    broken = []
    for archive in db.session.scalars(sa.select(Archive).where(Archive.state == ArchiveState.STORED)):
        path = wired().archive_directory / archive.relative_path
        if not path.is_file():
            broken.append(f"false success: archive {archive.id} has no file")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != archive.sha256:
            broken.append(f"false success: archive {archive.id} differs from its digest")
        elif not _opens(path):
            broken.append(f"false success: archive {archive.id} does not open")
    return broken


def _opens(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None and "dump.sql" in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False


def check_leftovers() -> list[str]:
    """No temporary file, no directory without a row, no lock."""
    store = wired().archive_directory
    rows = set(db.session.scalars(sa.select(Archive.relative_path)))
    found = {
        str(path.relative_to(store))
        for path in store.rglob("*")
        if path.is_file() and path.suffix in (".zip", ".dump") and ".tmp" not in path.parts
    }
    broken = [f"left over: {name} has no row" for name in found - rows]
    broken += [f"left over: workplace {name}" for name in open_shelf(str(store)).list_workplaces()]
    if db.session.scalar(sa.select(sa.func.count()).select_from(TargetLock)):
        broken.append("left over: a target is still locked")
    broken += [f"left over: {path.name} in the temporary directory" for path in (store.parent / "tmp").iterdir()]
    return broken


def check_server(stage: Stage, seconds: float = 10.0) -> list[str]:
    """No session of ours stays on the source server."""
    deadline = time.monotonic() + seconds
    while sessions := stage.server.sessions():
        if time.monotonic() > deadline:
            return [f"left over: {len(sessions)} sessions on the source"]
        time.sleep(0.05)
    return []
