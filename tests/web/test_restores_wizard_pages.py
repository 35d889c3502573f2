"""The restore wizard step by step, and the page of the check that it ends in."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from flask import Flask

from tests.support.app import Browser, RecordingQueue
from tests.support.restore_pages import add_points, check_of, restores_in
from webapp.core.reports import Check, CheckState
from webapp.core.status import ArchiveState, RestoreTarget
from webapp.store.db import db, writing
from webapp.store.models import Archive, Run


@pytest.fixture
def point(app: Flask) -> int:
    return add_points(app)


def fields_of(text: str) -> dict[str, str]:
    """What a browser without JavaScript would send from the wizard's form, unchanged."""
    form = re.search(r'<form class="(?:goal )?stack".*?</form>', text, re.DOTALL)
    assert form is not None, text
    values = {}
    for tag in re.findall(r"<input[^>]*>", form[0]):
        found = dict(re.findall(r'([a-z-]+)="([^"]*)"', tag))
        if found.get("type") in ("radio", "checkbox") and " checked" not in tag:
            continue
        values[unescape(found["name"])] = unescape(found.get("value", ""))
    for name, body in re.findall(r'<select[^>]* name="(\w+)".*?>(.*?)</select>', form[0], re.DOTALL):
        chosen = re.search(r'value="([^"]*)" selected', body) or re.search(r'value="([^"]*)"', body)
        values[name] = chosen[1] if chosen else ""
    return {name: value for name, value in values.items() if name != "csrf_token"}


def walk(browser: Browser, point: int, **changes: str) -> dict[str, str]:
    """Step 1 to 3 as a browser sends them; the fields of the form that asks for the check."""
    first = fields_of(browser.get(f"/restore/new?step=source&archive={point}").text)
    second = fields_of(browser.get("/restore/new", query_string=first).text)
    third = browser.get("/restore/new", query_string=second | changes)
    assert third.status_code == 200
    return fields_of(third.text)


# The wizard


def test_the_newest_verified_point_is_chosen_first_and_the_failed_one_not_offered(bob: Browser, point: int) -> None:
    text = bob.get("/restore/new?source=1").text

    assert re.findall(r'name="archive" value="(\d+)" checked', text) == [str(point)]
    assert len(re.findall(r'type="radio" name="archive"', text)) == 2


def test_a_safety_backup_is_not_what_one_wants_back(bob: Browser, app: Flask, point: int) -> None:
    with app.app_context(), writing():
        db.session.get_one(Run, db.session.get_one(Archive, point).run_id).triggered_by = "restore:12"

    text = bob.get("/restore/new?source=1").text

    chosen = re.findall(r'name="archive" value="(\d+)" checked', text)
    assert len(chosen) == 1
    assert chosen != [str(point)]


def test_replacing_another_database_makes_a_copy_and_that_is_neutralised(bob: Browser, point: int) -> None:
    same = walk(bob, point, target="replace", instance_id_replace="1", database_replace="acme")
    other = walk(bob, point, target="replace", instance_id_replace="1", database_replace="acme_staging")

    assert "neutralise" not in same
    assert (other["neutralise"], other["new_identity"]) == ("1", "1")


def test_a_point_that_was_asked_for_leads_to_the_target(bob: Browser, point: int) -> None:
    for path in (f"/restore/new?archive={point}", "/restore/new?run=3"):
        text = bob.get(path).text
        assert "Where to?" in text
        assert 'name="target" value="new_database" checked' in text


def test_a_copy_is_neutralised_unless_somebody_says_no(bob: Browser, point: int) -> None:
    fields = walk(bob, point)

    assert fields["target"] == "new_database"
    assert (fields["neutralise"], fields["new_identity"], fields["with_filestore"]) == ("1", "1", "1")
    assert fields["database"].startswith("acme_20")


def test_a_replacement_is_not_neutralised_and_a_copy_after_it_is_again(bob: Browser, point: int) -> None:
    fields = walk(bob, point, target="replace")
    assert "neutralise" not in fields
    assert fields["database"] == "acme"

    back = bob.get("/restore/new", query_string=fields | {"step": "options", "target": "new_database"})

    assert fields_of(back.text)["neutralise"] == "1"


def test_what_was_chosen_survives_a_step_back(bob: Browser, point: int) -> None:
    fields = walk(bob, point, database_new_database="acme_training")
    fields.pop("neutralise")

    target = bob.get("/restore/new", query_string=fields | {"step": "target"}).text
    options = bob.get("/restore/new", query_string=fields | {"step": "options"}).text

    assert 'value="acme_training"' in target
    assert "neutralise" not in fields_of(options)


