"""Alive and ready."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask

from tests.support.app import Browser, RecordingQueue
from tests.support.factories import make_instance, make_job
from webapp.core.reports import CheckState
from webapp.services import health
from webapp.services.wiring import Wiring
from webapp.store.db import db


def beat(app: Flask, *, seconds_ago: int = 1) -> None:
    now = datetime.now(UTC)
    with app.app_context():
        health.record_beat("scheduler", "scheduler-1", started_at=now, now=now - timedelta(seconds=seconds_ago))


def test_alive_asks_nobody(mallory: Browser, queue: RecordingQueue) -> None:
    queue.down = True

    assert mallory.get("/healthz").text == "ok\n"


def test_ready_when_everything_runs(app: Flask, mallory: Browser) -> None:
    beat(app)

    answer = mallory.get("/readyz")

    assert answer.status_code == 200
    assert answer.json["ready"] is True
    assert set(answer.json["checks"]) == {"database", "migrations", "redis", "workers", "scheduler", "calendar", "disk"}


def test_a_stranger_learns_no_addresses_from_it(app: Flask, mallory: Browser, queue: RecordingQueue) -> None:
    queue.down = True

    text = mallory.get("/readyz").text

    assert "/tmp" not in text
    assert "127.0.0.1" not in text


@pytest.mark.parametrize(("seconds", "state"), [(34, CheckState.PASSED), (36, CheckState.FAILED)])
def test_a_silent_scheduler_is_told_within_a_minute(
    service: Flask, now: datetime, seconds: int, state: CheckState
) -> None:
    health.record_beat("scheduler", "one", started_at=now, now=now)

    report = health.check(now + timedelta(seconds=seconds))

    assert {check.key: check.state for check in report.checks}["scheduler"] is state


def test_redis_away_and_no_worker_are_said_plainly(service: Flask, now: datetime, queue: RecordingQueue) -> None:
    health.record_beat("scheduler", "one", started_at=now, now=now)
    queue.down = True
    assert health.check(now).line == "Redis cannot be reached."

    queue.down = False
    queue.workers = 0
    assert health.check(now).line == "No worker is running, so nothing is backed up."
    assert not health.check(now).ready

    queue.workers = 1
    assert health.check(now).line == "Everything that Holdfast needs is running."


def test_a_database_that_is_not_migrated_is_not_ready(service: Flask, now: datetime) -> None:
    with db.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")

    problems = {check.key for check in health.check(now).problems}

    assert "migrations" in problems


def test_an_archive_disk_that_is_not_mounted_is_said_plainly(service: Flask, now: datetime, wiring: Wiring) -> None:
    health.record_beat("scheduler", "one", started_at=now, now=now)
    (wiring.archive_directory / ".holdfast-store").unlink()

    assert "is not the store" in health.check(now).line


def test_a_process_that_ended_leaves_no_beat(service: Flask, now: datetime) -> None:
    health.record_beat("scheduler", "one", started_at=now, now=now)
    health.record_beat("scheduler", "two", started_at=now, now=now - timedelta(seconds=5))

    health.end_beat("one")

    assert health.newest_beat("scheduler") == now - timedelta(seconds=5)


def test_an_admin_sees_health_on_the_settings_page(alice: Browser, queue: RecordingQueue) -> None:
    queue.down = True

    page = alice.get("/settings").text

    assert "Redis cannot be reached." in page
    assert "The scheduler is not running" in page


def test_a_scheduler_that_beats_and_gets_nowhere_is_said(service: Flask, now: datetime) -> None:
    make_job(make_instance(now), now, cron="* * * * *")
    late = now + timedelta(minutes=4)
    health.record_beat("scheduler", "one", started_at=now, now=late)
    assert health.check(now + timedelta(minutes=2)).checks[-2].state is CheckState.PASSED

    report = health.check(late)

    assert report.line == "1 job is overdue, the first since 20 Nov 09:31 UTC."
    assert not report.ready


def test_workers_that_take_no_backups_are_not_enough(service: Flask, now: datetime, queue: RecordingQueue) -> None:
    health.record_beat("scheduler", "one", started_at=now, now=now)
    queue.listens_to = ("default", "notifications")

    assert health.check(now).line == "No running worker listens to the queue backups, so what waits there is not done."
