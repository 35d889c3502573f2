"""Runs through every floor: a row in the calendar becomes an archive in the store, and its row says what became of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.support.app import ALICE
from tests.support.factories import make_instance, make_job, make_run
from tests.support.odoo_like import Database, OdooLike
from tests.support.odoo_zip import attachments, dump_sql, odoo_zip
from webapp.core.errors import ArchiveError
from webapp.core.plans import Secret
from webapp.core.status import (
    ArchiveState,
    Content,
    DatabaseSelection,
    ErrorCode,
    InstanceKind,
    RetentionMode,
    TaskStatus,
    TaskType,
    VerificationLevel,
    VerificationStatus,
)
from webapp.services import archives, backups, fan_out, retention, runs, trash
from webapp.services.archives import adopt_archive, read_manifest
from webapp.services.execution import Outcome, execute
from webapp.services.instance_plans import secret_context
from webapp.services.reporting import TaskReporter, time_limit_stop
from webapp.services.store import the_shelf
from webapp.services.wiring import wired
from webapp.store.db import db, writing
from webapp.store.models import Archive, FanOut, Instance, Job, RetentionTask, Run, Task, TaskLog

PASSWORD = "correct horse battery"
pytestmark = pytest.mark.usefixtures("service")


def clock() -> datetime:
    return datetime.now(UTC)


@dataclass
class Place:
    """An Odoo with a job that keeps the newest backup."""

    odoo: OdooLike
    job_id: int

    @property
    def job(self) -> Job:
        """Its row, as it is now."""
        db.session.commit()
        return db.session.get_one(Job, self.job_id)

    def back_up(self, **values: Any) -> Run:
        """A run of the job, executed."""
        run = make_run(self.job, clock(), content=Content.DATABASE_AND_FILESTORE, **values)
        backups.execute_run(run.id, clock=clock)
        return again(run)


@pytest.fixture
def place(service: Flask) -> Iterator[Place]:
    with OdooLike(master_password=PASSWORD) as odoo:
        odoo.databases["acme"] = Database(zip_bytes=odoo_zip("acme"))
        yield Place(odoo, job_for(odoo).id)


def job_for(odoo: OdooLike, **values: Any) -> Job:
    instance = make_instance(
        clock(), kind=InstanceKind.ODOO_HTTP, url=odoo.url, allow_plain_http=True, pg_host="", pg_user=""
    )
    with writing() as session:
        row = session.get_one(Instance, instance.id)
        row.master_password = wired().vault.seal(Secret(PASSWORD), secret_context(row, "master_password"))
    return make_job(
        instance,
        clock(),
        content=Content.DATABASE_AND_FILESTORE,
        retention_mode=RetentionMode.KEEP_LAST_N,
        retention_value=1,
        **values,
    )


def again(run: Run) -> Run:
    db.session.commit()
    return db.session.get_one(Run, run.id, populate_existing=True)


def all_archives() -> list[Archive]:
    db.session.commit()
    return list(db.session.scalars(sa.select(Archive).order_by(Archive.id).execution_options(populate_existing=True)))


def test_a_run_leaves_a_verified_archive_and_asks_for_retention(place: Place) -> None:
    run = place.back_up()

    (archive,) = all_archives()
    assert (run.status, run.error_message) == (TaskStatus.COMPLETED, "")
    assert run.verification_status is VerificationStatus.PASSED
    assert (archive.run_id, archive.state, archive.verification_status) == (
        run.id,
        ArchiveState.STORED,
        VerificationStatus.PASSED,
    )
    assert Path(archives.file_path(archive)).read_bytes() == place.odoo.databases["acme"].zip_bytes
    assert db.session.scalars(sa.select(RetentionTask.job_id)).all() == [place.job_id]


def test_an_unverified_run_asks_for_no_retention(place: Place) -> None:
    run = place.back_up(verification_level=VerificationLevel.NONE)

    assert (run.status, run.verification_status) == (TaskStatus.COMPLETED, VerificationStatus.NOT_RUN)
    assert db.session.scalars(sa.select(RetentionTask)).all() == []


def test_an_archive_that_fails_its_verification_lies_apart_and_never_counts(place: Place) -> None:
    place.back_up()
    place.odoo.databases["acme"] = Database(zip_bytes=odoo_zip("acme", with_filestore=False))

    run = place.back_up()

    good, bad = all_archives()
    assert (run.status, run.verification_status) == (TaskStatus.FAILED, VerificationStatus.FAILED)
    assert (bad.state, bad.verification_status) == (ArchiveState.QUARANTINED, VerificationStatus.FAILED)
    assert bad.relative_path.startswith("quarantine/")
    assert good.state is ArchiveState.STORED
    assert archives.newest_verified(place.job.instance_id, "acme") == good
    assert len(db.session.scalars(sa.select(RetentionTask)).all()) == 1


def test_retention_drops_what_the_plan_says_and_keeps_the_newest(place: Place) -> None:
    place.back_up()
    with writing() as session:
        for archive in session.scalars(sa.select(Archive)):
            archive.taken_at -= timedelta(days=1)
    place.back_up()
    newest = db.session.scalars(sa.select(RetentionTask).order_by(RetentionTask.id.desc())).first()
    assert newest is not None

    retention.execute_retention(newest.id, clock=clock)

    old, new = all_archives()
    assert (old.state, new.state, old.trashed_by) == (ArchiveState.TRASHED, ArchiveState.STORED, "retention")
    assert old.delete_reason
    assert len(list(the_shelf().list_directories())) == 2

    for days in (1, 2, 3, 4):
        trash.resume_deletions(clock() + timedelta(days=days))

    old, new = all_archives()
    assert (old.state, new.state) == (ArchiveState.DELETED, ArchiveState.STORED)
    assert [directory for directory, _ in the_shelf().list_directories()] == [new.relative_path.rpartition("/")[0]]


def test_what_failed_its_verification_goes_when_newer_ones_are_kept(place: Place) -> None:
    good = place.odoo.databases["acme"]
    place.odoo.databases["acme"] = Database(zip_bytes=odoo_zip("acme", with_filestore=False))
    place.back_up()
    place.odoo.databases["acme"] = good
    with writing() as session:
        for archive in session.scalars(sa.select(Archive)):
            archive.taken_at -= timedelta(days=1)
    place.back_up()
    task = db.session.scalars(sa.select(RetentionTask)).one()

    retention.execute_retention(task.id, clock=clock)

    assert [archive.state for archive in all_archives()] == [ArchiveState.TRASHED, ArchiveState.STORED]


def test_retention_of_a_job_that_was_deleted_touches_nothing(place: Place) -> None:
    place.back_up()
    place.back_up()
    with writing() as session:
        session.get_one(Job, place.job_id).deleted_at = clock()

    for task in db.session.scalars(sa.select(RetentionTask.id)).all():
        retention.execute_retention(task, clock=clock)

    assert [archive.state for archive in all_archives()] == [ArchiveState.STORED, ArchiveState.STORED]


def test_a_source_whose_clock_is_wrong_does_not_choose_the_age_of_its_backups(place: Place) -> None:
    run = place.back_up()
    (archive,) = all_archives()
    manifest = replace(read_manifest(archive), snapshot_at="1999-01-01T00:00:00+00:00")
    with writing() as session:
        session.delete(session.get_one(Archive, archive.id))
        session.flush()
        adopted = adopt_archive(session, run, manifest, archive.relative_path, now=clock())

    assert abs(adopted.taken_at - clock()) < timedelta(minutes=5)


def test_a_password_that_comes_back_from_the_source_is_shown_nowhere(place: Place) -> None:
    place.odoo.databases.clear()
    place.odoo.databases[f"say {PASSWORD}"] = Database(zip_bytes=b"")
    with writing() as session:
        session.get_one(Job, place.job_id).database_selection = DatabaseSelection.ALL
    (task,) = runs.request_job(place.job_id, actor=ALICE, now=clock())

    fan_out.fan_out(task.id, clock=clock)

    db.session.commit()
    lines = db.session.scalars(sa.select(TaskLog.message)).all()
    assert any("[secret]" in line for line in lines)
    assert not any(PASSWORD in line for line in lines)


def test_names_that_no_database_can_have_are_left_out_and_said(place: Place) -> None:
    place.odoo.databases["x" * 64] = Database(zip_bytes=b"")
    with writing() as session:
        session.get_one(Job, place.job_id).database_selection = DatabaseSelection.ALL
    (task,) = runs.request_job(place.job_id, actor=ALICE, now=clock())

    fan_out.fan_out(task.id, clock=clock)

    db.session.commit()
    ended = db.session.get_one(FanOut, task.id, populate_existing=True)
    assert (ended.status, ended.error_code) == (TaskStatus.COMPLETED_WITH_WARNINGS, ErrorCode.INVALID_CONFIGURATION)
    assert "x" * 64 not in db.session.scalars(sa.select(Run.database_name)).all()


def test_a_stored_archive_is_proved_against_its_row_not_only_its_side_car(place: Place) -> None:
    """Two archives that changed places took their manifests with them."""
    place.back_up()
    place.odoo.databases["acme"] = Database(zip_bytes=odoo_zip("acme", dump=dump_sql(attachments(12), partners=9)))
    place.back_up()
    one, two = (Path(the_shelf().resolve(archive.relative_path)) for archive in all_archives())
    for name in ("manifest.json", one.name):
        content = (two.parent / (two.name if name == one.name else name)).read_bytes()
        (one.parent / name).write_bytes(content.replace(two.name.encode(), one.name.encode()))
    archive = all_archives()[0]
    task = archives.request_verification(archive.id, level=VerificationLevel.COMPLETE, actor=ALICE, now=clock())

    archives.execute_verification(task.id, clock=clock)

    assert all_archives()[0].verification_status is VerificationStatus.FAILED
    db.session.commit()
    ended = db.session.get_one(Task, task.id, populate_existing=True)
    assert (ended.type, ended.status) == (TaskType.VERIFICATION, TaskStatus.FAILED)


def test_an_archive_that_lost_its_manifest_no_longer_counts(place: Place) -> None:
    place.back_up()
    archive = all_archives()[0]
    Path(the_shelf().resolve(archive.relative_path)).with_name("manifest.json").unlink()
    task = archives.request_verification(archive.id, level=VerificationLevel.INTACT, actor=ALICE, now=clock())

    archives.execute_verification(task.id, clock=clock)

    assert all_archives()[0].verification_status is VerificationStatus.FAILED
    assert "missing or damaged" in all_archives()[0].report[0]["detail"]


def test_a_manifest_that_was_changed_is_not_believed_even_where_nothing_checks_it(place: Place) -> None:
    place.back_up()
    archive = all_archives()[0]
    side_car = Path(the_shelf().resolve(archive.relative_path)).with_name("manifest.json")
    side_car.write_bytes(side_car.read_bytes().replace(b'"Nightly"', b'"Weekly!"'))
    task = archives.request_verification(archive.id, level=VerificationLevel.INTACT, actor=ALICE, now=clock())

    archives.execute_verification(task.id, clock=clock)

    assert all_archives()[0].verification_status is VerificationStatus.FAILED
    with pytest.raises(ArchiveError, match="not as it was written"):
        read_manifest(all_archives()[0])


def test_a_run_told_to_stop_after_its_archive_was_placed_leaves_nothing(place: Place) -> None:
    run = make_run(place.job, clock(), content=Content.DATABASE_AND_FILESTORE)
    placed: list[str] = []

    def body(task_id: int, reporter: TaskReporter) -> Outcome:
        outcome = backups._back_up(task_id, reporter, clock)
        placed.extend(directory for directory, _ in the_shelf().list_directories())
        reporter.stop(time_limit_stop(60))
        return outcome

    execute(run.id, body, clock=clock)

    assert len(placed) == 1
    assert list(the_shelf().list_directories()) == []
    assert (again(run).status, again(run).error_code) == (TaskStatus.FAILED, ErrorCode.TIMEOUT)
