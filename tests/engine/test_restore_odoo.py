"""A restore through Odoo: what it says is not believed, and what it leaves half-made is dropped."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support import odoo_restores
from tests.support.odoo_database import OdooDatabase
from tests.support.odoo_like import Database, OdooLike
from tests.support.odoo_restore_runs import HURRIED, LIMITS, plan_to_copy, shelve_prod, shelve_version
from tests.support.odoo_runs import PASSWORD
from tests.support.postgres import PostgresServer
from tests.support.postgres_backups import StoppingReporter
from tests.support.restore_pieces import Shelved, Written, dump_of, shelve
from webapp.core.errors import ArchiveError, HoldfastError, SourceError, TaskStopped
from webapp.core.reports import CheckState
from webapp.core.status import ErrorCode, RestoreOutcome
from webapp.engine.report import SilentReporter
from webapp.engine.restore import odoo as target

VERSIONS = ("15.0", "16.0", "17.0", "18.0", "19.0", "dev")


@pytest.fixture
def shelved(tmp_path: Path) -> Shelved:
    """An archive of an Odoo 18.0."""
    return shelve_prod(tmp_path)


def _work_is_cleared(shelved: Shelved) -> bool:
    return os.listdir(shelved.path.split("/7-acme/")[0] + "/.tmp") == []


@pytest.mark.parametrize("workers", [True, False], ids=["prefork", "threaded"])
@pytest.mark.parametrize("version", VERSIONS)
def test_an_archive_is_restored_and_compared(version: str, workers: bool, tmp_path: Path) -> None:
    shelved, journal = shelve_version(tmp_path, version), Written()
    with OdooLike(version=version, workers=workers) as odoo:
        plan = plan_to_copy(shelved, odoo)
        report = target.check(plan, SilentReporter(), limits=LIMITS)
        posts_of_check = odoo.saw(PASSWORD)
        result = target.run(plan, journal, SilentReporter(), **HURRIED)

    assert report.allowed, report
    assert not posts_of_check
    assert odoo.restored[0].content == Path(shelved.path).read_bytes()
    assert dict(odoo.restored[0].form) == {"name": "copy", "copy": "false"}
    assert sorted(odoo.databases) == ["copy", "prod"]
    assert result.outcome is RestoreOutcome.CREATED
    assert {check.key: check.state for check in result.checks} == {
        "restored_rows": CheckState.PASSED,
        "restored_files": CheckState.PASSED,
    }
    assert [entry["step"] for entry in journal.entries] == ["post", "made", "done"]
    assert PASSWORD not in str(journal.entries)
    assert _work_is_cleared(shelved)


@pytest.mark.parametrize("version", ["16.0", "18.0", "dev"])
def test_a_copy_is_neutralised_and_gets_an_identity_of_its_own(version: str, tmp_path: Path) -> None:
    shelved = shelve_version(tmp_path, version)
    with OdooLike(version=version) as odoo:
        plan = plan_to_copy(shelved, odoo, neutralise=True, new_identity=True)
        result = target.run(plan, Written(), SilentReporter(), **HURRIED)

    form = odoo.restored[0].form
    assert (form["copy"], form["neutralize_database"]) == ("true", "true")
    assert {check.key for check in result.checks} >= {"neutralised", "identity"}
    assert all(check.state is CheckState.PASSED for check in result.checks)


def test_a_result_that_cannot_be_compared_is_said_to_be_so(shelved: Shelved) -> None:
    # The stub's custom-format dump is no dump, as Odoo's is when pg_dump failed inside it.
    with OdooLike() as odoo:
        plan = plan_to_copy(shelved, odoo)
        manifest = replace(plan.manifest, has_filestore=False)
        result = target.run(replace(plan, manifest=manifest), Written(), SilentReporter(), **HURRIED)

    (check,) = result.checks
    assert (check.state, check.code) == (CheckState.WARNING, ErrorCode.INCOMPLETE)
    assert "no backup of it could be taken" in check.detail
    assert "copy" in odoo.databases


def test_a_few_rows_less_are_a_warning_that_says_where(shelved: Shelved) -> None:
    """Odoo's own clean-up may have been faster than we; or not. A person decides, and no green tick does."""
    with OdooLike(restore_fault=odoo_restores.ROW_MISSING) as odoo:
        result = target.run(plan_to_copy(shelved, odoo), Written(), SilentReporter(), **HURRIED)

    rows = result.checks[0]
    assert (rows.state, rows.code) == (CheckState.WARNING, ErrorCode.RESTORE_DIFFERS)
    assert "public.res_partner has " in rows.detail
    assert "copy" in odoo.databases


@pytest.mark.parametrize("fault", ["", odoo_restores.DATA_MISSING])
def test_without_counts_of_the_source_the_dumps_own_are_compared(fault: str, shelved: Shelved) -> None:
    """An archive that Odoo made itself: nobody counted its rows."""
    with OdooLike(restore_fault=fault) as odoo:
        plan = plan_to_copy(shelved, odoo)
        plan = replace(plan, manifest=replace(plan.manifest, table_rows=None))
        with pytest.raises(ArchiveError) if fault else nullcontext():
            target.run(plan, Written(), SilentReporter(), **HURRIED)

    assert ("copy" in odoo.databases) is not bool(fault)


def test_a_custom_dump_is_restored_and_its_rows_compared(
    tmp_path: Path, postgres_server: PostgresServer, prod: OdooDatabase
) -> None:
    with OdooLike() as odoo:
        plan = plan_to_copy(shelve(tmp_path, dump_of(postgres_server, prod.name, "-Fc")), odoo)
        report = target.check(plan, SilentReporter(), limits=LIMITS)
        result = target.run(plan, Written(), SilentReporter(), **HURRIED)

    assert report.allowed
    assert odoo.posts("/web/database/backup")[0].form["backup_format"] == "dump"
    assert [(check.key, check.state) for check in result.checks] == [("restored_rows", CheckState.PASSED)]


