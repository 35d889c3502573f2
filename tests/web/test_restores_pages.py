"""The restore wizard step by step, the check, the confirmation, and the page of a restore."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from flask import Flask

from tests.support.app import BOB, Browser, RecordingQueue, signed_in_browser
from tests.support.factories import make_archive, make_instance, make_job, make_run
from webapp.core.reports import Check, CheckState
from webapp.core.restore_plans import TargetFacts, TargetIdentity
from webapp.core.status import (
    ArchiveState,
    Content,
    ErrorCode,
    InstanceKind,
    RestoreOutcome,
    RestoreTarget,
    TaskStatus,
    VerificationStatus,
)
from webapp.services import restores
from webapp.services.restores import RestoreWish
from webapp.services.wiring import Wiring
from webapp.store.db import db, release, writing
from webapp.store.models import Archive, AuditEvent, KeptDatabase, Restore, RestoreCheck, Run


@pytest.fixture
def point(app: Flask, wiring: Wiring) -> int:
    """The newest of three restore points of an Odoo; the newest but one failed its verification, one is older."""
    with app.app_context():
        now = datetime.now(UTC)
        job = make_job(make_instance(now, kind=InstanceKind.ODOO_POSTGRES, databases=["acme"]), now)
        for hours, status in ((50, VerificationStatus.PASSED), (26, VerificationStatus.FAILED)):
            add_point(job, now - timedelta(hours=hours), verification_status=status)
        found = add_point(job, now - timedelta(hours=8, minutes=12))
        release()
    return found


def add_point(job: Any, taken_at: datetime, **values: Any) -> int:
    run = make_run(job, taken_at, status=TaskStatus.COMPLETED, content=Content.DATABASE_AND_FILESTORE)
    return make_archive(run, taken_at, odoo_version="18.0", **values).id


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


def check_of(app: Flask, point: int, target: RestoreTarget = RestoreTarget.NEW_DATABASE, **values: Any) -> int:
    """A check that has ended well a moment ago."""
    with app.app_context():
        now = values.pop("now", datetime.now(UTC))
        wish = RestoreWish(point, target, 1, "acme" if target is RestoreTarget.REPLACE else "acme_copy")
        check = restores.request_check(replace(wish, **values.pop("wish", {})), actor=BOB, now=now)
        checks = values.pop("checks", [Check("reach", "Server answers", CheckState.PASSED, "PostgreSQL 15.8")])
        facts = TargetFacts(TargetIdentity("71", 16384), ("odoo from 10.0.0.4 (3)",), 900, 5000, 900, "15.8")
        with writing():
            row = db.session.get_one(RestoreCheck, check.id)
            row.status, row.started_at, row.completed_at = TaskStatus.COMPLETED, now, now
            row.checks = [one.as_json() for one in checks]
            row.facts = facts.as_json()
            for name, value in values.items():
                setattr(row, name, value)
        found = check.id
        release()
    return found


def restores_in(app: Flask) -> list[Restore]:
    with app.app_context():
        return list(db.session.query(Restore).order_by(Restore.id))


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
