"""A restore confirmed after its check, and the page that shows it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from flask import Flask

from tests.support.app import BOB, Browser, RecordingQueue, signed_in_browser
from tests.support.restore_pages import add_points, check_of, restores_in
from webapp.core.status import ErrorCode, RestoreOutcome, RestoreTarget, TaskStatus
from webapp.services import restores
from webapp.services.wiring import Wiring
from webapp.store.db import db, release, writing
from webapp.store.models import AuditEvent, KeptDatabase, Restore


@pytest.fixture
def point(app: Flask) -> int:
    return add_points(app)


def restore_of(app: Flask, point: int, target: RestoreTarget = RestoreTarget.REPLACE, **values: Any) -> int:
    """A restore of the check that has ended as these values say."""
    check = check_of(app, point, target)
    with app.app_context():
        now = datetime.now(UTC)
        typed = "acme" if target is RestoreTarget.REPLACE else ""
        restore = restores.request_restore(check, typed_name=typed, actor=BOB, now=now)
        with writing():
            row = db.session.get_one(Restore, restore.id)
            row.started_at = row.completed_at = now
            for name, value in values.items():
                setattr(row, name, value)
        found = restore.id
        release()
    return found


# Confirming


def test_a_new_database_is_restored_without_typing(bob: Browser, app: Flask, point: int, queue: RecordingQueue) -> None:
    check = check_of(app, point)
    assert "Restore to acme_copy" in bob.get(f"/restore/checks/{check}/confirm").text

    answer = bob.submit(f"/restore/checks/{check}/confirm")
    again = bob.submit(f"/restore/checks/{check}/confirm")

    (restore,) = restores_in(app)
    assert answer.location == again.location == f"/restores/{restore.id}"
    assert (restore.target, restore.target_database) == (RestoreTarget.NEW_DATABASE, "acme_copy")
    assert "restore" in [entry["task_type"] for entry in queue.pushed]
    assert bob.get(f"/restore/checks/{check}/confirm").location == f"/restores/{restore.id}"


def test_a_replacement_says_what_will_be_gone(bob: Browser, app: Flask, point: int) -> None:
    check = check_of(app, point, RestoreTarget.REPLACE)

    text = unescape(bob.get(f"/restore/checks/{check}/replace").text)

    assert "Everything recorded in Odoo since then (8 h 12 min) will be gone from the live database." in text
    assert "A safety backup of acme is taken" in text
    assert "acme__before_" in text
    assert "Restore to a new database instead" in text
    assert "autofocus" in text.split("Cancel")[0].rsplit("<a", 1)[1]


@pytest.mark.parametrize("typed", ["", "Acme", "acme ", "another"])
def test_a_replacement_needs_the_name_exactly(bob: Browser, app: Flask, point: int, typed: str) -> None:
    check = check_of(app, point, RestoreTarget.REPLACE)

    answer = bob.submit(f"/restore/checks/{check}/replace", typed=typed)

    assert answer.status_code == 422
    assert "Type the name of the database that is replaced" in answer.text
    assert restores_in(app) == []


def test_a_replacement_with_the_right_name_begins(bob: Browser, app: Flask, point: int) -> None:
    check = check_of(app, point, RestoreTarget.REPLACE)

    assert bob.submit(f"/restore/checks/{check}/replace", typed="acme").status_code == 303
    assert [restore.target for restore in restores_in(app)] == [RestoreTarget.REPLACE]


def test_a_replacement_needs_a_recent_password_and_no_other_door_leads_to_it(app: Flask, point: int) -> None:
    check = check_of(app, point, RestoreTarget.REPLACE)
    late = signed_in_browser(app, "bob", at=datetime.now(UTC) - timedelta(minutes=11))

    for path in (f"/restore/checks/{check}/replace", f"/restore/checks/{check}/confirm"):
        assert late.submit(path, typed="acme").status_code == 303
    assert late.get(f"/restore/checks/{check}/replace").location.startswith("/reauthenticate")
    assert late.get(f"/restore/checks/{check}/confirm").location.endswith("/replace")
    assert restores_in(app) == []


def test_a_copy_that_is_not_neutralised_is_warned_of(bob: Browser, app: Flask, point: int) -> None:
    text = bob.get(f"/restore/checks/{check_of(app, point)}/confirm").text

    assert "This copy is not neutralised." in text


# The restore


def test_a_live_restore_refreshes_itself_and_can_be_cancelled(
    bob: Browser, charlie: Browser, app: Flask, point: int
) -> None:
    restore = restore_of(app, point, status=TaskStatus.RUNNING, completed_at=None, progress_percent=40)

    text = bob.get(f"/restores/{restore}").text

    for block in ("head", "progress", "steps", "results"):
        assert f"_b={block}" in text
        part = bob.get(f"/restores/{restore}?_b={block}", headers={"HX-Request": "true"})
        assert "<html" not in part.text
    assert f"/tasks/{restore}/log?after=0" in text
    assert bob.get(f"/tasks/{restore}/log?after=0").status_code == 204
    assert "Cancel restore…" in text
    assert "Cancel restore…" not in charlie.get(f"/restores/{restore}").text
    assert bob.submit(f"/tasks/{restore}/cancel").location == f"/tasks/{restore}"
    assert bob.get(f"/tasks/{restore}").location == f"/restores/{restore}"


def test_a_replacement_that_succeeded_names_what_was_kept(bob: Browser, app: Flask, point: int) -> None:
    restore = restore_of(
        app,
        point,
        status=TaskStatus.COMPLETED,
        outcome=RestoreOutcome.REPLACED,
        details={"result": {"message": "Restored acme: 1,204 tables, 38,977 files"}},
    )
    with app.app_context(), writing() as session:
        now = datetime.now(UTC)
        session.add(
            KeptDatabase(restore_id=restore, instance_id=1, instance_name="acme-prod", database_name="acme",
                         kept_name="acme__before_20261122_023004", created_at=now, size_bytes=1000)
        )  # fmt: skip

    text = bob.get(f"/restores/{restore}").text

    assert "Restored acme: 1,204 tables, 38,977 files" in text
    assert "acme was replaced whole." in text
    assert "acme__before_20261122_023004" in text
    assert "/kept-databases/1/remove" in text
    assert "every " not in re.sub(r"<script.*?</script>", "", text).split("restore-progress")[1]


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (RestoreOutcome.UNTOUCHED, "acme is as it was before: nothing in it was changed."),
        (RestoreOutcome.UNKNOWN, "It is not known yet what acme is"),
        (RestoreOutcome.REPLACED, "acme was replaced whole."),
    ],
)
def test_a_failed_restore_says_what_the_target_is(
    bob: Browser, app: Flask, point: int, outcome: RestoreOutcome, said: str
) -> None:
    restore = restore_of(
        app,
        point,
        status=TaskStatus.FAILED,
        outcome=outcome,
        error_code=ErrorCode.RESTORE_DIFFERS,
        error_message="res_partner has 41 rows, the manifest says 42.",
        hint="Look.",
    )

    text = bob.get(f"/restores/{restore}").text

    assert said in text
    assert "res_partner has 41 rows" in text
    assert "restore_differs" in text


def test_the_report_of_a_restore_is_json(charlie: Browser, app: Flask, point: int) -> None:
    restore = restore_of(app, point, status=TaskStatus.COMPLETED, outcome=RestoreOutcome.REPLACED)

    assert charlie.get(f"/restores/{restore}/report.json").json["outcome"] == "replaced"


def test_a_file_is_handed_out_and_recorded(
    bob: Browser, charlie: Browser, app: Flask, wiring: Wiring, point: int
) -> None:
    root = wiring.data_directory.resolve() / "restored"
    (root / "x").mkdir(parents=True)
    (root / "x" / "res_partner.csv").write_text("id\n1\n")
    paths = (root / "x" / "res_partner.csv", root / "x" / "gone.csv", wiring.data_directory / "holdfast.sqlite")
    there, gone, outside = (
        restore_of(app, point, status=TaskStatus.COMPLETED, details={"result": {"file": str(path)}}) for path in paths
    )

    answer = bob.get(f"/restores/{there}/download")

    assert answer.text == "id\n1\n"
    assert answer.headers["Content-Disposition"] == "attachment; filename=res_partner.csv"
    assert bob.get(f"/restores/{gone}/download").status_code == 404
    assert bob.get(f"/restores/{outside}/download").status_code == 404
    assert charlie.get(f"/restores/{there}/download").status_code == 403
    with app.app_context():
        assert [event.subject_id for event in db.session.query(AuditEvent).filter_by(event="restore.downloaded")] == [
            there
        ]


def test_restores_are_no_runs(bob: Browser, app: Flask, point: int) -> None:
    restore = restore_of(app, point, status=TaskStatus.COMPLETED)

    assert bob.get(f"/runs/{restore}").status_code == 404
    assert "Restore to acme-prod / acme" not in bob.get("/runs").text
    assert "Restore to acme-prod / acme" in bob.get("/tasks?type=restore").text


def test_the_ways_in_are_shown_to_those_who_may(bob: Browser, charlie: Browser, point: int) -> None:
    for path in ("/instances/1", "/runs/3"):
        assert "Restore…" in bob.get(path).text
        assert "Restore…" not in charlie.get(path).text
