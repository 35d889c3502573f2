"""The pages of jobs: the editor with its preview, and what can be done with one."""

from __future__ import annotations

import re
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.support.app import Browser
from tests.support.drafts import NIGHTLY_FORM, ODOO_HTTP_FORM
from webapp.store.db import db
from webapp.store.models import AuditEvent, Job, Slot, Task


@pytest.fixture
def page(alice: Browser) -> str:
    """The page of an instance with one database."""
    form = ODOO_HTTP_FORM | {"database_selection": "single", "databases": "acme"}
    return str(alice.submit("/instances/new", form).headers["Location"])


def add(browser: Browser, page: str, **fields: Any) -> str:
    """Add a job as the editor does; the path of its page."""
    answer = browser.submit(f"{page}/jobs/new", NIGHTLY_FORM | fields)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["Location"])


def form_of(text: str) -> dict[str, Any]:
    """What a browser without JavaScript would send back, unchanged."""
    form = text.split('<form class="cols"')[1].split("</form>", maxsplit=1)[0]
    values: dict[str, Any] = {}
    for tag in re.findall(r"<input[^>]*>", form):
        name, value = re.search(r'name="([^"]*)"', tag), re.search(r'value="([^"]*)"', tag)
        kind = re.search(r'type="([^"]*)"', tag)
        if name is None or (kind is not None and kind[1] in ("radio", "checkbox") and " checked" not in tag):
            continue
        values.setdefault(name[1], []).append(value[1] if value else "")
    for name, body in re.findall(r'<select id="\w+" name="(\w+)".*?>(.*?)</select>', form, re.DOTALL):
        chosen = re.search(r'value="([^"]*)" selected', body) or re.search(r'value="([^"]*)"', body)
        assert chosen is not None
        values[name] = [chosen[1]]
    for name, body in re.findall(r'<textarea id="\w+" name="(\w+)".*?>\n?(.*?)</textarea>', form, re.DOTALL):
        values[name] = [body]
    return {name: found for name, found in values.items() if name != "csrf_token"}


def job_of(app: Flask) -> Job:
    with app.app_context():
        return db.session.scalars(sa.select(Job).order_by(Job.id.desc()).limit(1)).one()


@pytest.mark.parametrize(
    ("expression", "face"),
    [("30 2 * * *", "daily"), ("15 */6 * * *", "hourly"), ("0 3 * * 1,3,7", "weekly"), ("45 23 31 * *", "monthly"),
     ("*/15 8-18 * * 1-5", "cron")],
)  # fmt: skip
def test_the_editor_shows_the_stored_schedule_and_sends_it_back_unchanged(
    bob: Browser, app: Flask, page: str, expression: str, face: str
) -> None:
    job = add(bob, page, cron=expression)
    before = job_of(app)

    text = bob.get(f"{job}/edit").text
    form = form_of(text)

    assert form["frequency"] == [face]
    assert form["cron"] == [before.cron]
    assert bob.submit(f"{job}/edit", form | {"then": "save"}).status_code == 303
    after = job_of(app)
    assert (after.next_slot_at, after.cursor_at) == (before.next_slot_at, before.cursor_at)
    assert {column: getattr(after, column) for column in VALUES} == {
        column: getattr(before, column) for column in VALUES
    }


VALUES = [
    "name",
    "enabled",
    "content",
    "format",
    "time_zone",
    "spread_seconds",
    "overlap_policy",
    "missed_policy",
    "retention_mode",
    "retention_value",
    "verification_level",
    "time_limit_seconds",
    "retries",
    "retry_delay_seconds",
    "database_selection",
    "databases",
]


def test_the_preview_writes_nothing(bob: Browser, app: Flask, page: str) -> None:
    job = add(bob, page)

    def rows() -> list[int]:
        with app.app_context():
            return [
                db.session.scalar(sa.select(sa.func.count()).select_from(m)) or 0 for m in (Job, Slot, Task, AuditEvent)
            ]

    before, stored = rows(), job_of(app)
    form = form_of(bob.get(f"{job}/edit").text) | {"frequency": "weekly", "weekdays": ["6"], "at": "04:15"}

    part = bob.submit("/partials/job/preview", form)
    whole = bob.submit(f"{job}/edit", form | {"then": "preview"})

    assert part.status_code == whole.status_code == 200
    assert "Saturdays at 04:15" in part.text
    assert "<html" not in part.text
    assert part.headers["Cache-Control"] == "no-store"
    assert "Saturdays at 04:15" in whole.text
    assert "15 4 * * 6" in whole.text
    assert rows() == before
    assert (job_of(app).cron, job_of(app).version) == (stored.cron, stored.version)