def test_what_was_not_compared_is_said(shelved: Shelved) -> None:
    with OdooLike() as odoo:
        result = target.run(plan_to_copy(shelved, odoo, compare_after=False), Written(), SilentReporter(), **HURRIED)

    assert [check.state for check in result.checks] == [CheckState.SKIPPED]
    assert odoo.posts("/web/database/backup") == []


@pytest.mark.parametrize(
    ("fault", "options", "code"),
    [
        (odoo_restores.DATA_MISSING, {}, ErrorCode.RESTORE_DIFFERS),
        (odoo_restores.FILES_NESTED, {}, ErrorCode.RESTORE_DIFFERS),
        (odoo_restores.FILES_MISSING, {}, ErrorCode.RESTORE_DIFFERS),
        (odoo_restores.NOT_NEUTRALISED, {"neutralise": True}, ErrorCode.NEUTRALISE_FAILED),
        (odoo_restores.NOT_NEUTRALISED, {"neutralise": True, "compare_after": False}, ErrorCode.NEUTRALISE_FAILED),
        (odoo_restores.UUID_KEPT, {"new_identity": True}, ErrorCode.RESTORE_DIFFERS),
        (odoo_restores.LEFT_BEHIND, {}, ErrorCode.RESTORE_FAILED),
        (odoo_restores.GATEWAY_TIMEOUT, {}, ErrorCode.HTTP_ERROR),
        (odoo_restores.CONNECTION_LOST, {}, ErrorCode.CONNECTION_LOST),
        (odoo_restores.TOO_LARGE, {}, ErrorCode.HTTP_ERROR),
    ],
)
def test_a_restore_that_went_wrong_leaves_no_database(
    fault: str, options: dict[str, Any], code: ErrorCode, shelved: Shelved
) -> None:
    with OdooLike(restore_fault=fault) as odoo, pytest.raises(HoldfastError) as caught:
        target.run(plan_to_copy(shelved, odoo, **options), Written(), SilentReporter(), **HURRIED)

    assert caught.value.code is code
    assert caught.value.message
    assert list(odoo.databases) == ["prod"]
    assert _work_is_cleared(shelved)


def test_a_neutralised_copy_that_cannot_be_looked_into_is_dropped(shelved: Shelved) -> None:
    with OdooLike(backup_error="No space left on device") as odoo, pytest.raises(SourceError):
        target.run(plan_to_copy(shelved, odoo, neutralise=True), Written(), SilentReporter(), **HURRIED)

    assert list(odoo.databases) == ["prod"]


def test_a_database_that_odoo_made_and_does_not_show_is_dropped(shelved: Shelved) -> None:
    with OdooLike(dbfilter="^prod$") as odoo, pytest.raises(SourceError) as caught:
        target.run(plan_to_copy(shelved, odoo), Written(), SilentReporter(), **HURRIED)

    assert "dbfilter" in caught.value.hint
    assert list(odoo.databases) == ["prod"]


def test_a_stop_drops_what_was_made(shelved: Shelved) -> None:
    reporter = StoppingReporter()

    def write(data: Mapping[str, Any]) -> None:
        if data["step"] == "made":
            reporter.stop()

    with OdooLike() as odoo, pytest.raises(TaskStopped):
        target.run(plan_to_copy(shelved, odoo), write, reporter, **HURRIED)

    assert list(odoo.databases) == ["prod"]


def test_a_stop_while_sending_closes_the_connection(shelved: Shelved) -> None:
    reporter = StoppingReporter()
    with OdooLike() as odoo, pytest.raises(TaskStopped):
        target.run(plan_to_copy(shelved, odoo), lambda data: reporter.stop(), reporter, **HURRIED)

    assert odoo.restored == []


def test_a_database_that_cannot_be_dropped_is_named(shelved: Shelved) -> None:
    with (
        OdooLike(restore_fault=odoo_restores.DATA_MISSING, drop_error="database is being accessed") as odoo,
        pytest.raises(SourceError) as caught,
    ):
        target.run(plan_to_copy(shelved, odoo), Written(), SilentReporter(), **HURRIED)

    assert "half-made database copy" in caught.value.message
    assert "/web/database/manager" in caught.value.hint


@pytest.mark.parametrize(
    ("step", "made", "outcome", "left"),
    [
        (None, False, RestoreOutcome.UNTOUCHED, ["prod"]),
        ("post", False, RestoreOutcome.UNTOUCHED, ["prod"]),
        ("post", True, RestoreOutcome.UNTOUCHED, ["prod"]),
        ("made", True, RestoreOutcome.UNTOUCHED, ["prod"]),
        ("done", True, RestoreOutcome.CREATED, ["prod", "copy"]),
    ],
)
def test_after_a_kill_only_a_proved_database_stays(
    step: str | None, made: bool, outcome: RestoreOutcome, left: list[str], shelved: Shelved
) -> None:
    with OdooLike() as odoo:
        if made:
            odoo.databases["copy"] = Database(b"")
        journal = {} if step is None else {"step": step, "database": "copy", "url": odoo.url}
        plan = plan_to_copy(shelved, odoo, journal=journal)

        results = [target.settle(plan, SilentReporter(), limits=LIMITS) for _ in range(2)]

    assert [result.outcome for result in results] == [outcome, outcome]
    assert list(odoo.databases) == left
