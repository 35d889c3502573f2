"""A restore through Odoo: what it says is not believed, and what it leaves half-made is dropped."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support import http_faults, odoo_restores
from tests.support.archives import store_name
from tests.support.http_faults import Answer
from tests.support.odoo_database import OdooDatabase
from tests.support.odoo_like import Database, OdooLike
from tests.support.odoo_runs import PASSWORD, PLAIN, http_plan
from tests.support.odoo_zip import attachments, odoo_zip
from tests.support.postgres import PostgresServer
from tests.support.postgres_backups import StoppingReporter
from tests.support.restore_pieces import Shelved, Written, dump_of, shelve
from webapp.core.errors import ArchiveError, HoldfastError, SourceError, TaskStopped
from webapp.core.plans import OdooHttpPlan, Secret
from webapp.core.reports import CheckState
from webapp.core.restore_plans import RestorePlan, TargetIdentity
from webapp.core.status import ErrorCode, RestoreOutcome, RestoreTarget
from webapp.engine.http import HttpLimits
from webapp.engine.report import SilentReporter
from webapp.engine.restore import odoo as target
from webapp.engine.restore.odoo_calls import Sending, post_restore
from webapp.engine.sources.odoo_client import OdooClient

VERSIONS = ("15.0", "16.0", "17.0", "18.0", "19.0", "dev")
LIMITS = HttpLimits(connect_seconds=5, first_byte_seconds=5, idle_seconds=5)
HURRIED: dict[str, Any] = {"limits": LIMITS, "patience_seconds": 0.2}


@pytest.fixture
def shelved(tmp_path: Path) -> Shelved:
    """An archive of an Odoo 18.0."""
    return shelve(tmp_path, odoo_zip("prod", files=attachments(30)))


def _of_version(tmp_path: Path, version: str) -> Shelved:
    return shelve(tmp_path, odoo_zip("prod", version="19.1" if version == "dev" else version))


def _plan(shelved: Shelved, server: OdooLike, **changes: Any) -> RestorePlan:
    return shelved.plan(RestoreTarget.ODOO, **{"odoo": http_plan(server), "database": "copy", **changes})


def _work_is_cleared(shelved: Shelved) -> bool:
    return os.listdir(shelved.path.split("/7-acme/")[0] + "/.tmp") == []


@pytest.mark.parametrize("workers", [True, False], ids=["prefork", "threaded"])
@pytest.mark.parametrize("version", VERSIONS)
def test_an_archive_is_restored_and_compared(version: str, workers: bool, tmp_path: Path) -> None:
    shelved, journal = _of_version(tmp_path, version), Written()
    with OdooLike(version=version, workers=workers) as odoo:
        plan = _plan(shelved, odoo)
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
    shelved = _of_version(tmp_path, version)
    with OdooLike(version=version) as odoo:
        plan = _plan(shelved, odoo, neutralise=True, new_identity=True)
        result = target.run(plan, Written(), SilentReporter(), **HURRIED)

    form = odoo.restored[0].form
    assert (form["copy"], form["neutralize_database"]) == ("true", "true")
    assert {check.key for check in result.checks} >= {"neutralised", "identity"}
    assert all(check.state is CheckState.PASSED for check in result.checks)


def test_a_result_that_cannot_be_compared_is_said_to_be_so(shelved: Shelved) -> None:
    # The stub's custom-format dump is no dump, as Odoo's is when pg_dump failed inside it.
    with OdooLike() as odoo:
        plan = _plan(shelved, odoo)
        manifest = replace(plan.manifest, has_filestore=False)
        result = target.run(replace(plan, manifest=manifest), Written(), SilentReporter(), **HURRIED)

    (check,) = result.checks
    assert (check.state, check.code) == (CheckState.WARNING, ErrorCode.INCOMPLETE)
    assert "no backup of it could be taken" in check.detail
    assert "copy" in odoo.databases


def test_a_few_rows_less_are_a_warning_that_says_where(shelved: Shelved) -> None:
    """Odoo's own clean-up may have been faster than we; or not. A person decides, and no green tick does."""
    with OdooLike(restore_fault=odoo_restores.ROW_MISSING) as odoo:
        result = target.run(_plan(shelved, odoo), Written(), SilentReporter(), **HURRIED)

    rows = result.checks[0]
    assert (rows.state, rows.code) == (CheckState.WARNING, ErrorCode.RESTORE_DIFFERS)
    assert "public.res_partner has " in rows.detail
    assert "copy" in odoo.databases


@pytest.mark.parametrize("fault", ["", odoo_restores.DATA_MISSING])
def test_without_counts_of_the_source_the_dumps_own_are_compared(fault: str, shelved: Shelved) -> None:
    """An archive that Odoo made itself: nobody counted its rows."""
    with OdooLike(restore_fault=fault) as odoo:
        plan = _plan(shelved, odoo)
        plan = replace(plan, manifest=replace(plan.manifest, table_rows=None))
        with pytest.raises(ArchiveError) if fault else nullcontext():
            target.run(plan, Written(), SilentReporter(), **HURRIED)

    assert ("copy" in odoo.databases) is not bool(fault)