def test_a_preview_of_nonsense_says_why(bob: Browser, page: str) -> None:
    part = bob.submit("/partials/job/preview", NIGHTLY_FORM | {"instance": "1", "cron": "0 0 31 11 *"})

    assert part.status_code == 200
    assert "There is no 31 November, so this would never run." in part.text


def test_refusals_keep_what_was_typed(bob: Browser, app: Flask, page: str) -> None:
    answer = bob.submit(f"{page}/jobs/new", NIGHTLY_FORM | {"cron": "61 * * * *", "name": "<i>Mine</i>"})

    assert answer.status_code == 422
    assert 'href="#cron"' in answer.text
    assert 'value="61 * * * *"' in answer.text
    assert "&lt;i&gt;Mine&lt;/i&gt;" in answer.text
    with app.app_context():
        assert db.session.scalar(sa.select(sa.func.count()).select_from(Job)) == 0


def test_a_stale_editor_answers_409(bob: Browser, alice: Browser, app: Flask, page: str) -> None:
    job = add(bob, page)
    form = form_of(bob.get(f"{job}/edit").text)
    assert alice.submit(f"{job}/edit", form | {"name": "Hers"}).status_code == 303

    stale = bob.submit(f"{job}/edit", form | {"name": "His"})

    assert stale.status_code == 409
    assert 'value="His"' in stale.text
    assert job_of(app).name == "Hers"
    assert bob.submit(f"{job}/edit", form_of(stale.text)).status_code == 303
    assert job_of(app).name == "His"


def test_fields_that_no_form_has_are_ignored(bob: Browser, app: Flask, page: str) -> None:
    add(bob, page, instance_id="9", next_slot_at="2020-01-01", deleted_at="2020-01-01", id="99")

    job = job_of(app)
    assert (job.instance_id, job.deleted_at) == (1, None)
    assert job.id != 99


def test_saving_and_running_leads_to_the_run(bob: Browser, page: str) -> None:
    answer = bob.submit(f"{page}/jobs/new", NIGHTLY_FORM | {"then": "run"})

    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/runs/")


def test_a_viewer_reads_and_an_operator_works(bob: Browser, charlie: Browser, mallory: Browser, page: str) -> None:
    job = add(bob, page)

    shown = charlie.get(job)
    assert shown.status_code == 200
    assert "Every day at 02:30" in shown.text
    assert f"{job}/run" not in shown.text
    for action in ("run", "enable", "disable", "delete", "edit"):
        assert charlie.submit(f"{job}/{action}").status_code == 403
    assert charlie.get(f"{job}/edit").status_code == 403
    assert charlie.submit("/partials/job/preview", NIGHTLY_FORM).status_code == 403
    assert mallory.get(job).status_code == 303
    assert bob.submit(f"{job}/disable").status_code == 303
    assert "switched off" in bob.get(page).text
    assert bob.submit(f"{job}/enable").status_code == 303
    assert "restore points" in bob.get(f"{job}/delete").text
    assert bob.submit(f"{job}/delete").status_code == 303
    assert bob.get(job).status_code == 404


def test_the_api_previews_a_schedule(charlie: Browser, mallory: Browser) -> None:
    url = "/api/settings/cron/preview"

    found = charlie.get(url, query_string={"expr": "30 2 * * *", "tz": "Europe/Brussels", "count": "3"})

    assert found.status_code == 200
    assert found.json is not None
    assert found.json["description"] == "Every day at 02:30"
    assert len(found.json["next_runs"]) == 3
    assert all("T02:30:00+0" in run["local"] for run in found.json["next_runs"])
    assert len((charlie.get(url, query_string={"expr": "@daily"}).json or {})["next_runs"]) == 5
    for wrong in (
        {"expr": "0 0 31 2 *"},
        {"expr": "* * * * *", "tz": "Mars"},
        {"expr": "* * * * *", "count": "21"},
        {},
    ):
        refused = charlie.get(url, query_string=wrong)
        assert refused.status_code == 422
        assert (refused.json or {})["message"].endswith(".")
    assert mallory.get(url).status_code == 401
