"""A restore that is executed: what it made, the safety backup it waits for, and no backup beside it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.app import BOB, RecordingQueue
from tests.support.factories import make_job, make_run
from tests.support.restore_tasks import Journal, Point, again, asked, clock, make_due, replacing
from tests.support.restores import IDENTITY, ScriptedEngine, finish_safety_run
from webapp.core.errors import NotFound
from webapp.core.restore_plans import RestoreOptions, RestorePlan
from webapp.core.status import Content, ErrorCode, RestoreOutcome, RestoreTarget, TaskStatus
from webapp.services import restores, tasks
from webapp.services.execution import Outcome, execute
from webapp.services.reporting import TaskReporter
from webapp.services.restore_checks import execute_check
from webapp.services.restore_runs import execute_restore
from webapp.services.restores import RestoreWish, request_check, request_restore
from webapp.services.wiring import Wiring
from webapp.store.db import db, release, writing
from webapp.store.models import AuditEvent, KeptDatabase, Run

pytestmark = pytest.mark.usefixtures("service")


def test_a_restore_to_a_new_database_says_what_it_made(archive: Point, engine: ScriptedEngine) -> None:
    number = asked(archive, RestoreTarget.NEW_DATABASE, "acme_copy", engine)

    execute_restore(number, clock=clock, engine=engine.doors())

    ended = again(number)
    assert (ended.status, ended.outcome) == (TaskStatus.COMPLETED, RestoreOutcome.CREATED)
    assert restores.result_of(ended)["rows"] == 5
    assert engine.ran[0].identity == IDENTITY
    assert engine.ran[0].temporary_name == f"acme_copy__restoring_{number}_1"
    events = db.session.scalars(sa.select(AuditEvent.event).order_by(AuditEvent.id)).all()
    assert events == ["restore.checked", "restore.requested", "restore.started", "restore.completed"]
    assert db.session.scalars(sa.select(Run).where(Run.triggered_by.startswith("restore:"))).all() == []


def test_replacing_waits_for_a_safety_backup_and_keeps_the_old_database(
    archive: Point, engine: ScriptedEngine, queue: RecordingQueue
) -> None:
    number = asked(archive, RestoreTarget.REPLACE, "acme", engine)

    execute_restore(number, clock=clock, engine=engine.doors())

    waiting = again(number)
    assert (waiting.status, waiting.attempt, engine.ran) == (TaskStatus.PENDING, 0, [])
    assert waiting.progress_message == "Waiting: safety backup of acme-prod / acme."
    run = db.session.get_one(Run, waiting.safety_run_id)
    assert (run.triggered_by, run.content) == (f"restore:{number}", Content.DATABASE_AND_FILESTORE)
    run_id = run.id
    assert queue.pushed[-1]["task_id"] == run_id
    make_due(number)
    execute_restore(number, clock=clock, engine=engine.doors())
    assert (again(number).status, engine.ran) == (TaskStatus.PENDING, [])
    finish_safety_run(run_id, archive.instance, clock())
    make_due(number)
    execute_restore(number, clock=clock, engine=engine.doors())

    ended = again(number)
    assert (ended.status, ended.outcome) == (TaskStatus.COMPLETED, RestoreOutcome.REPLACED)
    kept = db.session.scalars(sa.select(KeptDatabase)).one()
    assert kept.kept_name == engine.ran[0].kept_name
    assert kept.kept_name.startswith("acme__before_")
    assert (kept.database_name, kept.size_bytes, kept.identity) == ("acme", 5000, IDENTITY.as_json())
    assert kept.remove_after is not None
    assert timedelta(days=6) < kept.remove_after - clock() < timedelta(days=8)


def test_a_safety_backup_that_failed_touches_nothing(archive: Point, engine: ScriptedEngine) -> None:
    number = asked(archive, RestoreTarget.REPLACE, "acme", engine)
    execute_restore(number, clock=clock, engine=engine.doors())
    with writing() as session:
        run = session.get_one(Run, again(number).safety_run_id)
        run.status, run.error_message = TaskStatus.FAILED, "The disk is full."
    make_due(number)

    execute_restore(number, clock=clock, engine=engine.doors())

    ended = again(number)
    assert (ended.status, ended.error_code) == (TaskStatus.FAILED, ErrorCode.SAFETY_BACKUP_FAILED)
    assert "The disk is full. Nothing was touched." in ended.error_message
    assert (ended.outcome, engine.ran) == (RestoreOutcome.UNTOUCHED, [])


def test_the_end_of_the_safety_backup_wakes_the_restore(
    archive: Point, engine: ScriptedEngine, queue: RecordingQueue
) -> None:
    number = asked(archive, RestoreTarget.REPLACE, "acme", engine)
    queue.pushed.clear()
    execute_restore(number, clock=clock, engine=engine.doors())
    run_id = again(number).safety_run_id
    assert run_id is not None

    execute(run_id, lambda _id, _reporter: Outcome(), clock=clock)

    assert [entry["queue_task_id"] for entry in queue.pushed] == [f"run-{run_id}", f"restore-{number}"]
    due = again(number).not_before
    assert due is not None
    assert due <= clock()


def test_no_backup_of_the_database_runs_while_it_is_restored(
    archive: Point, engine: ScriptedEngine, queue: RecordingQueue
) -> None:
    run_id = make_run(make_job(archive.instance, clock(), name="Hourly"), clock(), exclusive=False).id
    seen: list[str] = []

    def during(_plan: RestorePlan, _journal: Journal) -> None:
        execute(run_id, lambda _id, _reporter: Outcome(), clock=clock)
        seen.append(tasks.get_task(run_id).progress_message)
        release()

    number = replacing(archive, engine)
    engine.during = during
    execute_restore(number, clock=clock, engine=engine.doors())

    assert seen == ["Waiting: acme-prod runs one backup at a time."]
    assert again(number).status is TaskStatus.COMPLETED
    assert queue.pushed[-1]["task_id"] == run_id
    execute(run_id, lambda _id, _reporter: Outcome(), clock=clock)
    assert tasks.get_task(run_id).status is TaskStatus.COMPLETED


def test_a_restore_waits_for_the_backup_that_runs(archive: Point, engine: ScriptedEngine) -> None:
    run_id = make_run(make_job(archive.instance, clock(), name="Hourly"), clock()).id
    number = asked(archive, RestoreTarget.NEW_DATABASE, "acme_copy", engine)

    def body(_id: int, _reporter: TaskReporter) -> Outcome:
        execute_restore(number, clock=clock, engine=engine.doors())
        waiting = again(number)
        assert (waiting.status, waiting.attempt) == (TaskStatus.PENDING, 0)
        assert waiting.progress_message == "Waiting: another task works on acme-prod."
        release()
        return Outcome()

    execute(run_id, body, clock=clock)

    assert tasks.get_task(run_id).status is TaskStatus.COMPLETED
    due = again(number).not_before
    assert due is not None
    assert due <= clock()
    execute_restore(number, clock=clock, engine=engine.doors())
    assert again(number).status is TaskStatus.COMPLETED


def test_a_directory_restore_needs_no_instance(archive: Point, engine: ScriptedEngine, wiring: Wiring) -> None:
    wish = RestoreWish(archive.id, RestoreTarget.TABLE, options=RestoreOptions(piece="public.res_partner"))
    check_id = request_check(wish, actor=BOB, now=clock()).id
    execute_check(check_id, clock=clock, look=engine.look)
    number = request_restore(check_id, typed_name="", actor=BOB, now=clock()).id

    def during(plan: RestorePlan, _journal: Journal) -> None:
        directory = Path(plan.options.directory)
        directory.mkdir()
        (directory / "public.res_partner.csv").write_text("id\n1\n")

    engine.during = during
    execute_restore(number, clock=clock, engine=engine.doors())

    ended = again(number)
    assert ended.status is TaskStatus.COMPLETED
    assert Path(restores.result_file(ended)).read_text() == "id\n1\n"
    with writing():
        ended.details = {**ended.details, "result": {"file": "/etc/passwd"}}
    with pytest.raises(NotFound):
        restores.result_file(ended)
