"""What a restore through Odoo refuses or is refused: nothing that was there is touched, and no stranger hears the password."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support import http_faults, odoo_restores
from tests.support.archives import store_name
from tests.support.http_faults import Answer
from tests.support.odoo_like import Database, OdooLike
from tests.support.odoo_restore_runs import HURRIED, LIMITS, plan_to_copy, shelve_prod, shelve_version
from tests.support.odoo_runs import PASSWORD, PLAIN, http_plan
from tests.support.odoo_zip import odoo_zip
from tests.support.restore_pieces import Shelved, Written, shelve
from webapp.core.errors import ArchiveError, SourceError
from webapp.core.plans import OdooHttpPlan, Secret
from webapp.core.reports import CheckState
from webapp.core.restore_plans import TargetIdentity
from webapp.core.status import ErrorCode
from webapp.engine.report import SilentReporter
from webapp.engine.restore import odoo as target
from webapp.engine.restore.odoo_calls import Sending, post_restore
from webapp.engine.sources.odoo_client import OdooClient


@pytest.fixture
def shelved(tmp_path: Path) -> Shelved:
    """An archive of an Odoo 18.0."""
    return shelve_prod(tmp_path)


def test_a_database_of_that_name_is_never_touched(shelved: Shelved) -> None:
    with OdooLike() as odoo:
        before = odoo.databases["prod"]
        plan = plan_to_copy(shelved, odoo, database="prod")

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
            target.run(plan_to_copy(shelved, odoo), Written(), SilentReporter(), **HURRIED)

    assert odoo.databases["copy"] is hidden
    assert odoo.posts("/web/database/drop") == []


def test_the_default_master_password_is_never_replaced(shelved: Shelved) -> None:
    with OdooLike(master_password="admin") as odoo:
        report = target.check(plan_to_copy(shelved, odoo), SilentReporter(), limits=LIMITS)
        with pytest.raises(SourceError) as caught:
            target.run(plan_to_copy(shelved, odoo), Written(), SilentReporter(), **HURRIED)

    assert not report.allowed
    assert caught.value.code is ErrorCode.INSECURE_MASTER_PASSWORD
    assert odoo.master_password == "admin"
    assert not odoo.saw(PASSWORD)


def test_a_wrong_password_is_said_and_makes_nothing(shelved: Shelved) -> None:
    with OdooLike() as odoo, pytest.raises(SourceError) as caught:
        plan = plan_to_copy(shelved, odoo, odoo=http_plan(odoo, master_password=Secret("wrong")))
        target.run(plan, Written(), SilentReporter(), **HURRIED)

    assert caught.value.code is ErrorCode.AUTH_FAILED
    assert "wrong" not in caught.value.message
    assert odoo.posts("/web/database/drop") == []


def test_a_manager_that_is_off_is_said(shelved: Shelved) -> None:
    with OdooLike(list_db=False) as odoo, pytest.raises(SourceError) as caught:
        target.run(plan_to_copy(shelved, odoo), Written(), SilentReporter(), **HURRIED)

    assert caught.value.code is ErrorCode.DATABASE_MANAGER_DISABLED


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed_with_the_password(status: int, shelved: Shelved) -> None:
    with OdooLike() as stranger, OdooLike() as odoo:
        away = Answer(status, (("Location", f"{stranger.url}/web/database/restore"),))
        odoo.overrides["/web/database/restore"] = http_faults.instead(away)
        with pytest.raises(SourceError) as caught:
            target.run(plan_to_copy(shelved, odoo), Written(), SilentReporter(), **HURRIED)

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
        plan = plan_to_copy(shelved, odoo, **changes)
        failed = [
            check.key for check in target.check(plan, SilentReporter()).checks if check.state is CheckState.FAILED
        ]
        with pytest.raises(SourceError):
            target.run(plan, Written(), SilentReporter(), **HURRIED)

    assert failed == [key]
    assert odoo.posts("/web/database/restore") == []


def test_another_version_is_refused_as_odoo_would_not(shelved: Shelved) -> None:
    with OdooLike(version="17.0") as odoo:
        report = target.check(plan_to_copy(shelved, odoo), SilentReporter())
        with pytest.raises(SourceError):
            target.run(plan_to_copy(shelved, odoo), Written(), SilentReporter(), **HURRIED)

    assert [check.key for check in report.checks if check.state is CheckState.FAILED] == ["odoo_version"]
    assert odoo.posts("/web/database/restore") == []


def test_an_odoo_that_cannot_neutralise_is_not_asked_to(tmp_path: Path) -> None:
    with OdooLike(version="15.0") as odoo:
        plan = plan_to_copy(shelve_version(tmp_path, "15.0"), odoo, neutralise=True)
        with pytest.raises(SourceError) as caught:
            target.run(plan, Written(), SilentReporter(), **HURRIED)

    assert caught.value.code is ErrorCode.NEUTRALISE_FAILED
    assert odoo.restored == []


def test_another_odoo_than_the_one_looked_at_is_refused(shelved: Shelved) -> None:
    with OdooLike() as odoo, pytest.raises(SourceError) as caught:
        plan = plan_to_copy(shelved, odoo, identity=TargetIdentity("https://other.example.com", None))
        target.run(plan, Written(), SilentReporter(), **HURRIED)

    assert caught.value.code is ErrorCode.TARGET_CHANGED
    assert odoo.restored == []


def test_a_damaged_archive_is_not_sent(shelved: Shelved) -> None:
    data = bytearray(Path(shelved.path).read_bytes())
    data[len(data) // 2] ^= 1
    Path(shelved.path).write_bytes(data)

    with OdooLike() as odoo, pytest.raises(ArchiveError):
        target.run(plan_to_copy(shelved, odoo), Written(), SilentReporter(), **HURRIED)

    assert odoo.requests == []


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
