"""Retention and restore points in the browser: seen, frozen, applied, pinned, deleted with care, taken back."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.support.app import ALICE, BOB, Browser, signed_in_browser
from tests.support.factories import make_archive, make_instance, make_job, make_run
from webapp.core.errors import Conflict, InvalidInput
from webapp.core.naming import archive_directory_name
from webapp.core.status import ArchiveState, RetentionMode, VerificationStatus
from webapp.services import retention_holds
from webapp.services.retention_clock import confirm_clock
from webapp.services.wiring import Wiring
from webapp.store.db import db, release, writing
from webapp.store.models import Archive, AuditEvent, Job

DAYS = 30


@pytest.fixture
def filled(app: Flask, wiring: Wiring) -> Flask:
    """A job that keeps the last 7 and has made 30 daily archives with their files, ids 1 (oldest) to 30."""
    now = datetime.now(UTC)
    with app.app_context():
        job = make_job(make_instance(now), now, retention_mode=RetentionMode.KEEP_LAST_N, retention_value=7)
        for age in range(DAYS, 0, -1):
            run = make_run(job, now - timedelta(days=age))
            name = f"1-acme-prod/{archive_directory_name(now, 'acme', run.id, 1)}/acme.zip"
            archive = make_archive(run, now - timedelta(days=age), relative_path=name)
            path = Path(wiring.archive_directory, archive.relative_path)
            path.parent.mkdir(parents=True)
            path.write_bytes(b"archive")
        release()
    return app


def states(app: Flask) -> dict[int, ArchiveState]:
    with app.app_context():
        found = {row.id: row.state for row in db.session.execute(sa.select(Archive.id, Archive.state))}
        release()
    return found


def events(app: Flask, word: str) -> list[str]:
    with app.app_context():
        return list(db.session.scalars(sa.select(AuditEvent.actor).where(AuditEvent.event == word)))


def hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, name
    return found[1]


def test_the_page_of_a_jobs_retention_says_what_goes_what_stays_and_why(filled: Flask, charlie: Browser) -> None:
    page = charlie.get("/jobs/1/retention").text

    assert "7 newer verified backups are kept" in page
    assert "newest verified backup" in page
    assert "Waits for a person" in page
    assert "23 of 30 restore points" in page
    assert "Put into the trash now" not in page


def test_a_person_applies_the_plan_that_was_shown_and_no_other(filled: Flask, bob: Browser) -> None:
    digest = hidden(bob.get("/jobs/1/retention").text, "digest")

    assert bob.submit("/jobs/1/retention/apply", digest="0" * 64, most="5").status_code == 409
    assert bob.submit("/jobs/1/retention/apply", digest=digest, most="0").status_code == 422
    assert ArchiveState.TRASHED not in states(filled).values()

    answer = bob.submit("/jobs/1/retention/apply", digest=digest, most="5")

    assert answer.status_code == 303
    assert [number for number, state in states(filled).items() if state is ArchiveState.TRASHED] == [1, 2, 3, 4, 5]
    assert events(filled, "retention.applied") == ["bob"]
    assert bob.submit("/jobs/1/retention/apply", digest=digest, most="5").status_code == 409


def test_applying_and_deleting_need_the_password_again_after_a_while(filled: Flask) -> None:
    bob = signed_in_browser(filled, "bob", at=datetime.now(UTC) - timedelta(minutes=11))

    for path in ("/jobs/1/retention/apply", "/jobs/1/retention/unfreeze", "/restore-points/1/delete"):
        answer = bob.submit(path)
        assert answer.status_code == 303
        assert answer.location.startswith("/reauthenticate")


def test_a_frozen_job_says_why_and_a_person_lets_it_go_on(filled: Flask, bob: Browser, charlie: Browser) -> None:
    bob.submit("/jobs/1/retention/freeze", reason="rows of res_partner collapsed")

    for path in ("/", "/jobs/1", "/jobs/1/retention"):
        page = charlie.get(path).text
        assert "rows of res_partner collapsed" in page
        assert "Confirm, and go on" not in page
    page = bob.get("/jobs/1/retention").text
    assert "Would go, if it were not frozen" in page
    assert "Put into the trash now" not in page
    assert bob.submit("/jobs/1/retention/unfreeze", reason="another reason").status_code == 409
    assert bob.submit("/jobs/1/retention/unfreeze", reason=hidden(bob.get("/jobs/1").text, "reason")).status_code == 303
    assert "Retention is frozen" not in bob.get("/jobs/1").text
    assert events(filled, "retention.unfrozen") == ["bob"]


def test_a_clock_in_doubt_is_said_and_an_admin_believes_it(filled: Flask, alice: Browser, bob: Browser) -> None:
    with filled.app_context():
        confirm_clock(actor=ALICE, now=datetime.now(UTC) + timedelta(days=2))
        release()

    assert "The clock is right" not in bob.get("/jobs/1/retention").text
    assert "The clock went backward" in bob.get("/jobs/1/retention").text
    assert alice.submit("/jobs/1/retention/clock").status_code == 303
    assert "The clock went backward" not in bob.get("/jobs/1/retention").text


def test_a_policy_is_replayed_over_the_real_history(filled: Flask, charlie: Browser) -> None:
    query = "retention_mode=rules&keep_last=3&keep_weekly=2&keep_daily=&retention_value=7"

    page = charlie.get(f"/jobs/1/retention?{query}").text
    wrong = charlie.get("/jobs/1/retention?retention_mode=rules")

    assert "The last 3, 2 weekly" in page
    assert "instead of 7" in page
    assert wrong.status_code == 422
    assert "These rules keep nothing" in wrong.text


def test_a_shortened_policy_is_saved_only_with_the_box_that_names_what_goes(filled: Flask, bob: Browser) -> None:
    with filled.app_context(), writing() as session:
        session.get_one(Job, 1).retention_value = 30
    typed = {"name": "Nightly", "enabled": "1", "content": "database", "format": "custom", "frequency": "cron",
             "cron": "30 2 * * *", "time_zone": "UTC", "retention_mode": "keep_last_n", "retention_value": "2",
             "version": hidden(bob.get("/jobs/1/edit").text, "version")}  # fmt: skip

    refused = bob.submit("/jobs/1/edit", typed)
    digest = hidden(refused.text, 'retention_confirmed" id="retention_confirmed')
    saved = bob.submit("/jobs/1/edit", typed | {"retention_confirmed": digest})

    assert refused.status_code == 422
    assert "This policy would delete 28 of 30 restore points" in refused.text
    assert saved.status_code == 303
    with filled.app_context():
        job = db.session.get_one(Job, 1)
        assert (job.retention_value, job.retention_allowance) == (2, 28)


def test_the_editor_takes_rules_and_drills(filled: Flask, bob: Browser) -> None:
    typed = {"name": "Nightly", "enabled": "1", "content": "database", "format": "custom", "frequency": "cron",
             "cron": "30 2 * * *", "time_zone": "Europe/Brussels", "retention_mode": "rules", "keep_daily": "30",
             "keep_weekly": "4", "keep_yearly": "", "drill_policy": "sampled", "drill_value": "5",
             "drill_checks": "SELECT count(*) FROM res_users => 5\n",
             "version": hidden(bob.get("/jobs/1/edit").text, "version")}  # fmt: skip

    assert bob.submit("/jobs/1/edit", typed | {"drill_checks": "SELECT 1"}).status_code == 422
    assert bob.submit("/jobs/1/edit", typed | {"keep_daily": "-1"}).status_code == 422
    assert bob.submit("/jobs/1/edit", typed).status_code == 303

    with filled.app_context():
        job = db.session.get_one(Job, 1)
        assert job.retention_rules == {"daily": 30, "weekly": 4}
        assert job.drill_checks == [{"query": "SELECT count(*) FROM res_users", "expected": "5"}]
    page = bob.get("/jobs/1/edit").text
    assert 'name="keep_daily" type="number" value="30"' in page
    assert "daily" in bob.get("/restore-points").text


def test_a_restore_point_is_pinned_with_a_note_and_unpinned(filled: Flask, bob: Browser) -> None:
    assert bob.submit("/restore-points/1/pin", note="x" * 256).status_code == 422
    assert bob.submit("/restore-points/1/pin", note="before <b>19</b>").status_code == 303

    assert "before &lt;b&gt;19&lt;/b&gt;" in bob.get("/restore-points").text
    assert "for ever" in bob.get("/jobs/1/retention").text
    page = bob.get("/restore-points/1/delete").text
    assert "Unpin it first" in page
    assert bob.submit("/restore-points/1/delete", digest=hidden(page, "digest")).status_code == 409
    bob.submit("/restore-points/1/unpin")
    assert "for ever" not in bob.get("/jobs/1/retention").text


def test_one_of_many_is_deleted_and_taken_back(filled: Flask, bob: Browser, charlie: Browser) -> None:
    digest = hidden(bob.get("/restore-points/1/delete").text, "digest")

    assert bob.submit("/restore-points/1/delete", digest=digest).location == "/restore-points/trash"
    listed = charlie.get("/restore-points").text
    assert "Trash (1)" in listed
    assert "29 of 29 verified" in listed
    assert states(filled)[1] is ArchiveState.TRASHED
    assert "deleted by bob" in charlie.get("/restore-points/trash").text
    assert charlie.submit("/restore-points/1/take-back").status_code == 403
    assert bob.submit("/restore-points/1/take-back").status_code == 303
    assert states(filled)[1] is ArchiveState.STORED
    assert bob.submit("/restore-points/1/take-back").status_code == 409


def test_the_last_verified_one_needs_the_word_and_the_others_do_not(filled: Flask, bob: Browser) -> None:
    with filled.app_context(), writing() as session:
        for archive in session.scalars(sa.select(Archive).where(Archive.id != 30)):
            archive.verification_status = VerificationStatus.NOT_RUN
    page = bob.get("/restore-points/30/delete").text
    digest = hidden(page, "digest")

    assert "last verified restore point of acme" in page
    for typed in ("", "ACME", "acme-prod"):
        assert bob.submit("/restore-points/30/delete", digest=digest, typed=typed).status_code == 422
    assert states(filled)[30] is ArchiveState.STORED
    assert bob.submit("/restore-points/30/delete", digest=digest, typed="acme").status_code == 303


def test_what_changed_since_it_was_asked_is_asked_again(filled: Flask, bob: Browser) -> None:
    digest = hidden(bob.get("/restore-points/1/delete").text, "digest")
    other = hidden(bob.get("/restore-points/2/delete").text, "digest")
    bob.submit("/restore-points/2/delete", digest=other)

    answer = bob.submit("/restore-points/1/delete", digest=digest)

    assert answer.status_code == 409
    assert "has changed since this was asked" in answer.text
    assert states(filled)[1] is ArchiveState.STORED


def test_a_trashed_one_is_deleted_for_good_by_a_person(filled: Flask, wiring: Wiring, bob: Browser) -> None:
    bob.submit("/restore-points/1/delete", digest=hidden(bob.get("/restore-points/1/delete").text, "digest"))
    with filled.app_context():
        path = Path(wiring.archive_directory, db.session.get_one(Archive, 1).relative_path)
    page = bob.get("/restore-points/1/delete").text

    assert path.exists()
    assert "for good" in page
    assert bob.submit("/restore-points/1/delete-for-good", digest=hidden(page, "digest")).status_code == 303
    assert states(filled)[1] is ArchiveState.DELETED
    assert not path.exists()
    assert events(filled, "archive.deleted") == ["bob"]


def test_one_in_use_is_not_deleted(filled: Flask, bob: Browser) -> None:
    bob.submit("/restore-points/1/verify")

    page = bob.get("/restore-points/1/delete").text

    assert "being verified" in page
    assert bob.submit("/restore-points/1/delete", digest=hidden(page, "digest")).status_code == 409


def test_a_reason_is_needed_to_freeze(filled: Flask) -> None:
    with filled.app_context():
        now = datetime.now(UTC)
        with pytest.raises(InvalidInput):
            retention_holds.freeze(1, " \x00 ", actor=BOB, now=now)
        retention_holds.freeze(1, "first", actor=BOB, now=now)
        with pytest.raises(Conflict, match="frozen already: first"):
            retention_holds.freeze(1, "second", actor=BOB, now=now)
        release()
