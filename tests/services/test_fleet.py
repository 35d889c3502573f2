"""The word beside an instance: green is earned, unknown is never shown as fine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.factories import make_archive, make_instance, make_job, make_run
from webapp.core.status import ArchiveState, ErrorCode, SlotState, TaskStatus, VerificationStatus
from webapp.services.fleet import FleetRow, FleetState, list_fleet
from webapp.store.db import db, writing
from webapp.store.models import Job, Slot

NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
pytestmark = pytest.mark.usefixtures("service")


@pytest.fixture
def job(service: Any) -> Job:
    return make_job(make_instance(NOW - timedelta(days=30)), NOW)


def ended(job: Job, hours_ago: float, status: TaskStatus = TaskStatus.COMPLETED, **archive: Any) -> None:
    """A run that ended so long ago; with an archive unless it failed."""
    at = NOW - timedelta(hours=hours_ago)
    code = ErrorCode.CONNECTION_FAILED if status is TaskStatus.FAILED else None
    run = make_run(job, at, status=status, started_at=at, completed_at=at, error_code=code)
    if status is not TaskStatus.FAILED:
        make_archive(run, at, **archive)


def row() -> FleetRow:
    (found,) = list_fleet(NOW)
    return found


def test_a_young_verified_backup_protects(job: Job) -> None:
    ended(job, 3)

    assert (row().state, row().word, row().problem) == (FleetState.PROTECTED, "Protected", "")


def test_a_backup_that_nobody_verified_protects_nobody(job: Job) -> None:
    ended(job, 30)
    ended(job, 3, verification_status=VerificationStatus.NOT_RUN)

    assert row().state is FleetState.OVERDUE


def test_an_unverified_newest_one_is_said_while_an_older_one_still_counts(job: Job) -> None:
    ended(job, 5)
    ended(job, 3, verification_status=VerificationStatus.FAILED)

    assert row().state is FleetState.UNVERIFIED


def test_a_quarantined_archive_does_not_count(job: Job) -> None:
    ended(job, 30)
    ended(job, 3, state=ArchiveState.QUARANTINED)

    assert row().state is FleetState.OVERDUE


def test_a_deleted_or_missing_archive_does_not_count(job: Job) -> None:
    ended(job, 3, state=ArchiveState.MISSING)

    assert row().state is FleetState.OVERDUE


def test_the_newest_run_failed_although_a_good_backup_is_young(job: Job) -> None:
    ended(job, 3)
    ended(job, 1, TaskStatus.FAILED)

    assert row().state is FleetState.FAILED


def test_each_database_must_be_young_by_itself(job: Job) -> None:
    ended(job, 3)
    at = NOW - timedelta(hours=40)
    make_archive(make_run(job, at, database_name="demo", status=TaskStatus.COMPLETED, started_at=at), at)

    found = row()

    assert found.state is FleetState.OVERDUE
    assert found.problem == "No verified backup for 1 d 16 h (target 26 h)."


def test_a_job_that_never_ran_is_overdue_after_the_target(job: Job) -> None:
    assert row().state is FleetState.OVERDUE


def test_a_new_instance_has_simply_never_run(service: Any) -> None:
    make_job(make_instance(NOW - timedelta(hours=1)), NOW)

    assert row().state is FleetState.NEW


def test_a_cancelled_run_alarms_nobody(job: Job) -> None:
    ended(job, 3)
    make_run(job, NOW, status=TaskStatus.FAILED, started_at=NOW, error_code=ErrorCode.CANCELLED)

    assert row().state is FleetState.PROTECTED


def test_a_paused_instance_rests(job: Job) -> None:
    ended(job, 1, TaskStatus.FAILED)
    with writing():
        job.instance.paused_at = NOW

    assert row().state is FleetState.PAUSED


def test_a_failure_of_a_job_that_was_deleted_is_history(job: Job) -> None:
    ended(job, 3)
    other = make_job(job.instance, NOW, name="Old one")
    ended(other, 1, TaskStatus.FAILED)
    with writing():
        other.deleted_at = NOW

    assert row().state is FleetState.PROTECTED


def test_missed_slots_stand_in_the_strip(job: Job) -> None:
    ended(job, 3)
    with writing() as session:
        at = NOW - timedelta(hours=1)
        session.add(Slot(job_id=job.id, scheduled_at=at, due_at=at, state=SlotState.MISSED, created_at=NOW))

    found = row()

    assert [mark.kind for mark in found.marks] == ["ok", "miss"]
    assert found.summary == "Last 2 runs: 1 succeeded, 1 missed"


def test_the_fleet_takes_the_same_few_queries_whatever_its_size(service: Any) -> None:
    for number in range(12):
        ended(make_job(make_instance(NOW, f"instance-{number}"), NOW), 3)
    asked: list[str] = []
    sa.event.listen(db.engine, "before_cursor_execute", lambda *args: asked.append(args[2]))

    rows = list_fleet(NOW)

    assert len(rows) == 12
    assert len(asked) < 15, asked
