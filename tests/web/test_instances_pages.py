"""The pages of instances: who may do what, what is shown, what never is."""

from __future__ import annotations

import re
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.support.app import ALICE, Browser, RecordingQueue
from tests.support.drafts import MASTER_PASSWORD, NIGHTLY_FORM, ODOO_HTTP_FORM
from webapp.core.reports import Check, CheckState
from webapp.core.status import ErrorCode, TaskStatus
from webapp.services import instances
from webapp.store.db import db, writing
from webapp.store.models import ConnectionTest, Instance
from webapp.web.access import request_time

HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(1)>'{{7*7}}"


def add(browser: Browser, **fields: Any) -> str:
    """Add an instance as the form does; the path of its page."""
    answer = browser.submit("/instances/new", ODOO_HTTP_FORM | fields)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["Location"])


def version_on(page: str) -> str:
    found = re.search(r'name="version" value="(\d+)"', page)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("kind", ["odoo_http", "odoo_postgres", "postgres"])
def test_each_kind_has_its_form_without_javascript(alice: Browser, kind: str) -> None:
    page = alice.get(f"/instances/new?kind={kind}").text

    assert f'name="kind" value="{kind}"' in page
    assert ('name="master_password"' in page) == (kind == "odoo_http")
    assert ('name="pg_host"' in page) == (kind != "odoo_http")
    assert ('name="filestore_kind"' in page) == (kind == "odoo_postgres")


def test_the_first_question_is_the_kind(alice: Browser) -> None:
    page = alice.get("/instances/new").text

    assert page.count("/instances/new?kind=") == 4


def test_refusals_stand_above_the_form_and_at_their_fields(alice: Browser) -> None:
    answer = alice.submit("/instances/new", ODOO_HTTP_FORM | {"name": "", "url": "ftp://x", "customer": "Acme & Sons"})

    assert answer.status_code == 422
    assert '<a href="#name">The name is missing.</a>' in answer.text
    assert 'id="url-error"' in answer.text
    assert re.search(r'id="url"[^>]*aria-describedby="[^"]*url-error[^"]*" aria-invalid="true"', answer.text)
    assert "Acme &amp; Sons" in answer.text
    assert MASTER_PASSWORD not in answer.text


def test_a_secret_is_never_sent_to_a_browser(alice: Browser, app: Flask) -> None:
    page = add(alice)
    with app.app_context():
        sealed = db.session.scalars(sa.select(Instance.master_password)).one()

    for path in (page, f"{page}/edit", f"{page}/settings", f"{page}/jobs", "/instances", "/instances.csv", "/audit"):
        text = alice.get(path).text
        assert MASTER_PASSWORD not in text, path
        assert sealed is not None
        assert sealed not in text, path
    assert "Stored. Leave blank to keep it." in alice.get(f"{page}/edit").text


def test_hostile_names_are_shown_and_not_obeyed(alice: Browser) -> None:
    page = add(alice, name=HOSTILE, customer=HOSTILE, notes=HOSTILE, databases="<b>db</b>", database_selection="single")

    for path in (page, f"{page}/edit", f"{page}/settings", f"{page}/delete", f"{page}/jobs/new", "/instances"):
        text = alice.get(path).text
        assert "<script>alert" not in text, path
        assert "<img src=x" not in text, path
        assert "<b>db</b>" not in text, path
        assert "49" not in re.sub(
            r"\d{3,}|#\w+|v=\w+|[\d.]+,[\d.]+|viewBox.*?>", "", text.split("<h1>")[1].split("</h1>")[0]
        )


def test_a_stale_form_answers_409_keeps_what_was_typed_and_can_then_be_saved(alice: Browser, app: Flask) -> None:
    page = add(alice)
    seen = version_on(alice.get(f"{page}/edit").text)
    blank = {"master_password": ""}
    first = alice.submit(f"{page}/edit", ODOO_HTTP_FORM | blank | {"version": seen, "customer": "First"})
    assert first.status_code == 303

    second = alice.submit(f"{page}/edit", ODOO_HTTP_FORM | blank | {"version": seen, "customer": "Second"})

    assert second.status_code == 409
    assert "changed by someone else" in second.text
    assert 'value="Second"' in second.text
    assert customer_of(app) == "First"
    again = ODOO_HTTP_FORM | blank | {"version": version_on(second.text), "customer": "Second"}
    assert alice.submit(f"{page}/edit", again).status_code == 303
    assert customer_of(app) == "Second"


def customer_of(app: Flask) -> str:
    with app.app_context():
        return db.session.scalars(sa.select(Instance.customer)).one()