def test_the_last_step_asks_for_a_check(bob: Browser, app: Flask, point: int, queue: RecordingQueue) -> None:
    answer = bob.submit("/restore/new", walk(bob, point, database_new_database="acme_training"))

    assert answer.status_code == 303
    assert answer.location.startswith("/restore/checks/")
    assert [entry["task_type"] for entry in queue.pushed] == ["restore_check"]
    text = bob.get(answer.location).text
    assert "Looking at the target" in text
    assert 'http-equiv="refresh"' in text
    assert "hx-trigger" in text


@pytest.mark.parametrize(
    ("changes", "step", "said"),
    [
        ({"database_new_database": "postgres"}, "Where to?", "belongs to the server itself"),
        ({"database_new_database": ""}, "Where to?", ""),
        ({"target": "attachment", "piece_attachment": "nonsense"}, "Where to?", "40 hex digits"),
        ({"target": "directory", "directory": "../etc"}, "Where to?", "no slash"),
    ],
)
def test_what_cannot_be_used_leads_back_to_its_step(
    bob: Browser, point: int, changes: dict[str, str], step: str, said: str
) -> None:
    answer = bob.submit("/restore/new", walk(bob, point, **changes))

    assert answer.status_code == 422
    assert step in answer.text
    assert said in unescape(answer.text)
    assert 'aria-invalid="true"' in answer.text


def test_options_that_cannot_be_used_stay_at_their_step(bob: Browser, point: int) -> None:
    answer = bob.submit("/restore/new", walk(bob, point) | {"jobs": "many", "owner": "\0"})

    assert answer.status_code == 422
    assert 'id="jobs-error"' in answer.text


def test_a_point_that_cannot_be_restored_says_so(bob: Browser, app: Flask, point: int) -> None:
    text = bob.get(f"/restore/new?archive={point - 1}&step=target").text

    assert "failed its verification" in text
    assert "Which restore point?" in text
    answer = bob.submit("/restore/new", archive=str(point - 1), target="new_database", instance_id="1", database="x1")
    assert answer.status_code == 409


def test_without_a_point_the_databases_are_shown(bob: Browser, app: Flask, point: int) -> None:
    assert f"archive={point}" in bob.get("/restore/new").text
    assert f"archive={point}" in bob.get("/restore/new?source=99").text
    with app.app_context(), writing():
        for archive in db.session.query(Archive):
            archive.state = ArchiveState.DELETED
    assert "No restore points yet" in bob.get("/restore/new").text


def test_a_point_that_does_not_exist_is_not_found(bob: Browser, point: int) -> None:
    assert bob.get("/restore/new?archive=99999").status_code == 404


# The check


def test_a_check_that_passed_leads_on_and_shows_who_is_connected(bob: Browser, app: Flask, point: int) -> None:
    text = bob.get(f"/restore/checks/{check_of(app, point, RestoreTarget.REPLACE)}").text

    assert "Server answers" in text
    assert "odoo from 10.0.0.4 (3)" in text
    assert "They will be dropped" in text
    assert "/replace" in text
    assert "hx-trigger" not in text.split("check-body")[1]


def test_a_check_that_failed_leads_nowhere(bob: Browser, app: Flask, point: int) -> None:
    failed = Check("disk", "Room on the disk", CheckState.FAILED, "2 GB are missing.", hint="Make room.")
    check = check_of(app, point, checks=[failed])

    text = bob.get(f"/restore/checks/{check}").text

    assert "Make room." in text
    assert "The check did not pass." in text
    assert f"/restore/checks/{check}/confirm" not in text
    assert bob.get(f"/restore/checks/{check}/confirm").status_code == 303
    assert bob.submit(f"/restore/checks/{check}/confirm").status_code == 409
    assert restores_in(app) == []


def test_an_old_check_is_made_again(bob: Browser, app: Flask, point: int, queue: RecordingQueue) -> None:
    check = check_of(app, point, completed_at=datetime.now(UTC) - timedelta(minutes=16))

    text = unescape(bob.get(f"/restore/checks/{check}").text)
    answer = bob.submit(f"/restore/checks/{check}/again")

    assert "older than 15 minutes" in text
    assert answer.status_code == 303
    assert len([entry for entry in queue.pushed if entry["task_type"] == "restore_check"]) == 2


def test_a_viewer_sees_a_check_and_cannot_go_on(app: Flask, charlie: Browser, point: int) -> None:
    check = check_of(app, point)

    text = charlie.get(f"/restore/checks/{check}").text

    assert "Server answers" in text
    assert "Check again" not in text
    assert charlie.get(f"/restore/checks/{check}/confirm").status_code == 403
