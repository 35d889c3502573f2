"""Every scripted way in which an Odoo or what stands before it can fail: none of them passes for a backup."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support import http_faults as faults
from tests.support import odoo_pages as pages
from tests.support.archives import MemorySink
from tests.support.http_faults import Answer
from tests.support.odoo_failures import FAILURES, Failure, failing_server
from tests.support.odoo_like import HTML, Database, OdooLike
from tests.support.odoo_runs import PASSWORD, backup_plan, source_for
from tests.support.odoo_zip import odoo_zip
from webapp.core.errors import HoldfastError
from webapp.core.plans import Secret
from webapp.core.status import ErrorCode
from webapp.engine.report import SilentReporter

ELSEWHERE = "http://127.0.0.2:9/web/database/backup"


def _to(location: str, status: int) -> Answer:
    return Answer(status, (("Location", location),))


@pytest.mark.parametrize("failure", FAILURES, ids=[f.id for f in FAILURES])
def test_no_failure_passes_for_a_backup(failure: Failure) -> None:
    with failing_server(failure) as odoo:
        source = source_for(odoo, **failure.source)

        with pytest.raises(HoldfastError) as caught:
            source.write_archive(backup_plan(odoo, **failure.plan), MemorySink(), SilentReporter())

        assert caught.value.code is failure.code, caught.value.message
        assert caught.value.hint
        assert len(caught.value.message) < 1000
        assert caught.value.message.isprintable()
        if not failure.posted:
            assert not odoo.posts()
        assert odoo.insecure or odoo.master_password == PASSWORD


def test_the_table_is_as_long_as_promised() -> None:
    assert len(FAILURES) >= 60
    assert len({f.id for f in FAILURES}) == len(FAILURES)


BEFORE = {
    "manager page missing": ("/web/database/manager", Answer(404, HTML, pages.NOT_FOUND), ErrorCode.HTTP_ERROR),
    "manager page behind a login": ("/web/database/manager", Answer(200, HTML, pages.LOGIN), ErrorCode.NOT_A_BACKUP),
    "manager page redirects": ("/web/database/manager", _to(ELSEWHERE, 301), ErrorCode.REDIRECTED),
    "manager page forbidden": ("/web/database/manager", Answer(403, HTML, pages.WAF), ErrorCode.HTTP_ERROR),
    "https wanted": ("/web/webclient/version_info", _to("https://odoo.example.com/", 301), ErrorCode.REDIRECTED),
}


@pytest.mark.parametrize("case", BEFORE)
def test_nothing_is_posted_unless_the_manager_page_shows_that_a_password_is_set(case: str) -> None:
    path, answer, code = BEFORE[case]
    with OdooLike(overrides={path: faults.instead(answer)}) as odoo:
        with pytest.raises(HoldfastError) as caught:
            source_for(odoo).write_archive(backup_plan(odoo), MemorySink(), SilentReporter())

        assert caught.value.code is code
        assert caught.value.hint
        assert not odoo.posts()
        assert not odoo.saw(PASSWORD)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_target_sees_neither_request_nor_password(status: int) -> None:
    with OdooLike() as other, OdooLike() as odoo:
        odoo.backup = faults.instead(_to(f"{other.url}/web/database/backup", status))

        with pytest.raises(HoldfastError) as caught:
            source_for(odoo).write_archive(backup_plan(odoo), MemorySink(), SilentReporter())

        assert caught.value.code is ErrorCode.REDIRECTED
        assert other.url in caught.value.message
        assert other.requests == []


ECHO: dict[str, Callable[[bytes], Answer]] = {
    "page": lambda secret: Answer(200, HTML, b"<h1>you sent " + secret + b"</h1>"),
    "red box": lambda secret: Answer(200, HTML, b'<div class="alert alert-danger">Database backup error: ' + secret + b"</div>"),
    "status": lambda secret: Answer(500, HTML, secret),
}  # fmt: skip


@pytest.mark.parametrize("kind", ECHO)
@pytest.mark.parametrize(
    "sent", [b"s3cr&t w\xc3\xb6rd", b"s3cr&amp;t w\xc3\xb6rd", b"s3cr%26t+w%C3%B6rd", b"s3cr%26t%20w%C3%B6rd"]
)
def test_a_password_that_is_sent_back_is_not_shown(kind: str, sent: bytes) -> None:
    with OdooLike(master_password="s3cr&t wörd") as odoo:
        odoo.backup = faults.instead(ECHO[kind](sent))
        source = source_for(odoo, master_password=Secret("s3cr&t wörd"))

        with pytest.raises(HoldfastError) as caught:
            source.write_archive(backup_plan(odoo), MemorySink(), SilentReporter())

        assert "s3cr" not in caught.value.message + caught.value.hint
        assert "***" in caught.value.message


def test_plain_http_is_refused_before_anything_is_connected() -> None:
    with OdooLike() as odoo:
        source = source_for(odoo, tls=type(backup_plan(odoo).source.tls)())  # type: ignore[union-attr]

        with pytest.raises(HoldfastError) as caught:
            source.write_archive(backup_plan(odoo), MemorySink(), SilentReporter())

        assert caught.value.code is ErrorCode.PLAIN_HTTP_REFUSED
        assert caught.value.hint
        assert odoo.requests == []


def test_a_red_box_with_markup_and_controls_is_shown_as_plain_text() -> None:
    with OdooLike(backup_error="<script>alert('x')</script> \x1b[31m\u202e" + "y" * 5000) as odoo:
        with pytest.raises(HoldfastError) as caught:
            source_for(odoo).write_archive(backup_plan(odoo), MemorySink(), SilentReporter())

        assert caught.value.message.isprintable()
        assert len(caught.value.message) < 600


def test_a_database_of_the_servers_choice_is_not_taken_for_ours() -> None:
    with OdooLike(databases={"prod": Database(odoo_zip()), "Prod": Database(b"")}) as odoo:
        with pytest.raises(HoldfastError) as caught:
            source_for(odoo).write_archive(backup_plan(odoo, database="PROD"), MemorySink(), SilentReporter())

        assert caught.value.code is ErrorCode.DATABASE_NOT_FOUND