def test_a_custom_dump_is_restored_and_its_rows_compared(
    tmp_path: Path, postgres_server: PostgresServer, prod: OdooDatabase
) -> None:
    with OdooLike() as odoo:
        plan = _plan(shelve(tmp_path, dump_of(postgres_server, prod.name, "-Fc")), odoo)
        report = target.check(plan, SilentReporter(), limits=LIMITS)
        result = target.run(plan, Written(), SilentReporter(), **HURRIED)

    assert report.allowed
    assert odoo.posts("/web/database/backup")[0].form["backup_format"] == "dump"
    assert [(check.key, check.state) for check in result.checks] == [("restored_rows", CheckState.PASSED)]


def test_what_was_not_compared_is_said(shelved: Shelved) -> None:
    with OdooLike() as odoo:
        result = target.run(_plan(shelved, odoo, compare_after=False), Written(), SilentReporter(), **HURRIED)

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
        target.run(_plan(shelved, odoo, **options), Written(), SilentReporter(), **HURRIED)

    assert caught.value.code is code
    assert caught.value.message
    assert list(odoo.databases) == ["prod"]
    assert _work_is_cleared(shelved)


def test_a_neutralised_copy_that_cannot_be_looked_into_is_dropped(shelved: Shelved) -> None:
    with OdooLike(backup_error="No space left on device") as odoo, pytest.raises(SourceError):
        target.run(_plan(shelved, odoo, neutralise=True), Written(), SilentReporter(), **HURRIED)

    assert list(odoo.databases) == ["prod"]


def test_a_database_of_that_name_is_never_touched(shelved: Shelved) -> None:
    with OdooLike() as odoo:
        before = odoo.databases["prod"]
        plan = _plan(shelved, odoo, database="prod")

        report = target.check(plan, SilentReporter(), limits=LIMITS)
        with pytest.raises(SourceError) as caught:
            target.run(plan, Written(), SilentReporter(), **HURRIED)

    assert not report.allowed
    assert caught.value.code is ErrorCode.TARGET_EXISTS
    assert odoo.databases == {"prod": before}
    assert not odoo.saw(PASSWORD)


@pytest.mark.parametrize("fault", ["", odoo_restores.TOO_LARGE])
def test_a_database_that_a_filter_hides_is_never_dropped(fault: str, shelved: Shelved) -> None:
    with OdooLike(dbfilter="^prod$", restore_fault=fault) as odoo:
        odoo.databases["copy"] = hidden = Database(b"somebody's")

        with pytest.raises(SourceError):
            target.run(_plan(shelved, odoo), Written(), SilentReporter(), **HURRIED)

    assert odoo.databases["copy"] is hidden
    assert odoo.posts("/web/database/drop") == []


def test_a_database_that_odoo_made_and_does_not_show_is_dropped(shelved: Shelved) -> None:
    with OdooLike(dbfilter="^prod$") as odoo, pytest.raises(SourceError) as caught:
        target.run(_plan(shelved, odoo), Written(), SilentReporter(), **HURRIED)

    assert "dbfilter" in caught.value.hint
    assert list(odoo.databases) == ["prod"]


def test_the_default_master_password_is_never_replaced(shelved: Shelved) -> None:
    with OdooLike(master_password="admin") as odoo:
        report = target.check(_plan(shelved, odoo), SilentReporter(), limits=LIMITS)
        with pytest.raises(SourceError) as caught:
            target.run(_plan(shelved, odoo), Written(), SilentReporter(), **HURRIED)

    assert not report.allowed
    assert caught.value.code is ErrorCode.INSECURE_MASTER_PASSWORD
    assert odoo.master_password == "admin"
    assert not odoo.saw(PASSWORD)


def test_a_wrong_password_is_said_and_makes_nothing(shelved: Shelved) -> None:
    with OdooLike() as odoo, pytest.raises(SourceError) as caught:
        plan = _plan(shelved, odoo, odoo=http_plan(odoo, master_password=Secret("wrong")))
        target.run(plan, Written(), SilentReporter(), **HURRIED)

    assert caught.value.code is ErrorCode.AUTH_FAILED
    assert "wrong" not in caught.value.message
    assert odoo.posts("/web/database/drop") == []


def test_a_manager_that_is_off_is_said(shelved: Shelved) -> None:
    with OdooLike(list_db=False) as odoo, pytest.raises(SourceError) as caught:
        target.run(_plan(shelved, odoo), Written(), SilentReporter(), **HURRIED)

    assert caught.value.code is ErrorCode.DATABASE_MANAGER_DISABLED


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed_with_the_password(status: int, shelved: Shelved) -> None:
    with OdooLike() as stranger, OdooLike() as odoo:
        away = Answer(status, (("Location", f"{stranger.url}/web/database/restore"),))
        odoo.overrides["/web/database/restore"] = http_faults.instead(away)
        with pytest.raises(SourceError) as caught:
            target.run(_plan(shelved, odoo), Written(), SilentReporter(), **HURRIED)

    assert caught.value.code is ErrorCode.REDIRECTED
    assert stranger.requests == []


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"database": "bad name!"}, "database_name"),
        ({"database": "a\r\nX: y"}, "database_name"),
        ({"database": "../evil"}, "database_name"),
    ],
)
def test_names_that_odoo_would_only_create_are_refused(changes: dict[str, Any], key: str, shelved: Shelved) -> None:
    with OdooLike() as odoo:
        plan = _plan(shelved, odoo, **changes)
        failed = [
            check.key for check in target.check(plan, SilentReporter()).checks if check.state is CheckState.FAILED
        ]
        with pytest.raises(SourceError):
            target.run(plan, Written(), SilentReporter(), **HURRIED)

    assert failed == [key]
    assert odoo.posts("/web/database/restore") == []