def test_fields_that_no_form_has_are_ignored(alice: Browser, app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    add(alice, id="77", uid="mine", slug="mine", paused_by="x", deleted_at="2020-01-01", ssh_host_key="evil")

    with app.app_context():
        made = db.session.scalars(sa.select(Instance)).one()
    assert made.id != 77
    assert made.slug == "acme-prod"
    assert made.uid != "mine"
    assert made.deleted_at is None
    assert made.ssh_host_key == ""
    assert "ignored form fields" in caplog.text


def test_a_viewer_reads_an_operator_works_an_admin_holds_the_keys(
    alice: Browser, bob: Browser, charlie: Browser, mallory: Browser
) -> None:
    page = add(alice)

    for browser, can_test, can_edit in ((charlie, False, False), (bob, True, False), (alice, True, True)):
        shown = browser.get(page)
        assert shown.status_code == 200
        assert (f"{page}/test" in shown.text) == can_test
        assert (f"{page}/edit" in shown.text) == can_edit
        assert browser.get(f"{page}/edit").status_code == (200 if can_edit else 403)
    for action in ("test", "pause", "resume", "back-up"):
        assert charlie.submit(f"{page}/{action}").status_code == 403
    for action in ("delete", "duplicate", "edit", "host-key", "host-key/scan"):
        assert bob.submit(f"{page}/{action}").status_code == 403
    assert bob.submit("/instances/new", ODOO_HTTP_FORM).status_code == 403
    assert mallory.get(page).status_code == 303


def test_search_words_terms_and_chips(alice: Browser) -> None:
    add(alice, tags="prod, pos", customer="Acme Industries")
    add(alice, name="globex", customer="Globex")

    def names(query: str) -> set[str]:
        text = alice.get("/instances", query_string=query).text
        return set(re.findall(r'class="name" href="/instances/\d+">([^<]+)<', text))

    assert names("") == {"acme-prod", "globex"}
    assert names("q=glob") == {"globex"}
    assert names("q=tag:prod") == {"acme-prod"}
    assert names('q=customer:"acme indus"') == {"acme-prod"}
    assert names("q=kind:odoo_http glob") == {"globex"}
    assert names("is=new") == {"acme-prod", "globex"}
    assert names("is=failed") == set()
    assert names("q=is:paused") == set()
    nothing = alice.get("/instances?q=tag:pos is:failing").text
    assert "No instance matches" in nothing
    assert "Clear filters" in nothing


def test_rows_come_alone_for_the_poll(alice: Browser) -> None:
    add(alice)

    part = alice.get("/instances?_b=rows", headers={"HX-Request": "true"}).text

    assert "acme-prod" in part
    assert "<html" not in part


def test_testing_shows_that_it_waits_then_each_check_with_what_to_do(
    alice: Browser, app: Flask, queue: RecordingQueue
) -> None:
    page = add(alice, then="test")
    assert [entry["task_type"] for entry in queue.pushed] == ["connection_test"]
    waiting = alice.get(f"{page}?_b=connection", headers={"HX-Request": "true"}).text
    assert "hx-trigger=" in waiting
    assert alice.submit(f"{page}/test").status_code == 303
    assert len(queue.pushed) == 1
    with app.test_request_context(), writing() as session:
        task = session.scalars(sa.select(ConnectionTest)).one()
        task.status, task.completed_at = TaskStatus.FAILED, request_time()
        task.checks = [
            Check("dns", "Name", CheckState.PASSED, "erp.acme.example is 203.0.113.9").as_json(),
            Check("tls", "Certificate", CheckState.FAILED, "expired <i>yesterday</i>", hint="Renew it.",
                  code=ErrorCode.TLS_FAILED).as_json(),
        ]  # fmt: skip

    done = alice.get(f"{page}?_b=connection", headers={"HX-Request": "true"}).text

    assert "hx-trigger=" not in done
    assert "expired &lt;i&gt;yesterday&lt;/i&gt;" in done
    assert "Renew it." in done


def test_pause_and_resume(bob: Browser, alice: Browser, app: Flask) -> None:
    page = add(alice)
    assert bob.submit(f"{page}/jobs/new", NIGHTLY_FORM).status_code == 303

    assert bob.submit(f"{page}/pause", hours="24", reason="customer migrates").status_code == 303

    shown = bob.get(page).text
    assert "Paused by bob until" in shown
    assert "customer migrates" in shown
    assert bob.submit(f"{page}/pause", hours="7").status_code == 422
    assert bob.submit(f"{page}/resume").status_code == 303
    assert "Paused by bob" not in bob.get(page).text


def test_deleting_asks_for_the_name_on_the_server_too(alice: Browser) -> None:
    page = add(alice)

    assert alice.submit(f"{page}/delete").status_code == 422
    assert alice.submit(f"{page}/delete", typed_name="acme").status_code == 422
    assert alice.submit(f"{page}/delete", typed_name="acme-prod").status_code == 303
    assert alice.get(page).status_code == 404


def test_several_are_paused_at_once_and_refusals_are_told(alice: Browser, bob: Browser, app: Flask) -> None:
    add(alice)
    add(alice, name="globex")

    assert bob.submit("/instances/bulk", {"action": "pause", "instance": ["1", "2", "999", "x"]}).status_code == 303
    assert "Paused 2 of 3" in bob.get("/instances").text
    with app.app_context():
        assert all(instance.paused_by == "bob" for instance in instances.list_instances())


def test_a_form_without_the_token_changes_nothing(alice: Browser) -> None:
    page = add(alice)

    assert alice.post(f"{page}/pause", data={"hours": "4"}).status_code == 403


def test_the_first_steps_follow_the_rows(alice: Browser) -> None:
    def done() -> int:
        return alice.get("/welcome").text.count('<li class="done"')

    assert done() == 1
    page = add(alice)
    assert done() == 2
    assert f"{page}/test" in alice.get("/welcome").text
    assert ALICE.username in alice.get("/welcome").text


@pytest.mark.parametrize("block", ["jobs", "history", "connection"])
def test_parts_of_the_page_come_alone_and_ask_again(alice: Browser, block: str) -> None:
    page = add(alice)

    part = alice.get(f"{page}?_b={block}", headers={"HX-Request": "true"})

    assert "<html" not in part.text
    assert f'id="{block}"' in part.text
    assert part.headers["Cache-Control"] == "no-store"
    assert ("hx-trigger=" in part.text) == (block != "connection")


@pytest.mark.parametrize("tab", ["", "/restore-points", "/runs", "/jobs", "/settings"])
def test_every_tab_marks_itself_and_knows_unknown_instances(charlie: Browser, alice: Browser, tab: str) -> None:
    page = add(alice)

    shown = charlie.get(f"{page}{tab}")

    assert shown.status_code == 200
    assert f'<a href="{page}{tab}" aria-current="page">' in shown.text
    assert charlie.get(f"/instances/999{tab}").status_code == 404
