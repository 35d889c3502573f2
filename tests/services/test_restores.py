"""Restores: asked for in two steps, executed under a lease, and after a kill the target says what it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.support.app import ALICE, BOB, CHARLIE, RecordingQueue
from tests.support.factories import make_instance, make_job, make_run
from tests.support.restores import IDENTITY, ScriptedEngine, finish_safety_run, lay_down_archive
from webapp.core.errors import Conflict, HoldfastError, InvalidInput, NotFound, SourceError, TaskStopped
from webapp.core.restore_plans import RestoreOptions, RestorePlan
from webapp.core.status import (
    ArchiveState,
    Content,
    ErrorCode,
    FilestoreKind,
    InstanceKind,
    RestoreOutcome,
    RestoreTarget,
    TaskStatus,
    VerificationStatus,
)
from webapp.services import restores, sweeper, tasks
from webapp.services.execution import Outcome, execute
from webapp.services.reporting import TaskReporter
from webapp.services.restore_checks import execute_check
from webapp.services.restore_runs import execute_restore
from webapp.services.restores import RestoreWish, choices_for, request_check, request_restore
from webapp.services.wiring import Wiring
from webapp.store.claims import claim_task
from webapp.store.db import db, release, writing
from webapp.store.models import Archive, AuditEvent, Instance, KeptDatabase, Restore, Run, Task

pytestmark = pytest.mark.usefixtures("service")
Journal = Callable[[Mapping[str, Any]], None]


def clock() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def instance(service: Flask) -> Instance:
    kind = {"kind": InstanceKind.ODOO_POSTGRES, "filestore_kind": FilestoreKind.LOCAL, "filestore_path": "/srv/files"}
    return make_instance(clock(), **kind)


@dataclass(frozen=True)
class Point:
    """A restore point by its numbers: rows do not outlive the sessions that tasks end."""

    id: int
    instance_id: int

    @property
    def row(self) -> Archive:
        return db.session.get_one(Archive, self.id, populate_existing=True)

    @property
    def instance(self) -> Instance:
        return db.session.get_one(Instance, self.instance_id)


@pytest.fixture
def archive(instance: Instance) -> Point:
    return Point(lay_down_archive(instance, clock(), content=Content.DATABASE_AND_FILESTORE).id, instance.id)


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


def again(restore_id: int) -> Restore:
    db.session.commit()
    return db.session.get_one(Restore, restore_id, populate_existing=True)


def checked(
    archive: Point, target: RestoreTarget, database: str, engine: ScriptedEngine, *, neutralise: bool | None = None
) -> int:
    is_copy = target is not RestoreTarget.REPLACE if neutralise is None else neutralise
    wish = RestoreWish(archive.id, target, archive.instance_id, database, RestoreOptions(neutralise=is_copy))
    check_id = request_check(wish, actor=BOB, now=clock()).id
    execute_check(check_id, clock=clock, look=engine.look)
    return check_id


def asked(archive: Point, target: RestoreTarget, database: str, engine: ScriptedEngine) -> int:
    check_id = checked(archive, target, database, engine)
    return request_restore(check_id, typed_name=database, actor=BOB, now=clock()).id


def replacing(archive: Point, engine: ScriptedEngine) -> int:
    """A restore over "acme" whose safety backup is done."""
    number = asked(archive, RestoreTarget.REPLACE, "acme", engine)
    execute_restore(number, clock=clock, engine=engine.doors())
    run_id = db.session.scalars(sa.select(Run.id).where(Run.triggered_by == f"restore:{number}")).one()
    finish_safety_run(run_id, archive.instance, clock())
    make_due(number)
    return number


def make_due(restore_id: int) -> None:
    with writing() as session:
        session.get_one(Task, restore_id).not_before = None
    release()


def die_holding(restore_id: int, journal: dict[str, Any]) -> None:
    """As a worker that was killed in the middle left it; its lease has run out."""
    with writing() as session:
        late = clock() - timedelta(seconds=60)
        assert claim_task(session, restore_id, "gone:1", now=clock(), lease_until=late)
        restore = session.get_one(Restore, restore_id, populate_existing=True)
        if journal:
            restore.journal, restore.outcome = journal, RestoreOutcome.UNKNOWN
            names = {"fence": restore.fence, "temporary": "acme__restoring_x", "kept": "acme__before_x"}
            restore.details = {**restore.details, "names": names}
            restore.max_attempts = 9
    release()


# Asking


def test_a_check_keeps_the_answers_and_the_target_as_it_was_found(archive: Point, engine: ScriptedEngine) -> None:
    check_id = checked(archive, RestoreTarget.NEW_DATABASE, "acme_copy", engine)

    check = restores.get_check(check_id)
    assert check.status is TaskStatus.COMPLETED
    assert [one.title for one in restores.checks_of(check)] == ["Target"]
    assert restores.facts_of(check).identity == IDENTITY
    assert restores.why_not_startable(check, clock()) == ""
    plan = engine.looked[0]
    assert (plan.database, plan.target) == ("acme_copy", RestoreTarget.NEW_DATABASE)
    assert Path(plan.archive_path).is_file()
    assert plan.server is not None
    assert plan.manifest.table_rows == {"public.res_partner": 3, "public.res_users": 2}


@pytest.mark.parametrize(
    ("target", "database", "neutralise", "warned"),
    [
        (RestoreTarget.NEW_DATABASE, "acme_copy", False, True),
        (RestoreTarget.NEW_DATABASE, "acme_copy", True, False),
        (RestoreTarget.REPLACE, "acme_staging", False, True),
        (RestoreTarget.REPLACE, "acme", False, False),
        (RestoreTarget.REPLACE, "acme", True, True),
    ],
)
def test_a_copy_that_would_act_like_production_is_warned_of(
    archive: Point, engine: ScriptedEngine, target: RestoreTarget, database: str, neutralise: bool, warned: bool
) -> None:
    check = restores.get_check(checked(archive, target, database, engine, neutralise=neutralise))

    assert ([one.key for one in restores.checks_of(check)] == ["target", "copy"]) is warned
    assert (check.status is TaskStatus.COMPLETED_WITH_WARNINGS) is warned
    assert restores.why_not_startable(check, clock()) == ""


def test_a_check_that_did_not_pass_forbids_the_restore(archive: Point, engine: ScriptedEngine) -> None:
    engine.refuses = "There is a database of that name."

    check_id = checked(archive, RestoreTarget.NEW_DATABASE, "acme", engine)

    check = restores.get_check(check_id)
    assert (check.status, check.error_code) == (TaskStatus.FAILED, ErrorCode.TARGET_EXISTS)
    with pytest.raises(Conflict, match="did not pass"):
        request_restore(check_id, typed_name="", actor=BOB, now=clock())


def test_a_check_counts_for_a_quarter_of_an_hour(archive: Point, engine: ScriptedEngine) -> None:
    check_id = checked(archive, RestoreTarget.NEW_DATABASE, "acme_copy", engine)

    with pytest.raises(Conflict, match="15 minutes"):
        request_restore(check_id, typed_name="", actor=BOB, now=clock() + timedelta(minutes=16))
    with pytest.raises(Conflict, match="15 minutes"):
        request_restore(check_id, typed_name="", actor=BOB, now=clock() - timedelta(minutes=1))
    assert request_restore(check_id, typed_name="", actor=BOB, now=clock() + timedelta(minutes=14)).id


def test_a_restore_needs_a_check_that_has_ended(archive: Point) -> None:
    wish = RestoreWish(archive.id, RestoreTarget.NEW_DATABASE, archive.instance_id, "acme_copy")
    check_id = request_check(wish, actor=BOB, now=clock()).id

    with pytest.raises(Conflict, match="not ended"):
        request_restore(check_id, typed_name="", actor=BOB, now=clock())
    with pytest.raises(NotFound):
        request_restore(999, typed_name="", actor=BOB, now=clock())


def test_one_check_starts_one_restore(archive: Point, engine: ScriptedEngine, queue: RecordingQueue) -> None:
    check_id = checked(archive, RestoreTarget.NEW_DATABASE, "acme_copy", engine)

    first = request_restore(check_id, typed_name="", actor=BOB, now=clock()).id
    second = request_restore(check_id, typed_name="", actor=BOB, now=clock()).id

    assert first == second
    assert [entry["task_type"] for entry in queue.pushed] == ["restore_check", "restore"]
    assert queue.pushed[-1]["queue"] == "restores"


@pytest.mark.parametrize("typed", ["", "acm", "Acme", "acme "])
def test_replacing_demands_the_name_of_the_database(archive: Point, engine: ScriptedEngine, typed: str) -> None:
    check_id = checked(archive, RestoreTarget.REPLACE, "acme", engine)

    with pytest.raises(InvalidInput, match="Type the name"):
        request_restore(check_id, typed_name=typed, actor=ALICE, now=clock())
    assert db.session.scalar(sa.select(sa.func.count()).select_from(Restore)) == 0


def test_viewers_restore_nothing(archive: Point) -> None:
    wish = RestoreWish(archive.id, RestoreTarget.NEW_DATABASE, archive.instance_id, "acme_copy")

    with pytest.raises(HoldfastError, match="operators"):
        request_check(wish, actor=CHARLIE, now=clock())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"state": ArchiveState.QUARANTINED}, "quarantined"),
        ({"state": ArchiveState.TRASHED}, "trashed"),
        ({"verification_status": VerificationStatus.FAILED}, "failed its verification"),
    ],
)
def test_what_cannot_be_trusted_is_not_restored(
    archive: Point, engine: ScriptedEngine, values: dict[str, Any], words: str
) -> None:
    check_id = checked(archive, RestoreTarget.NEW_DATABASE, "acme_copy", engine)
    number = request_restore(check_id, typed_name="", actor=BOB, now=clock()).id
    with writing() as session:
        for name, value in values.items():
            setattr(session.get_one(Archive, archive.id), name, value)

    with pytest.raises(Conflict, match=words):
        request_check(RestoreWish(archive.id, RestoreTarget.DIRECTORY), actor=BOB, now=clock())
    execute_restore(number, clock=clock, engine=engine.doors())

    ended = again(number)
    assert (ended.status, engine.ran) == (TaskStatus.FAILED, [])
    assert words in ended.error_message
    assert choices_for(archive.row, clock()).refusal


@pytest.mark.parametrize(
    ("target", "database", "options", "field"),
    [
        (RestoreTarget.NEW_DATABASE, "", {}, "database"),
        (RestoreTarget.NEW_DATABASE, "postgres", {}, "database"),
        (RestoreTarget.REPLACE, "template1", {}, "database"),
        (RestoreTarget.NEW_DATABASE, "../evil", {}, "database"),
        (RestoreTarget.NEW_DATABASE, "x" * 64, {}, "database"),
        (RestoreTarget.NEW_DATABASE, "ok", {"jobs": 0}, "jobs"),
        (RestoreTarget.NEW_DATABASE, "ok", {"keep_days": -1}, "keep_days"),
        (RestoreTarget.NEW_DATABASE, "ok", {"file_mode": "rwx"}, "file_mode"),
        (RestoreTarget.NEW_DATABASE, "ok", {"file_owner": "root; rm"}, "file_owner"),
        (RestoreTarget.NEW_DATABASE, "ok", {"owner": "x" * 70}, "owner"),
        (RestoreTarget.ODOO, "ok", {}, "instance_id"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_with_its_field(
    archive: Point, target: RestoreTarget, database: str, options: dict[str, Any], field: str
) -> None:
    wish = RestoreWish(archive.id, target, archive.instance_id, database, RestoreOptions(**options))

    with pytest.raises(InvalidInput) as refused:
        request_check(wish, actor=BOB, now=clock())

    assert refused.value.field == field


@pytest.mark.parametrize("directory", ["/etc", "../out", "a/b", "/", ".hidden", "x\0y", "-rf"])
def test_files_end_below_the_restore_directory_only(archive: Point, directory: str) -> None:
    wish = RestoreWish(archive.id, RestoreTarget.DIRECTORY, options=RestoreOptions(directory=directory))

    with pytest.raises(InvalidInput) as refused:
        request_check(wish, actor=BOB, now=clock())

    assert refused.value.field == "directory"


def test_a_directory_is_named_below_the_restore_directory(archive: Point, wiring: Wiring) -> None:
    check = request_check(RestoreWish(archive.id, RestoreTarget.DIRECTORY), actor=BOB, now=clock())

    directory = Path(RestoreOptions.from_json(check.options).directory)
    assert directory.parent == (wiring.data_directory / "restored").resolve()
    assert directory.name.startswith(f"acme_{archive.id}_")


def test_the_choices_are_what_archive_and_instances_allow(archive: Point, instance: Instance) -> None:
    make_instance(clock(), "web", kind=InstanceKind.ODOO_HTTP, url="https://odoo.example.org", databases=["live"])
    make_instance(clock(), "aaa-plain")

    instance_id = archive.instance_id
    choices = choices_for(archive.row, clock())

    assert [one.name for one in choices.instances] == ["acme-prod", "aaa-plain", "web"]
    assert [one.name for one in choices.instances_for(RestoreTarget.ODOO)] == ["web"]
    assert choices.tables == ("public.res_partner", "public.res_users")
    assert choices.new_database == f"acme_{archive.row.taken_at:%Y%m%d}"
    copy, replacement = (choices.default_options(t) for t in (RestoreTarget.NEW_DATABASE, RestoreTarget.REPLACE))
    assert (copy.neutralise, copy.new_identity) == (True, True)
    assert (replacement.neutralise, replacement.new_identity) == (False, False)
    elsewhere = choices.default_options(RestoreTarget.REPLACE, instance_id=instance_id, database="acme_staging")
    assert (elsewhere.neutralise, elsewhere.new_identity) == (True, True)


# Executing


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


def test_a_failure_before_anything_was_touched_is_final(archive: Point, engine: ScriptedEngine) -> None:
    def during(_plan: RestorePlan, _journal: Journal) -> None:
        raise SourceError("The server refused.", hint="Ask it why.")

    engine.during = during
    number = asked(archive, RestoreTarget.NEW_DATABASE, "acme_copy", engine)

    execute_restore(number, clock=clock, engine=engine.doors())

    ended = again(number)
    assert (ended.status, ended.attempt, ended.outcome) == (TaskStatus.FAILED, 1, RestoreOutcome.UNTOUCHED)
    assert (ended.error_message, ended.hint) == ("The server refused.", "Ask it why.")
    assert engine.settled_plans == []
    assert db.session.scalars(sa.select(AuditEvent.event).order_by(AuditEvent.id)).all()[-1] == "restore.failed"


def test_a_failure_after_the_first_touch_is_settled_at_once(archive: Point, engine: ScriptedEngine) -> None:
    def during(_plan: RestorePlan, journal: Journal) -> None:
        journal({"made": "acme_copy__restoring"})
        raise HoldfastError("3 rows are missing in res_partner.", code=ErrorCode.RESTORE_DIFFERS)

    engine.during = during
    number = asked(archive, RestoreTarget.NEW_DATABASE, "acme_copy", engine)

    execute_restore(number, clock=clock, engine=engine.doors())

    ended = again(number)
    assert (ended.status, ended.error_code) == (TaskStatus.FAILED, ErrorCode.RESTORE_DIFFERS)
    assert ended.error_message == "3 rows are missing in res_partner. The target is as it was before."
    assert ended.outcome is RestoreOutcome.UNTOUCHED
    assert engine.settled_plans[0].journal == {"made": "acme_copy__restoring"}


def test_a_target_that_cannot_be_reached_is_looked_at_again_under_the_same_names(
    archive: Point, engine: ScriptedEngine
) -> None:
    def during(_plan: RestorePlan, journal: Journal) -> None:
        journal({"step": "load"})
        raise SourceError("The connection broke.", code=ErrorCode.CONNECTION_LOST, permanent=True)

    engine.during, engine.settled = during, SourceError("The server is away.")
    number = replacing(archive, engine)

    execute_restore(number, clock=clock, engine=engine.doors())

    between = again(number)
    assert (between.status, between.outcome) == (TaskStatus.PENDING, RestoreOutcome.UNKNOWN)
    with pytest.raises(Conflict, match="put in order"):
        tasks.cancel(number, actor=ALICE, now=clock())
    engine.settled = RestoreOutcome.REPLACED
    make_due(number)
    execute_restore(number, clock=clock, engine=engine.doors())

    ended = again(number)
    assert (ended.status, ended.outcome, ended.error_message) == (TaskStatus.COMPLETED, RestoreOutcome.REPLACED, "")
    first, last = engine.ran[0], engine.settled_plans[-1]
    assert (last.fence, last.temporary_name, last.kept_name) == (first.fence, first.temporary_name, first.kept_name)
    assert len(engine.ran) == 1
    assert db.session.scalars(sa.select(KeptDatabase)).one().kept_name == first.kept_name


@pytest.mark.parametrize(
    ("settled", "status", "outcome"),
    [
        (RestoreOutcome.UNTOUCHED, TaskStatus.FAILED, RestoreOutcome.UNTOUCHED),
        (RestoreOutcome.REPLACED, TaskStatus.COMPLETED, RestoreOutcome.REPLACED),
    ],
)
def test_after_a_kill_the_target_is_settled_and_not_restored_again(
    archive: Point,
    engine: ScriptedEngine,
    settled: RestoreOutcome,
    status: TaskStatus,
    outcome: RestoreOutcome,
) -> None:
    number = replacing(archive, engine)
    die_holding(number, {"step": "swap"})
    engine.settled = settled

    sweeper.sweep(clock())
    assert again(number).status is TaskStatus.PENDING
    make_due(number)
    execute_restore(number, clock=clock, engine=engine.doors())

    ended = again(number)
    assert (ended.status, ended.outcome, engine.ran) == (status, outcome, [])
    assert engine.settled_plans[0].journal == {"step": "swap"}
    assert engine.settled_plans[0].kept_name == "acme__before_x"
    if status is TaskStatus.FAILED:
        assert ended.error_code is ErrorCode.WORKER_LOST
        assert ended.error_message.endswith("The target is as it was before.")


def test_a_worker_killed_before_the_first_touch_is_followed_by_another(archive: Point, engine: ScriptedEngine) -> None:
    number = asked(archive, RestoreTarget.NEW_DATABASE, "acme_copy", engine)
    die_holding(number, {})

    sweeper.sweep(clock())
    make_due(number)
    execute_restore(number, clock=clock, engine=engine.doors())

    ended = again(number)
    assert (ended.status, ended.attempt) == (TaskStatus.COMPLETED, 2)
    assert (len(engine.ran), engine.settled_plans) == (1, [])


def test_a_cancelled_restore_whose_worker_died_is_settled_all_the_same(archive: Point, engine: ScriptedEngine) -> None:
    number = replacing(archive, engine)
    die_holding(number, {"step": "load"})
    tasks.cancel(number, actor=ALICE, now=clock())

    sweeper.sweep(clock())
    make_due(number)
    execute_restore(number, clock=clock, engine=engine.doors())

    ended = again(number)
    assert (ended.status, ended.error_code) == (TaskStatus.FAILED, ErrorCode.CANCELLED)
    assert ended.error_message == "Cancelled by alice. The target is as it was before."
    assert (ended.outcome, len(engine.settled_plans)) == (RestoreOutcome.UNTOUCHED, 1)


def test_a_dead_check_fails(archive: Point) -> None:
    wish = RestoreWish(archive.id, RestoreTarget.NEW_DATABASE, archive.instance_id, "acme_copy")
    check_id = request_check(wish, actor=BOB, now=clock()).id
    with writing() as session:
        assert claim_task(session, check_id, "gone:1", now=clock(), lease_until=clock() - timedelta(seconds=60))

    sweeper.sweep(clock())

    assert tasks.get_task(check_id).error_code is ErrorCode.WORKER_LOST


def test_the_journal_of_a_worker_that_lost_its_lease_is_not_written(archive: Point, engine: ScriptedEngine) -> None:
    touched: list[str] = []

    def during(plan: RestorePlan, journal: Journal) -> None:
        with writing() as session:
            session.get_one(Task, plan.task_id).fence += 1
        release()
        with pytest.raises(TaskStopped):
            journal({"step": "load"})
        raise TaskStopped("The lease was lost.", code=ErrorCode.LEASE_LOST)

    engine.during = during
    number = asked(archive, RestoreTarget.NEW_DATABASE, "acme_copy", engine)

    execute_restore(number, clock=clock, engine=engine.doors())

    found = again(number)
    assert (found.status, found.journal, found.outcome) == (TaskStatus.RUNNING, {}, RestoreOutcome.UNTOUCHED)
    assert (touched, engine.settled_plans) == ([], [])


def test_a_wish_to_stop_that_comes_after_the_swap_is_not_heard(archive: Point, engine: ScriptedEngine) -> None:
    def during(plan: RestorePlan, journal: Journal) -> None:
        journal({"step": "swap"})
        tasks.cancel(plan.task_id, actor=ALICE, now=clock())
        release()
        heard = threading.Event()
        heard.wait(1.5)  # the heartbeat hears of it meanwhile

    engine.during = during
    number = replacing(archive, engine)

    execute_restore(number, clock=clock, engine=engine.doors())

    ended = again(number)
    assert (ended.status, ended.outcome) == (TaskStatus.COMPLETED, RestoreOutcome.REPLACED)
    assert db.session.scalar(sa.select(sa.func.count()).select_from(KeptDatabase)) == 1


def test_a_cancelled_restore_puts_its_target_in_order_first(archive: Point, engine: ScriptedEngine) -> None:
    def during(plan: RestorePlan, journal: Journal) -> None:
        journal({"step": "load"})
        tasks.cancel(plan.task_id, actor=ALICE, now=clock())
        release()
        raise TaskStopped("Cancelled.", code=ErrorCode.CANCELLED)

    engine.during = during
    number = asked(archive, RestoreTarget.NEW_DATABASE, "acme_copy", engine)

    execute_restore(number, clock=clock, engine=engine.doors())

    ended = again(number)
    assert (ended.status, ended.error_code, ended.outcome) == (
        TaskStatus.FAILED,
        ErrorCode.CANCELLED,
        RestoreOutcome.UNTOUCHED,
    )
    assert (ended.journal, len(engine.settled_plans)) == ({}, 1)


def test_a_shutdown_undoes_what_was_begun_and_starts_again(archive: Point, engine: ScriptedEngine) -> None:
    def during(_plan: RestorePlan, journal: Journal) -> None:
        journal({"step": "load"})
        raise TaskStopped("The worker was shut down.", code=ErrorCode.SHUTDOWN)

    engine.during = during
    number = asked(archive, RestoreTarget.NEW_DATABASE, "acme_copy", engine)
    execute_restore(number, clock=clock, engine=engine.doors())
    assert (again(number).status, again(number).outcome) == (TaskStatus.PENDING, RestoreOutcome.UNTOUCHED)

    engine.during = None
    make_due(number)
    execute_restore(number, clock=clock, engine=engine.doors())

    assert again(number).status is TaskStatus.COMPLETED
    assert (len(engine.ran), len(engine.settled_plans)) == (2, 1)


# Targets


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


def test_restores_are_listed_newest_first(archive: Point, engine: ScriptedEngine) -> None:
    numbers = [asked(archive, RestoreTarget.NEW_DATABASE, f"acme_{n}", engine) for n in range(3)]

    found, total = restores.list_restores(restores.RestoreFilter(archive_id=archive.id, limit=2))

    assert ([one.id for one in found], total) == (numbers[:0:-1], 3)
    assert restores.list_restores(replace(restores.RestoreFilter(), instance_id=99))[1] == 0
