"""The JSON API: what starts work answers 202 in the standard shape, and the same task can be followed at its URL."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from flask import Flask

from tests.support.app import Browser, RecordingQueue
from tests.support.factories import make_archive, make_instance, make_job, make_run
from webapp.core.status import ArchiveState, ErrorCode, TaskStatus
from webapp.store.db import release

TASKS = "/api/v1/admin/background-tasks"
pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture
def job_id(app: Flask) -> int:
    with app.app_context():
        now = datetime.now(UTC)
        found = make_job(make_instance(now, databases=["acme", "beta"]), now).id
        release()
    return found


def add_run(app: Flask, **values: object) -> int:
    with app.app_context():
        now = datetime.now(UTC)
        found = make_run(make_job(make_instance(now), now), now, **values).id
        release()
    return found


def test_run_now_answers_202_and_says_where_to_look(bob: Browser, job_id: int, queue: RecordingQueue) -> None:
    answer = bob.submit_json(f"/api/v1/jobs/{job_id}/run", {})

    assert answer.status_code == 202
    body = answer.json
    assert {key: body[key] for key in ("task_type", "status", "message")} == {
        "task_type": "backup",
        "status": "pending",
        "message": "Task queued successfully",
    }
    assert body["status_url"] == f"{TASKS}/{body['job_id']}"
    assert [one["job_id"] for one in body["tasks"]] == [entry["task_id"] for entry in queue.pushed]
    assert len(body["tasks"]) == 2
    followed = bob.get(body["status_url"]).json
    assert (followed["id"], followed["triggered_by"]) == (body["job_id"], "api:bob")
    assert {"progress_percent", "progress_message", "started_at", "completed_at", "error_message", "details"} <= set(
        followed
    )


def test_a_viewer_may_look_and_not_start(charlie: Browser, job_id: int, queue: RecordingQueue) -> None:
    assert charlie.get(TASKS).status_code == 200
    assert charlie.submit_json(f"/api/v1/jobs/{job_id}/run", {}).status_code == 403
    assert queue.pushed == []


def test_nobody_gets_json_without_signing_in(mallory: Browser) -> None:
    answer = mallory.get(TASKS)

    assert (answer.status_code, answer.json["error"]) == (401, "unauthorized")


def test_a_post_without_the_token_is_refused(bob: Browser, job_id: int, queue: RecordingQueue) -> None:
    assert bob.post(f"/api/v1/jobs/{job_id}/run", json={}).status_code == 403
    assert queue.pushed == []


def test_the_list_filters_and_counts(app: Flask, bob: Browser) -> None:
    ended = add_run(app, status=TaskStatus.FAILED, error_code=ErrorCode.TIMEOUT, completed_at=datetime.now(UTC))

    assert [one["id"] for one in bob.get(f"{TASKS}?status=failed&task_type=backup").json["tasks"]] == [ended]
    assert bob.get(f"{TASKS}?status=pending").json == {"tasks": [], "total": 0}
    assert bob.get(f"{TASKS}?status=resting").status_code == 400


def test_a_cancel_ends_a_pending_task_and_a_second_one_is_a_conflict(app: Flask, bob: Browser) -> None:
    run_id = add_run(app)

    first, second = (bob.submit_json(f"{TASKS}/{run_id}/cancel", {}) for _ in range(2))

    assert (first.status_code, first.json["status"], first.json["error_code"]) == (202, "failed", "cancelled")
    assert (second.status_code, second.json["error"]) == (409, "conflict")


def test_an_unknown_task_is_a_json_404(bob: Browser) -> None:
    answer = bob.get(f"{TASKS}/4711")

    assert (answer.status_code, answer.is_json) == (404, True)


@pytest.mark.parametrize("state", [ArchiveState.DELETED, ArchiveState.MISSING])
def test_what_is_not_stored_cannot_be_verified(app: Flask, bob: Browser, state: ArchiveState) -> None:
    with app.app_context():
        now = datetime.now(UTC)
        run = make_run(make_job(make_instance(now), now), now)
        archive_id = make_archive(run, now, state=state).id
        release()

    assert bob.submit_json(f"/api/v1/restore-points/{archive_id}/verify", {}).status_code == 404
