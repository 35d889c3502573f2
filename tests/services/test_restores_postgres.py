"""Restores through every floor with real servers: what comes back is what was taken; after a kill the target says what it is."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.support.app import ALICE
from tests.support.database_restores import databases, files_below, hashes, in_child_until_killed
from tests.support.factories import make_instance, make_job, make_run
from tests.support.odoo_database import OdooDatabase, build_odoo_database
from tests.support.postgres import PASSWORD, SUPERUSER, PostgresServer, running_server
from webapp.core.plans import Secret
from webapp.core.restore_plans import RestoreOptions, RestorePlan, RestoreResult
from webapp.core.status import (
    Content,
    ErrorCode,
    FilestoreKind,
    InstanceKind,
    RestoreOutcome,
    RestoreTarget,
    TaskStatus,
)
from webapp.engine.report import Reporter
from webapp.services import archives, backups, kept_databases, restores, runs, sweeper, tasks
from webapp.services.instance_plans import secret_context
from webapp.services.kept_databases import execute_removal, request_removal
from webapp.services.refresh_jobs import RefreshDraft, create_refresh_job
from webapp.services.restore_checks import execute_check
from webapp.services.restore_runs import ENGINE, execute_restore
from webapp.services.restores import RestoreWish, request_check, request_restore
from webapp.services.schedule import reconcile
from webapp.services.wiring import wired
from webapp.store.db import db, forget_connections_after_fork, release, writing
from webapp.store.models import Archive, Instance, Restore, Task

pytestmark = pytest.mark.usefixtures("service")
Journal = Callable[[Mapping[str, Any]], None]


def clock() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_server() as server:
        yield server


@dataclass(frozen=True)
class Place:
    """An Odoo with one archive of its database "acme", and what both held when it was taken."""

    server: PostgresServer
    filestores: Path
    instance_id: int
    archive_id: int
    hashes: dict[str, str]
    files: dict[str, bytes]

    def restore(self, target: RestoreTarget, database: str, **options: Any) -> int:
        """Checked and asked for."""
        wish = RestoreWish(self.archive_id, target, self.instance_id, database, RestoreOptions(**options))
        check_id = request_check(wish, actor=ALICE, now=clock()).id
        execute_check(check_id, clock=clock)
        check = restores.get_check(check_id)
        assert check.status is not TaskStatus.FAILED, check.error_message
        return request_restore(check_id, typed_name=database, actor=ALICE, now=clock()).id

    def replace(self, database: str = "acme") -> int:
        """Asked for, and its safety backup is made."""
        number = self.restore(RestoreTarget.REPLACE, database)
        make_safe(number)
        return number

    def spoil(self) -> None:
        """Somebody did what the restore is to put right."""
        self.server.execute("DELETE FROM res_partner WHERE id > 3; CREATE TABLE made_later (id int)", "acme")

    def assert_as_taken(self, database: str) -> None:
        """Every table and every file is what it was at the snapshot."""
        assert hashes(self.server, database) == self.hashes
        assert files_below(self.filestores / database) == self.files


@pytest.fixture
def place(server: PostgresServer, tmp_path: Path, service: Flask) -> Iterator[Place]:
    filestores = tmp_path / "filestores"
    built = build_odoo_database(server, "acme", filestores, rows=40, files=8)
    instance_id = odoo_instance(server, filestores)
    yield back_up(server, filestores, instance_id, built)
    for name in databases(server):
        server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def odoo_instance(server: PostgresServer, filestores: Path, name: str = "acme-prod") -> int:
    values = {"pg_port": server.port, "pg_user": SUPERUSER, "filestore_path": str(filestores)}
    kinds = {"kind": InstanceKind.ODOO_POSTGRES, "filestore_kind": FilestoreKind.LOCAL}
    instance_id = make_instance(clock(), name, **values, **kinds).id
    with writing() as session:
        row = session.get_one(Instance, instance_id)
        row.pg_password = wired().vault.seal(Secret(PASSWORD), secret_context(row, "pg_password"))
    return instance_id


def back_up(server: PostgresServer, filestores: Path, instance_id: int, built: OdooDatabase) -> Place:
    instance = db.session.get_one(Instance, instance_id)
    job = make_job(instance, clock(), content=Content.DATABASE_AND_FILESTORE, enabled=False)
    run_id = make_run(job, clock(), content=Content.DATABASE_AND_FILESTORE).id
    backups.execute_run(run_id, clock=clock)
    archive = archives.archive_of_run(run_id)
    assert archive is not None, runs.get_run(run_id).error_message
    held = hashes(server, "acme"), files_below(built.filestore)
    return Place(server, filestores, instance_id, archive.id, *held)


def make_safe(restore_id: int) -> None:
    """The first attempt asks for the safety backup; a worker makes it."""
    execute_restore(restore_id, clock=clock)
    run_id = again(restore_id).safety_run_id
    assert run_id is not None, again(restore_id).error_message
    backups.execute_run(run_id, clock=clock)
    assert runs.get_run(run_id).status is TaskStatus.COMPLETED, runs.get_run(run_id).error_message
    make_due(restore_id)


def again(restore_id: int) -> Restore:
    db.session.commit()
    return db.session.get_one(Restore, restore_id, populate_existing=True)


def make_due(task_id: int) -> None:
    with writing() as session:
        session.get_one(Task, task_id).not_before = None
    release()


def test_a_new_database_holds_what_the_archive_took(place: Place) -> None:
    place.spoil()
    number = place.restore(RestoreTarget.NEW_DATABASE, "acme_copy")

    execute_restore(number, clock=clock)

    ended = again(number)
    assert (ended.status, ended.error_message) == (TaskStatus.COMPLETED, "")
    assert ended.outcome is RestoreOutcome.CREATED
    place.assert_as_taken("acme_copy")
    assert databases(place.server) == {"acme", "acme_copy"}
    assert restores.result_of(ended)["files"] == len(place.files)


def test_replacing_keeps_what_was_there_until_it_is_removed(place: Place) -> None:
    place.spoil()
    spoilt = hashes(place.server, "acme")
    number = place.replace()

    execute_restore(number, clock=clock)

    ended = again(number)
    assert (ended.status, ended.error_message) == (TaskStatus.COMPLETED, "")
    place.assert_as_taken("acme")
    safety = archives.archive_of_run(ended.safety_run_id or 0)
    assert safety is not None
    assert safety.verification_status.value == "passed"
    kept = kept_databases.list_kept()[0]
    kept_id, name = kept.id, kept.kept_name
    assert databases(place.server) == {"acme", name}
    place.server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    assert hashes(place.server, name) == spoilt
    place.server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')  # one that is in use is not removed
    removal = request_removal(kept_id, typed_name=name, actor=ALICE, now=clock()).id
    execute_removal(removal, clock=clock)

    assert tasks.get_task(removal).status is TaskStatus.COMPLETED, tasks.get_task(removal).error_message
    assert databases(place.server) == {"acme"}
    assert [path.name for path in place.filestores.iterdir()] == ["acme"]


def test_a_target_that_changed_since_the_check_is_left_alone(place: Place) -> None:
    number = place.replace()
    place.server.execute('DROP DATABASE "acme" WITH (FORCE)')
    place.server.create_database("acme")

    execute_restore(number, clock=clock)

    ended = again(number)
    assert (ended.status, ended.error_code) == (TaskStatus.FAILED, ErrorCode.TARGET_CHANGED)
    assert databases(place.server) == {"acme"}
    assert hashes(place.server, "acme") == {}


def test_a_damaged_archive_is_refused_before_the_target_is_touched(place: Place) -> None:
    number = place.replace()
    before = hashes(place.server, "acme")
    path = Path(archives.file_path(db.session.get_one(Archive, place.archive_id)))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    execute_restore(number, clock=clock)

    ended = again(number)
    assert (ended.status, ended.outcome, ended.journal) == (TaskStatus.FAILED, RestoreOutcome.UNTOUCHED, {})
    assert (databases(place.server), hashes(place.server, "acme")) == ({"acme"}, before)


@pytest.mark.slow
def test_a_worker_killed_at_any_step_leaves_the_old_database_or_the_new_one(place: Place) -> None:
    place.spoil()
    spoilt, spoilt_files = hashes(place.server, "acme"), files_below(place.filestores / "acme")
    steps = _steps_of(place)
    assert len(steps) >= 4
    seen = set()
    for at in range(len(steps)):
        number = place.replace()
        assert _worker(number, _dying(at)) == -signal.SIGKILL, steps[at]

        sweeper.sweep(clock() + timedelta(minutes=2))
        make_due(number)
        execute_restore(number, clock=clock)

        ended = again(number)
        seen.add(ended.outcome)
        if ended.outcome is RestoreOutcome.REPLACED:
            assert ended.status is TaskStatus.COMPLETED, steps[at]
            place.assert_as_taken("acme")
            _put_back(place)
        else:
            assert (ended.status, ended.outcome) == (TaskStatus.FAILED, RestoreOutcome.UNTOUCHED), steps[at]
            assert ended.error_code is ErrorCode.WORKER_LOST
            assert hashes(place.server, "acme") == spoilt, steps[at]
            assert files_below(place.filestores / "acme") == spoilt_files, steps[at]
        assert databases(place.server) == {"acme"}, steps[at]
    assert seen >= {RestoreOutcome.UNTOUCHED}


def _steps_of(place: Place) -> list[str]:
    """The steps of one whole replacement, which is then put back."""
    steps: list[str] = []

    def run(plan: RestorePlan, journal: Journal, reporter: Reporter) -> RestoreResult:
        def noting(entry: Mapping[str, Any]) -> None:
            steps.append(str(entry.get("step", "")))
            journal(entry)

        return ENGINE.run(plan, noting, reporter)

    number = place.replace()
    execute_restore(number, clock=clock, engine=replace(ENGINE, run=run))
    assert again(number).status is TaskStatus.COMPLETED, again(number).error_message
    _put_back(place)
    return steps


def _put_back(place: Place) -> None:
    """The kept database is "acme" again, as before the replacement."""
    kept = kept_databases.list_kept()[0]
    name = kept.kept_name
    place.server.execute('DROP DATABASE "acme" WITH (FORCE)')
    place.server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    place.server.execute(f'ALTER DATABASE "{name}" RENAME TO acme')
    for path in (place.filestores / "acme").rglob("*"):
        if path.is_file():
            path.unlink()
    (place.filestores / "acme").rename(place.filestores / "gone")
    (place.filestores / name).rename(place.filestores / "acme")
    for folder in sorted((place.filestores / "gone").rglob("*"), reverse=True):
        folder.rmdir()
    (place.filestores / "gone").rmdir()
    with writing() as session:
        session.execute(sa.update(type(kept)).values(removed_at=clock()))
    release()


def _worker(restore_id: int, run: Callable[[RestorePlan, Journal, Reporter], RestoreResult]) -> int:
    """Do it in a process of its own, as a worker does; its exit code, or minus the signal that ended it."""
    release()
    db.engine.dispose()

    def work() -> None:
        forget_connections_after_fork()
        execute_restore(restore_id, clock=clock, engine=replace(ENGINE, run=run))

    return in_child_until_killed(work)


def _dying(at: int) -> Callable[[RestorePlan, Journal, Reporter], RestoreResult]:
    """The engine in a worker that ends right after the journal's entry number ``at``."""

    def run(plan: RestorePlan, journal: Journal, reporter: Reporter) -> RestoreResult:
        count = 0

        def dying(entry: Mapping[str, Any]) -> None:
            nonlocal count
            journal(entry)
            count += 1
            if count > at:
                os.kill(os.getpid(), signal.SIGKILL)

        return ENGINE.run(plan, dying, reporter)

    return run


