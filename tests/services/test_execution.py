"""Executing a task: claimed once, settled once, told to stop when it must, tried again when that can help."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.support.app import ALICE, RecordingQueue
from tests.support.factories import make_instance, make_job, make_run
from webapp.core.errors import HoldfastError, SourceError, TaskStopped
from webapp.core.status import ErrorCode, StepStatus, TaskStatus
from webapp.services import sweeper, tasks
from webapp.services.execution import Outcome, execute
from webapp.services.reporting import TaskReporter
from webapp.services.wiring import Wiring, install, wired
from webapp.store.claims import claim_task
from webapp.store.db import db, release, writing
from webapp.store.models import Run, TargetLock, Task, TaskLog, TaskStep

NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
pytestmark = pytest.mark.usefixtures("service")


def clock() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def run(service: Flask) -> Run:
    return make_run(make_job(make_instance(NOW), NOW), clock())


def again(run_id: int) -> Run:
    db.session.commit()
    return db.session.get_one(Run, run_id, populate_existing=True)


def done(_task_id: int, reporter: TaskReporter) -> Outcome:
    reporter.step("connect", "Connect")
    reporter.log("hello")
    return Outcome()


def failing(error: HoldfastError) -> Callable[[int, TaskReporter], Outcome]:
    def body(_task_id: int, reporter: TaskReporter) -> Outcome:
        reporter.step("connect", "Connect")
        raise error

    return body


def test_a_body_that_returns_completes_its_task(run: Run) -> None:
    execute(run.id, done, clock=clock)

    ended = again(run.id)
    assert (ended.status, ended.attempt, ended.fence, ended.progress_percent) == (TaskStatus.COMPLETED, 1, 1, 100)
    assert ended.lease_until is None
    steps = db.session.scalars(sa.select(TaskStep)).all()
    assert [(step.key, step.status) for step in steps] == [("connect", StepStatus.COMPLETED)]
    assert [line.message for line in db.session.scalars(sa.select(TaskLog).order_by(TaskLog.n))] == ["Connect", "hello"]


def test_a_warning_makes_the_end_yellow(run: Run) -> None:
    def body(_task_id: int, reporter: TaskReporter) -> Outcome:
        reporter.warn(ErrorCode.ATTACHMENTS_MISSING, "3 files are missing.")
        return Outcome()

    execute(run.id, body, clock=clock)

    ended = again(run.id)
    assert ended.status is TaskStatus.COMPLETED_WITH_WARNINGS
    assert (ended.error_code, ended.warnings[0]["message"]) == (ErrorCode.ATTACHMENTS_MISSING, "3 files are missing.")


def test_only_one_of_many_workers_executes(run: Run, app: Flask) -> None:
    executed: list[int] = []

    def body(task_id: int, reporter: TaskReporter) -> Outcome:
        executed.append(task_id)
        return Outcome()

    def worker() -> None:
        with app.app_context():
            execute(run.id, body, clock=clock)

    threads = [threading.Thread(target=worker) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert executed == [run.id]
    assert again(run.id).fence == 1


def test_an_error_is_a_failed_task_with_code_sentence_and_hint(run: Run) -> None:
    error = SourceError("The password is wrong.", hint="Enter it again.", code=ErrorCode.AUTH_FAILED, permanent=True)

    execute(run.id, failing(error), clock=clock)

    ended = again(run.id)
    assert (ended.status, ended.error_code) == (TaskStatus.FAILED, ErrorCode.AUTH_FAILED)
    assert (ended.error_message, ended.hint) == ("The password is wrong.", "Enter it again.")
    assert db.session.scalars(sa.select(TaskStep.status)).all() == [StepStatus.FAILED]


def test_an_unexpected_exception_is_told_without_its_text(run: Run) -> None:
    def body(_task_id: int, reporter: TaskReporter) -> Outcome:
        raise ValueError("hunter2-the-secret")

    execute(run.id, body, clock=clock)

    ended = again(run.id)
    assert ended.error_code is ErrorCode.INTERNAL
    assert "hunter2" not in ended.error_message + ended.hint
    assert "ValueError" in ended.error_message


def test_a_passing_fault_is_tried_again_with_a_growing_wait(run: Run) -> None:
    with writing():
        run.max_attempts, run.retry_delay_seconds = 3, 60

    waits = []
    for _ in range(3):
        execute(run.id, failing(SourceError("Cannot be reached.")), clock=clock)
        ended = again(run.id)
        waits.append(round((ended.not_before - clock()).total_seconds(), -1) if ended.not_before else None)
        with writing():
            again(run.id).not_before = None

    assert waits[:2] == [60, 120]
    ended = again(run.id)
    assert (ended.status, ended.attempt) == (TaskStatus.FAILED, 3)


def test_a_permanent_fault_is_not_tried_again(run: Run) -> None:
    with writing():
        run.max_attempts = 3

    execute(run.id, failing(SourceError("No.", permanent=True)), clock=clock)

    assert again(run.id).status is TaskStatus.FAILED


def test_a_shutdown_puts_the_task_back_without_counting_against_it(run: Run) -> None:
    execute(run.id, failing(TaskStopped("The worker was shut down.", code=ErrorCode.SHUTDOWN)), clock=clock)

    ended = again(run.id)
    assert (ended.status, ended.max_attempts - ended.attempt) == (TaskStatus.PENDING, 1)


def test_a_cancelled_pending_task_never_starts(run: Run, queue: RecordingQueue) -> None:
    tasks.ring([run.id])

    tasks.cancel(run.id, actor=ALICE, now=clock())
    execute(run.id, done, clock=clock)

    ended = again(run.id)
    assert (ended.status, ended.error_code, ended.fence) == (TaskStatus.FAILED, ErrorCode.CANCELLED, 0)
    assert ended.error_message == "Cancelled by alice."
    assert queue.pushed == []


def test_a_running_task_is_told_to_stop_and_its_actions_are_called(run: Run) -> None:
    called = threading.Event()

    def body(task_id: int, reporter: TaskReporter) -> Outcome:
        with reporter.on_stop(called.set):
            tasks.cancel(task_id, actor=ALICE, now=clock())
            release()
            assert called.wait(10)
        reporter.check()
        raise AssertionError("check() must raise")

    execute(run.id, body, clock=clock)

    ended = again(run.id)
    assert (ended.status, ended.error_code) == (TaskStatus.FAILED, ErrorCode.CANCELLED)


def test_the_time_limit_ends_a_task(run: Run) -> None:
    with writing():
        run.time_limit_seconds = 0

    def body(_task_id: int, reporter: TaskReporter) -> Outcome:
        stopped = threading.Event()
        with reporter.on_stop(stopped.set):
            assert stopped.wait(10)
        reporter.check()
        return Outcome()

    execute(run.id, body, clock=clock)

    assert again(run.id).error_code is ErrorCode.TIMEOUT


def test_a_worker_whose_lease_was_taken_stores_nothing(run: Run) -> None:
    undone: list[bool] = []

    def body(task_id: int, reporter: TaskReporter) -> Outcome:
        with writing() as session:
            session.get_one(Task, task_id).fence += 1
        release()
        return Outcome(values={"size_bytes": 5}, undo=lambda: undone.append(True))

    execute(run.id, body, clock=clock)

    ended = again(run.id)
    assert (ended.status, ended.size_bytes, undone) == (TaskStatus.RUNNING, None, [True])


def test_the_sweeper_fails_a_task_whose_worker_is_gone(run: Run) -> None:
    with writing() as session:
        assert claim_task(session, run.id, "gone:1", now=clock(), lease_until=clock() + timedelta(seconds=60))

    sweeper.sweep(clock() + timedelta(seconds=30))
    before = again(run.id).status
    sweeper.sweep(clock() + timedelta(seconds=66))

    ended = again(run.id)
    assert before is TaskStatus.RUNNING
    assert (ended.status, ended.error_code) == (TaskStatus.FAILED, ErrorCode.WORKER_LOST)
    assert db.session.scalars(sa.select(TargetLock)).all() == []


def test_a_heartbeat_keeps_the_lease_while_the_body_works(run: Run, wiring: Wiring) -> None:
    install(replace(wiring, lease_seconds=2, heartbeat_seconds=1))
    leases: list[Any] = []

    def body(task_id: int, reporter: TaskReporter) -> Outcome:
        deadline = time.monotonic() + 15
        while len(set(leases)) < 3 and time.monotonic() < deadline:
            leases.append(again(task_id).lease_until)
            release()
            threading.Event().wait(0.2)
        return Outcome()

    execute(run.id, body, clock=clock)

    assert wired().lease_seconds == 2
    assert len(set(leases)) >= 3
    assert again(run.id).status is TaskStatus.COMPLETED


def test_a_second_run_on_the_same_instance_waits_its_turn(run: Run, queue: RecordingQueue) -> None:
    other = make_run(make_job(run.instance, NOW, name="Hourly"), clock())
    other_id = other.id

    def body(_task_id: int, reporter: TaskReporter) -> Outcome:
        execute(other_id, done, clock=clock)
        waiting = again(other_id)
        assert (waiting.status, waiting.attempt) == (TaskStatus.PENDING, 0)
        assert waiting.progress_message == "Waiting: acme-prod runs one backup at a time."
        release()
        return Outcome()

    execute(run.id, body, clock=clock)

    assert again(run.id).status is TaskStatus.COMPLETED
    assert [entry["task_id"] for entry in queue.pushed] == [other_id]
    execute(other_id, done, clock=clock)
    assert again(other_id).status is TaskStatus.COMPLETED


def test_secrets_known_to_the_reporter_reach_no_log(run: Run) -> None:
    def body(_task_id: int, reporter: TaskReporter) -> Outcome:
        reporter.hide("correct-horse-battery")
        reporter.log("the password is correct-horse-battery")
        return Outcome()

    execute(run.id, body, clock=clock)

    lines = db.session.scalars(sa.select(TaskLog.message)).all()
    assert lines == ["the password is [secret]"]
