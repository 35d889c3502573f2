"""Drills by a person: asked for, followed, and reported question by question."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.support.app import BOB, Browser, RecordingQueue
from tests.support.factories import make_archive, make_instance, make_job, make_run
from webapp.core.reports import Check, CheckState
from webapp.core.status import ArchiveState, ErrorCode, TaskStatus, VerificationStatus
from webapp.engine.drill.cage import Strength
from webapp.services import drills, retention_holds
from webapp.services.wiring import Wiring
from webapp.store.db import db, release, writing
from webapp.store.models import Archive, Drill

ANSWERS = (
    Check("load", "Loads without an error", CheckState.PASSED, "Into an empty PostgreSQL 15.18.", "10 tables"),
    Check("rows", "Rows per table", CheckState.PASSED, "9 026 rows in 10 tables, as the manifest says.", "9 026"),
    Check("boot", "Odoo starts", CheckState.SKIPPED, "No Odoo is set up for this."),
)


@pytest.fixture
def point(app: Flask, wiring: Wiring) -> int:
    """A restore point whose file is there."""
    with app.app_context():
        now = datetime.now(UTC)
        archive = make_archive(make_run(make_job(make_instance(now), now), now, status=TaskStatus.COMPLETED), now)
        path = Path(wiring.archive_directory, archive.relative_path)
        path.parent.mkdir(parents=True)
        path.write_bytes(b"PGDMP")
        found = archive.id
        release()
    return found


def drill_of(app: Flask, point: int, checks: tuple[Check, ...] = ANSWERS, **values: Any) -> int:
    """A drill that has ended as these values say."""
    with app.app_context():
        now = datetime.now(UTC)
        drill_id = drills.request_drill(point, actor=BOB, now=now).id
        with writing():
            drill = db.session.get_one(Drill, drill_id)
            drill.status, drill.started_at, drill.completed_at = TaskStatus.COMPLETED, now, now
            drill.checks = [check.as_json() for check in checks]
            drill.seconds = 541.0
            drill.facts = {"tables": 10, "rows": 9026, "files": 500, "server": "15.18", "load_seconds": 300.0}
            for name, value in values.items():
                setattr(drill, name, value)
            archive = db.session.get_one(Archive, point)
            archive.drilled_at, archive.drill_seconds = now, drill.seconds
            failed = any(check.state is CheckState.FAILED for check in checks)
            archive.drill_status = VerificationStatus.FAILED if failed else VerificationStatus.PASSED
            archive.drill_report = drill.checks
        release()
    return drill_id


def test_asking_twice_leads_to_one_drill(bob: Browser, point: int, queue: RecordingQueue) -> None:
    first, second = bob.submit(f"/restore-points/{point}/drill"), bob.submit(f"/restore-points/{point}/drill")

    assert first.location == second.location
    assert first.location.startswith("/drills/")
    assert [entry["task_type"] for entry in queue.pushed] == ["drill"]
    text = bob.get(first.location).text
    for block in ("head", "progress", "steps", "results"):
        assert f"_b={block}" in text
    assert "Cancel drill…" in text


def test_a_viewer_may_look_and_not_ask(app: Flask, charlie: Browser, point: int) -> None:
    drill = drill_of(app, point)

    assert charlie.submit(f"/restore-points/{point}/drill").status_code == 403
    assert "It can be restored" in charlie.get(f"/drills/{drill}").text
    assert "Test again" not in charlie.get(f"/drills/{drill}").text


def test_a_point_that_is_gone_is_not_drilled(app: Flask, bob: Browser, point: int) -> None:
    with app.app_context(), writing():
        db.session.get_one(Archive, point).state = ArchiveState.QUARANTINED

    assert bob.submit(f"/restore-points/{point}/drill").status_code == 409
    assert bob.submit("/restore-points/999/drill").status_code == 404


def test_the_report_tells_each_question_its_evidence_and_the_time(app: Flask, bob: Browser, point: int) -> None:
    text = bob.get(f"/drills/{drill_of(app, point)}").text

    assert "It can be restored: 2 of 2 questions answered well" in text
    assert "9 min 01 s" in text
    assert "9 026 rows in 10 tables, as the manifest says." in text
    assert "No Odoo is set up for this." in text
    assert "hx-trigger" not in text.split("drill-progress")[1]


@pytest.mark.parametrize("strength", Strength)
def test_the_page_says_where_it_was_loaded_and_claims_no_cage_that_was_not_there(
    strength: Strength, app: Flask, bob: Browser, point: int
) -> None:
    facts = {"server": "17.4", "cage": strength.value, "load_seconds": 300.0}

    text = bob.get(f"/drills/{drill_of(app, point, facts=facts)}").text

    assert "17.4" in text
    assert ("without network" in text) == (strength is not Strength.PLAIN)
    assert ("unprivileged" in text) == (strength is not Strength.USER)


def test_a_failed_drill_says_not_to_rely_on_it(app: Flask, bob: Browser, point: int) -> None:
    wrong = Check("files", "Attachments", CheckState.FAILED, "312 files are missing.", hint="Run a new backup.")
    failed = {"status": TaskStatus.FAILED, "error_code": ErrorCode.DRILL_FAILED, "error_message": "Attachments: 312."}

    text = bob.get(f"/drills/{drill_of(app, point, (*ANSWERS, wrong), **failed)}").text

    assert "Do not rely on this restore point" in text
    assert "312 files are missing." in text
    assert "Run a new backup." in text


def test_a_drill_that_could_not_be_held_says_nothing_about_the_point(app: Flask, bob: Browser, point: int) -> None:
    values = {"error_code": ErrorCode.DRILL_IMPOSSIBLE, "error_message": "There is no initdb here.", "seconds": None}

    text = bob.get(f"/drills/{drill_of(app, point, (), status=TaskStatus.FAILED, **values)}").text

    assert "There is no initdb here." in text
    assert "which says nothing about the restore point" in text
    assert "Do not rely" not in text


def test_the_facts_stand_where_people_look(app: Flask, bob: Browser, point: int) -> None:
    drill = drill_of(app, point)

    assert bob.get(f"/drills/{drill}/report.json").json["seconds"] == 541.0
    assert bob.get(f"/tasks/{drill}").location == f"/drills/{drill}"
    for path in ("/runs/1", f"/restore-points/{point}", "/instances/1"):
        assert "9 min 01 s" in bob.get(path).text, path
    assert "Restore-tested" in bob.get("/").text


def test_a_failed_drill_needs_attention(app: Flask, bob: Browser, point: int) -> None:
    wrong = Check("files", "Attachments", CheckState.FAILED, "312 files are missing.")
    drill_of(app, point, (wrong,), status=TaskStatus.FAILED, error_code=ErrorCode.DRILL_FAILED)

    text = bob.get("/").text

    assert "312 files are missing." in text


def test_a_frozen_retention_needs_attention(app: Flask, bob: Browser, point: int) -> None:
    with app.app_context():
        retention_holds.freeze(1, "The newest backup is 28 % smaller than usual.", actor=BOB, now=datetime.now(UTC))
        release()

    text = bob.get("/").text

    assert "Retention of «Nightly» waits: The newest backup is 28 % smaller than usual." in text
