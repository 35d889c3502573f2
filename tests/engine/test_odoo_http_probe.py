"""*Test connection* for Odoo over HTTP: what each check says, and that asking changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import http_faults as faults
from tests.support import odoo_pages as pages
from tests.support.http_faults import Answer
from tests.support.odoo_like import HTML, OdooLike
from tests.support.odoo_runs import PASSWORD, source_for
from webapp.core.plans import TlsPlan
from webapp.core.reports import Check, CheckState
from webapp.core.status import ErrorCode
from webapp.engine.report import SilentReporter

ORDER = [
    "dns",
    "tcp",
    "tls",
    "odoo",
    "database_manager",
    "master_password",
    "database_list",
    "database_known",
    "temporary_space",
]


def _probe(odoo: OdooLike, database: str | None = "prod", **changes: Any) -> dict[str, Check]:
    checks = source_for(odoo, **changes).probe(database, SilentReporter())
    assert [check.key for check in checks] == ORDER
    return {check.key: check for check in checks}


@pytest.mark.parametrize("version", ["15.0", "17.0", "18.0", "19.0", "dev"])
def test_a_healthy_odoo_passes(version: str) -> None:
    with OdooLike(version=version) as odoo:
        found = _probe(odoo)

        assert {key for key, check in found.items() if check.state is CheckState.FAILED} == set()
        assert found["tls"].state is CheckState.WARNING  # plain http, as allowed
        assert found["odoo"].value.startswith("19.1" if version == "dev" else version)
        assert found["database_known"].state is CheckState.PASSED
        assert found["temporary_space"].hint
        assert not odoo.saw(PASSWORD)


@pytest.mark.parametrize("version", ["15.0", "18.0", "dev"])
def test_a_hundred_probes_never_change_the_master_password(version: str) -> None:
    """F09: the stub takes over the first password it is posted, as Odoo does."""
    with OdooLike(version=version, master_password="admin") as odoo:
        for _ in range(100):
            found = _probe(odoo)

        assert odoo.master_password == "admin"
        assert found["master_password"].code is ErrorCode.INSECURE_MASTER_PASSWORD
        assert found["master_password"].hint
        assert {r.path for r in odoo.requests if r.method == "POST"} == {
            "/web/database/list",
            "/web/webclient/version_info",
        }
        assert not odoo.saw(PASSWORD)


@pytest.mark.parametrize(
    ("server", "changes", "key", "code"),
    [
        ({"list_db": False}, {}, "database_manager", ErrorCode.DATABASE_MANAGER_DISABLED),
        ({"dbfilter": "^%d$"}, {}, "database_known", ErrorCode.DATABASE_NOT_FOUND),
        ({"dbfilter": "^%d$", "master_password": "admin"}, {}, "master_password", ErrorCode.INSECURE_MASTER_PASSWORD),
        ({}, {"url": "http://127.0.0.1:1"}, "tcp", ErrorCode.CONNECTION_FAILED),
        ({}, {"url": "http://169.254.169.254"}, "tcp", ErrorCode.ADDRESS_REFUSED),
        ({}, {"url": "http://odoo.invalid"}, "dns", ErrorCode.DNS_FAILED),
        ({}, {"url": "ftp://odoo.invalid"}, "dns", ErrorCode.INVALID_CONFIGURATION),
        ({}, {"tls": TlsPlan()}, "tls", ErrorCode.PLAIN_HTTP_REFUSED),
    ],
)
def test_a_failure_is_named_and_what_follows_from_it_is_skipped(
    server: dict[str, Any], changes: dict[str, Any], key: str, code: ErrorCode
) -> None:
    with OdooLike(**server) as odoo:
        found = _probe(odoo, **changes)

        assert found[key].state is CheckState.FAILED
        assert found[key].code is code
        assert found[key].hint


def test_plain_http_without_consent_connects_to_nothing() -> None:
    with OdooLike() as odoo:
        found = _probe(odoo, tls=TlsPlan())

        assert odoo.requests == []
        assert {check.state for key, check in found.items() if key != "tls"} == {CheckState.SKIPPED}


def test_an_empty_list_points_at_the_host_header() -> None:
    with OdooLike(dbfilter="^%d$") as odoo:
        found = _probe(odoo, None)

        assert found["database_list"].state is CheckState.WARNING
        assert "Host header" in found["database_list"].hint
        assert found["database_known"].state is CheckState.SKIPPED


def test_a_closed_manager_page_fails_only_what_needs_it() -> None:
    with OdooLike(overrides={"/web/database/manager": faults.instead(Answer(404, HTML, pages.NOT_FOUND))}) as odoo:
        found = _probe(odoo)

        assert found["database_manager"].code is ErrorCode.HTTP_ERROR
        assert found["master_password"].state is CheckState.SKIPPED
        assert found["database_list"].state is CheckState.PASSED


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(200, HTML, pages.LOGIN), ErrorCode.HTTP_ERROR),
        (Answer(400, HTML, pages.BAD_REQUEST), ErrorCode.HTTP_ERROR),
        (Answer(200, (), b'{"result": {"a": 1}}'), ErrorCode.HTTP_ERROR),
        (Answer(200, (), b'{"result": [1, 2]}'), ErrorCode.HTTP_ERROR),
        (Answer(200, (), b"[]"), ErrorCode.HTTP_ERROR),
        (Answer(200, (), b"[" * 100_000), ErrorCode.HTTP_ERROR),
        (Answer(200, (), pages.ERROR_JSON), ErrorCode.HTTP_ERROR),
        (Answer(200, (), b""), ErrorCode.HTTP_ERROR),
        (Answer(303, (("Location", "https://elsewhere.example.com/x"),)), ErrorCode.REDIRECTED),
    ],
)
def test_a_strange_list_is_a_clear_failure(answer: Answer, code: ErrorCode) -> None:
    with OdooLike(overrides={"/web/database/list": faults.instead(answer)}) as odoo:
        found = _probe(odoo)

        assert found["database_list"].code is code
        assert found["database_list"].hint
        assert found["database_known"].state is CheckState.SKIPPED


def test_list_db_off_is_a_clear_failure_of_the_list() -> None:
    with OdooLike(list_db=False) as odoo:
        found = _probe(odoo)

        assert found["database_list"].code is ErrorCode.DATABASE_MANAGER_DISABLED
        assert "list_db" in found["database_list"].hint