def test_a_refresh_makes_a_harmless_copy_and_makes_it_anew(place: Place) -> None:
    production = place.server.rows("SELECT value FROM ir_config_parameter WHERE key = 'database.uuid'", "acme")
    staging = odoo_instance(place.server, place.filestores, "acme-staging")
    draft = RefreshDraft(
        name="Staging",
        source_instance_id=place.instance_id,
        database="acme",
        target_instance_id=staging,
        target_database="acme_staging",
        cron="0 4 * * *",
        safety_backup=False,
    )
    job_id = create_refresh_job(draft, actor=ALICE, now=clock()).id
    tomorrow = clock() + timedelta(days=1)
    reconcile(tomorrow)
    first = db.session.scalars(sa.select(Restore.id)).one()
    execute_restore(first, clock=clock)
    assert (again(first).status, again(first).outcome) == (TaskStatus.COMPLETED, RestoreOutcome.CREATED)
    place.server.execute("DELETE FROM mail_message", "acme_staging")

    second = runs.request_job(job_id, actor=ALICE, now=clock())[0].id
    execute_restore(second, clock=clock)

    assert (again(second).status, again(second).outcome) == (TaskStatus.COMPLETED, RestoreOutcome.REPLACED)
    staged = hashes(place.server, "acme_staging")
    same = {name for name, digest in place.hashes.items() if staged.get(name) == digest}
    assert {"public.res_partner", "public.mail_message"} <= same
    uuid = place.server.rows("SELECT value FROM ir_config_parameter WHERE key = 'database.uuid'", "acme_staging")
    assert uuid != production
    place.assert_as_taken("acme")
    sweeper.sweep(clock() + timedelta(seconds=1))
    removal = db.session.scalars(sa.select(Task.id).where(Task.title.like("%remove acme_staging__before%"))).one()
    execute_removal(removal, clock=clock)
    assert databases(place.server) == {"acme", "acme_staging"}
