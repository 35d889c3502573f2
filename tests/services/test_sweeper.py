"""What the sweeper leaves in the history when a worker died."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.support.factories import make_archive, make_instance, make_job, make_run
from webapp.core.manifest import Manifest
from webapp.core.naming import archive_directory_name
from webapp.core.plans import NO_SECRET, BackupPlan, PostgresPlan
from webapp.core.status import ArchiveFormat, ArchiveState, Content, DatabaseSelection, ErrorCode, TaskStatus
from webapp.engine.shelf import Shelf
from webapp.services import schedule, sweeper
from webapp.services.store import the_shelf
from webapp.store.claims import claim_task
from webapp.store.db import db, writing
from webapp.store.models import Archive, FanOut, Run, Slot

NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
DUE = NOW.replace(hour=2) + timedelta(days=1)
pytestmark = pytest.mark.usefixtures("service")


def test_a_slot_whose_databases_nobody_could_find_is_a_failed_run(service: Flask) -> None:
    make_job(make_instance(NOW), NOW, database_selection=DatabaseSelection.ALL)
    schedule.reconcile(DUE)
    finder = db.session.scalars(sa.select(FanOut)).one()
    with writing() as session:
        claim_task(session, finder.id, "a worker that dies", now=DUE, lease_until=DUE + timedelta(seconds=60))

    sweeper.sweep(DUE + timedelta(seconds=90))

    db.session.commit()
    run = db.session.scalars(sa.select(Run)).one()
    assert (run.database_name, run.status, run.error_code) == ("*", TaskStatus.FAILED, ErrorCode.WORKER_LOST)
    assert run.slot_id == db.session.scalars(sa.select(Slot)).one().id


def place(run: Run, started_at: datetime, *, database: str = "acme", claimed_bytes: int = 7) -> str:
    """An archive of seven bytes on the shelf, under the run's number and fence 1; its relative path."""
    shelf = the_shelf()
    plan = BackupPlan(
        run_id=run.id,
        fence=1,
        attempt=1,
        instance_id=run.instance_id or 0,
        instance_name="acme-prod",
        instance_directory="1-acme-prod",
        job_id=run.job_id,
        database=database,
        content=Content.DATABASE,
        format=ArchiveFormat.ZIP,
        source=PostgresPlan("db.example", 5432, "holdfast", NO_SECRET),
        store_directory=shelf.root,
        started_at=started_at,
    )
    manifest = Manifest(
        run_id=run.id,
        fence=1,
        attempt=1,
        job_id=run.job_id,
        instance_id=plan.instance_id,
        instance_name=plan.instance_name,
        database=database,
        is_odoo=False,
        has_filestore=False,
        content=plan.content,
        archive_format=plan.format,
        file_name="a.zip",
        size_bytes=claimed_bytes,
        sha256="0" * 64,
        started_at=started_at.isoformat(),
        snapshot_at=started_at.isoformat(),
        holdfast_version="0",
    )
    workplace = shelf.begin(plan)
    Path(workplace.path("a.zip")).write_bytes(b"archive")
    name = archive_directory_name(started_at, database, run.id, 1)
    return shelf.place(workplace, manifest, name, quarantined=False)


def lost_run() -> Run:
    """A run whose worker died long before 10:30."""
    run = make_run(make_job(make_instance(NOW), NOW), NOW)
    with writing() as session:
        claim_task(session, run.id, "a worker that died", now=NOW, lease_until=NOW + timedelta(seconds=60))
    return run


def state_of(run: Run) -> tuple[TaskStatus, ErrorCode | None]:
    db.session.commit()
    found = db.session.get_one(Run, run.id, populate_existing=True)
    return found.status, found.error_code


def shelf() -> Shelf:
    return the_shelf()


def test_a_whole_archive_of_the_lost_run_is_adopted(service: Flask) -> None:
    run = lost_run()
    path = place(run, NOW + timedelta(seconds=5))

    sweeper.sweep(NOW + timedelta(hours=1))

    assert state_of(run) == (TaskStatus.COMPLETED, None)
    assert db.session.scalars(sa.select(Archive)).one().relative_path == path


@pytest.mark.parametrize(
    "of",
    [
        {"started_at": NOW - timedelta(days=30)},
        {"started_at": NOW, "database": "another"},
        {"started_at": NOW, "claimed_bytes": 8},
    ],
    ids=["older than the run", "of another database", "of another size"],
)
def test_an_archive_that_is_not_the_lost_runs_own_is_neither_adopted_nor_counted(
    service: Flask, of: dict[str, Any]
) -> None:
    run = lost_run()
    place(run, **of)

    sweeper.sweep(NOW + timedelta(hours=1))

    assert state_of(run) == (TaskStatus.FAILED, ErrorCode.WORKER_LOST)
    assert db.session.scalars(sa.select(Archive)).all() == []


def test_an_old_archive_under_a_number_used_again_is_never_removed(service: Flask) -> None:
    """The app's database was lost: runs are counted from 1 again, and the store holds the good backups of before."""
    run = make_run(make_job(make_instance(NOW), NOW), NOW, status=TaskStatus.COMPLETED, completed_at=NOW)
    path = place(run, NOW - timedelta(days=1))

    sweeper.sweep(NOW + timedelta(hours=1))

    assert shelf().exists(path)


def test_what_a_failed_run_left_on_the_shelf_is_removed(service: Flask) -> None:
    run = make_run(make_job(make_instance(NOW), NOW), NOW, status=TaskStatus.FAILED, completed_at=NOW)
    path = place(run, NOW + timedelta(seconds=5))

    sweeper.sweep(NOW + timedelta(hours=1))

    assert not shelf().exists(path)


def test_an_archive_whose_file_is_gone_is_missing_until_it_is_back(service: Flask) -> None:
    run = make_run(make_job(make_instance(NOW), NOW), NOW, status=TaskStatus.COMPLETED, completed_at=NOW)
    archive = make_archive(run, NOW, relative_path=place(run, NOW))
    folder = Path(shelf().root, archive.relative_path).parent
    aside = folder.rename(shelf().root + "/aside")

    sweeper.sweep(NOW)
    db.session.commit()
    gone = db.session.get_one(Archive, archive.id, populate_existing=True).state
    aside.rename(folder)
    sweeper.sweep(NOW)
    db.session.commit()
    back = db.session.get_one(Archive, archive.id, populate_existing=True).state

    assert (gone, back) == (ArchiveState.MISSING, ArchiveState.STORED)
