"""Restore drills: asked for, held, kept with their archive, and asked for by policy."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask

from tests.support.app import ALICE, RecordingQueue
from tests.support.drills import written_zip
from tests.support.factories import count_rows, make_archive, make_instance, make_job, make_run
from tests.support.odoo_zip import attachments, dump_sql
from webapp.core.errors import Conflict, HoldfastError, NotFound
from webapp.core.reports import Check, CheckState
from webapp.core.restore_plans import DrillReport
from webapp.core.status import (
    ArchiveState,
    DrillPolicy,
    ErrorCode,
    QueueName,
    TaskStatus,
    VerificationStatus,
)
from webapp.engine.shelf import read_side_car
from webapp.services import drill_policies, drills, tasks
from webapp.services.archives import get_archive, newest_verified
from webapp.services.store import the_shelf
from webapp.services.wiring import wired
from webapp.store.db import db, writing
from webapp.store.models import Archive, AuditEvent, Drill, Job

pytestmark = pytest.mark.usefixtures("service")


def clock() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def job(service: Flask, now: datetime) -> Job:
    return make_job(make_instance(now), now)


def placed(job: Job, now: datetime, dump: str = "", **values: object) -> int:
    """An archive that lies in the store with its manifest; its id."""
    run = make_run(job, now, status=TaskStatus.COMPLETED)
    folder = Path(the_shelf().root) / f"1-acme-prod/{run.id}"
    folder.mkdir(parents=True)
    path = folder / "acme.zip"
    manifest = written_zip(path, dump or good_dump(), files=attachments(2), odoo=True)
    (folder / "manifest.json").write_text(json.dumps(manifest.as_json()))
    assert read_side_car(str(folder)) == manifest
    taken = datetime.fromisoformat(manifest.snapshot_at)
    return make_archive(run, taken, size_bytes=manifest.size_bytes, sha256=manifest.sha256, **values).id


def good_dump() -> str:
    text = dump_sql(attachments(2)).decode()
    return text.split("'search_path', '', false);\n", 1)[1].split("--\n-- PostgreSQL database dump complete")[0]


def set_policy(job: Job, policy: DrillPolicy, value: int = 7) -> None:
    with writing() as session:
        row = session.get_one(Job, job.id)
        row.drill_policy, row.drill_value = policy, value


def after_run(archive: Archive, now: datetime) -> Drill | None:
    with writing() as session:
        return drill_policies.drill_after_run(session, session.get_one(Archive, archive.id), now=now)


def test_a_drill_is_asked_for_once_and_recorded(job: Job, queue: RecordingQueue, now: datetime) -> None:
    archive_id = placed(job, now)

    first = drills.request_drill(archive_id, actor=ALICE, now=now)
    again = drills.request_drill(archive_id, actor=ALICE, now=now)

    assert first.id == again.id
    assert first.queue is QueueName.RESTORES
    assert [entry["task_type"] for entry in queue.pushed] == ["drill"]
    assert [event.event for event in db.session.query(AuditEvent)] == ["archive.drilled"]
    assert drills.latest_drill(archive_id) is first
    with pytest.raises(NotFound):
        drills.request_drill(999, actor=ALICE, now=now)


def test_what_is_not_stored_is_not_drilled(job: Job, now: datetime) -> None:
    archive_id = placed(job, now, state=ArchiveState.TRASHED)

    with pytest.raises(Conflict, match="trashed"):
        drills.request_drill(archive_id, actor=ALICE, now=now)


def test_a_drill_is_held_and_its_answers_are_kept_with_the_archive(job: Job, now: datetime) -> None:
    instance_id = job.instance_id
    archive_id = placed(job, now)
    with writing() as session:
        session.get_one(Job, job.id).drill_checks = [{"query": "SELECT count(*) FROM res_partner", "expected": "3"}]
    number = drills.request_drill(archive_id, actor=ALICE, now=clock()).id

    drills.execute_drill(number, clock=clock)

    drill, kept = drills.get_drill(number), get_archive(archive_id)
    assert drill.status is TaskStatus.COMPLETED, drill.error_message
    assert drill.facts["level"] == "usable"
    assert [check["key"] for check in drill.checks][-1] == "own_1"
    assert kept.drill_status is VerificationStatus.PASSED
    assert kept.drill_report == drill.checks == tasks.checks_of(drill)
    assert kept.drill_seconds == drill.seconds == drills.measured_restore_seconds(instance_id)
    assert drills.measured_restore_seconds(instance_id, "other") is None
    facts = drills.newest_drills([instance_id, 99])[instance_id]
    assert (facts.archive_id, facts.passed, facts.seconds) == (archive_id, True, kept.drill_seconds)
    assert list(wired().drills.iterdir()) == []


def test_a_failed_drill_takes_the_archive_out_of_what_counts(job: Job, now: datetime) -> None:
    instance_id = job.instance_id
    archive_id = placed(job, now, good_dump() + "SELECT 1/0;\n")
    number = drills.request_drill(archive_id, actor=ALICE, now=clock()).id

    drills.execute_drill(number, clock=clock)

    drill, kept = drills.get_drill(number), get_archive(archive_id)
    assert drill.status is TaskStatus.FAILED
    assert drill.error_code is ErrorCode.DRILL_FAILED
    assert "division by zero" in drill.error_message
    assert drill.checks
    assert kept.drill_status is VerificationStatus.FAILED
    assert newest_verified(instance_id, "acme") is None
    assert drills.measured_restore_seconds(instance_id) is None
    assert not drills.newest_drills([instance_id])[instance_id].passed


def test_a_drill_that_cannot_be_held_says_nothing_about_the_archive(job: Job, now: datetime) -> None:
    dump = "CREATE EXTENSION IF NOT EXISTS postgis WITH SCHEMA public;\n" + good_dump()
    archive_id = placed(job, now, dump)
    number = drills.request_drill(archive_id, actor=ALICE, now=clock()).id

    drills.execute_drill(number, clock=clock)

    drill = drills.get_drill(number)
    assert drill.status is TaskStatus.FAILED
    assert drill.error_code is ErrorCode.DRILL_IMPOSSIBLE
    assert "postgis" in drill.error_message
    assert get_archive(archive_id).drill_status is VerificationStatus.NOT_RUN


def test_by_policy_each_verified_archive_or_every_third_is_drilled(job: Job, now: datetime) -> None:
    runs = [make_run(job, now, status=TaskStatus.COMPLETED) for _ in range(7)]

    assert after_run(make_archive(runs[0], now), now) is None
    set_policy(job, DrillPolicy.EACH)
    assert after_run(make_archive(runs[1], now), now) is not None
    assert after_run(make_archive(runs[2], now, verification_status=VerificationStatus.FAILED), now) is None
    set_policy(job, DrillPolicy.SAMPLED, 3)
    sampled = [after_run(make_archive(run, now), now) is not None for run in runs[3:7]]

    assert sampled == [False, False, True, False]


def test_by_schedule_the_newest_good_archive_of_each_database_is_drilled(job: Job, now: datetime) -> None:
    set_policy(job, DrillPolicy.SCHEDULED, 7)
    old, new, bad = (make_run(job, now, status=TaskStatus.COMPLETED) for _ in range(3))
    make_archive(old, now - timedelta(days=2))
    newest = make_archive(new, now - timedelta(days=1)).id
    make_archive(bad, now, verification_status=VerificationStatus.FAILED)

    asked = [drill_policies.request_due_drills(now + timedelta(days=days)) for days in (0, 1, 8)]

    assert asked == [1, 0, 0]  # after 8 days the first one still waits for a worker
    assert [drill.archive_id for drill in db.session.query(Drill)] == [newest]
    tasks.cancel(db.session.query(Drill).one().id, actor=ALICE, now=now)
    assert drill_policies.request_due_drills(now + timedelta(days=6)) == 0
    assert drill_policies.request_due_drills(now + timedelta(days=8)) == 1
    assert count_rows(Drill) == 2


def test_a_report_without_questions_is_no_pass(job: Job, now: datetime) -> None:
    archive = make_archive(make_run(job, now, status=TaskStatus.COMPLETED), now)
    warned = Check("x", "X", CheckState.WARNING)

    with writing():
        drills.record_drill(archive, DrillReport((), 1.0, 0.5), now=now)
        nothing = archive.drill_status
        drills.record_drill(archive, DrillReport((warned,), 1.0, 0.5), now=now)

    assert nothing is VerificationStatus.FAILED
    assert archive.drill_status is VerificationStatus.PASSED


def test_errors_of_drills_are_sentences(job: Job, now: datetime) -> None:
    error = drills._verdict(7, DrillReport((Check("a", "Rows per table", CheckState.FAILED, "9 of 10."),), 61, 60))

    assert isinstance(error, HoldfastError)
    assert error.message == "The restore drill of restore point 7 failed after 1 min 01 s: Rows per table: 9 of 10."
