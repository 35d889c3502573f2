"""Asking for a restore: the wish that is refused, the check it needs first, the choices, and the list."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.app import ALICE, BOB, CHARLIE, RecordingQueue
from tests.support.factories import make_instance
from tests.support.restore_tasks import Point, again, asked, checked, clock
from tests.support.restores import IDENTITY, ScriptedEngine
from webapp.core.errors import Conflict, HoldfastError, InvalidInput, NotFound
from webapp.core.restore_plans import RestoreOptions
from webapp.core.status import ArchiveState, ErrorCode, InstanceKind, RestoreTarget, TaskStatus, VerificationStatus
from webapp.services import restores
from webapp.services.restore_runs import execute_restore
from webapp.services.restores import RestoreWish, choices_for, request_check, request_restore
from webapp.services.wiring import Wiring
from webapp.store.db import db, writing
from webapp.store.models import Archive, Instance, Restore

pytestmark = pytest.mark.usefixtures("service")


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


def test_restores_are_listed_newest_first(archive: Point, engine: ScriptedEngine) -> None:
    numbers = [asked(archive, RestoreTarget.NEW_DATABASE, f"acme_{n}", engine) for n in range(3)]

    found, total = restores.list_restores(restores.RestoreFilter(archive_id=archive.id, limit=2))

    assert ([one.id for one in found], total) == (numbers[:0:-1], 3)
    assert restores.list_restores(replace(restores.RestoreFilter(), instance_id=99))[1] == 0