def test_another_version_is_refused_as_odoo_would_not(shelved: Shelved) -> None:
    with OdooLike(version="17.0") as odoo:
        report = target.check(_plan(shelved, odoo), SilentReporter())
        with pytest.raises(SourceError):
            target.run(_plan(shelved, odoo), Written(), SilentReporter(), **HURRIED)

    assert [check.key for check in report.checks if check.state is CheckState.FAILED] == ["odoo_version"]
    assert odoo.posts("/web/database/restore") == []


def test_an_odoo_that_cannot_neutralise_is_not_asked_to(tmp_path: Path) -> None:
    with OdooLike(version="15.0") as odoo:
        plan = _plan(_of_version(tmp_path, "15.0"), odoo, neutralise=True)
        with pytest.raises(SourceError) as caught:
            target.run(plan, Written(), SilentReporter(), **HURRIED)

    assert caught.value.code is ErrorCode.NEUTRALISE_FAILED
    assert odoo.restored == []


def test_another_odoo_than_the_one_looked_at_is_refused(shelved: Shelved) -> None:
    with OdooLike() as odoo, pytest.raises(SourceError) as caught:
        plan = _plan(shelved, odoo, identity=TargetIdentity("https://other.example.com", None))
        target.run(plan, Written(), SilentReporter(), **HURRIED)

    assert caught.value.code is ErrorCode.TARGET_CHANGED
    assert odoo.restored == []


def test_a_damaged_archive_is_not_sent(shelved: Shelved) -> None:
    data = bytearray(Path(shelved.path).read_bytes())
    data[len(data) // 2] ^= 1
    Path(shelved.path).write_bytes(data)

    with OdooLike() as odoo, pytest.raises(ArchiveError):
        target.run(_plan(shelved, odoo), Written(), SilentReporter(), **HURRIED)

    assert odoo.requests == []


def test_a_stop_drops_what_was_made(shelved: Shelved) -> None:
    reporter = StoppingReporter()

    def write(data: Mapping[str, Any]) -> None:
        if data["step"] == "made":
            reporter.stop()

    with OdooLike() as odoo, pytest.raises(TaskStopped):
        target.run(_plan(shelved, odoo), write, reporter, **HURRIED)

    assert list(odoo.databases) == ["prod"]


def test_a_stop_while_sending_closes_the_connection(shelved: Shelved) -> None:
    reporter = StoppingReporter()
    with OdooLike() as odoo, pytest.raises(TaskStopped):
        target.run(_plan(shelved, odoo), lambda data: reporter.stop(), reporter, **HURRIED)

    assert odoo.restored == []


def test_a_database_that_cannot_be_dropped_is_named(shelved: Shelved) -> None:
    with (
        OdooLike(restore_fault=odoo_restores.DATA_MISSING, drop_error="database is being accessed") as odoo,
        pytest.raises(SourceError) as caught,
    ):
        target.run(_plan(shelved, odoo), Written(), SilentReporter(), **HURRIED)

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
        plan = _plan(shelved, odoo, journal=journal)

        results = [target.settle(plan, SilentReporter(), limits=LIMITS) for _ in range(2)]

    assert [result.outcome for result in results] == [outcome, outcome]
    assert list(odoo.databases) == left


class _Refusing(threading.Thread):
    """A proxy that refuses a large body: it reads a little, says so, and takes the rest without looking."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def run(self) -> None:
        connection, _ = self._listening.accept()
        with self._listening, connection, suppress(OSError):
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 413 Request Entity Too Large\r\nContent-Length: 3\r\n\r\nno\n")
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(5)
            while connection.recv(1 << 20):
                pass


def test_an_answer_that_comes_before_all_was_sent_is_read(tmp_path: Path) -> None:
    contents = [os.urandom(1024 * 1024) for _ in range(12)]
    big = shelve(tmp_path, odoo_zip("prod", files={store_name(content): content for content in contents}))
    proxy = _Refusing()
    proxy.start()
    client = OdooClient(OdooHttpPlan(proxy.url, Secret(PASSWORD), tls=PLAIN), LIMITS)

    with pytest.raises(SourceError) as caught:
        post_restore(client, {"name": "copy"}, big.path, Sending(), SilentReporter())

    proxy.join(10)
    assert caught.value.code is ErrorCode.HTTP_ERROR
    assert "client_max_body_size" in caught.value.hint
