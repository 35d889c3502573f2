"""Tasks for a worker under test; what they saw is written to files in $HOLDFAST_TEST_NOTES."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from webapp.core.errors import TaskStopped
from webapp.core.status import TaskType
from webapp.queue.jobs import RqJob


def note(name: str, text: str) -> None:
    with (Path(os.environ["HOLDFAST_TEST_NOTES"]) / name).open("a") as file:
        file.write(text + "\n")


def record(task_id: int) -> None:
    """Ends at once."""
    note("done", str(task_id))


def work_long(task_id: int) -> None:
    """Works until it is stopped, as the task wrapper does."""
    note("horse", str(os.getpid()))
    try:
        threading.Event().wait(60)
    except TaskStopped as stop:
        note("stopped", f"{task_id} {stop.code}")
        return
    note("done", str(task_id))


def work_and_stay(task_id: int) -> None:
    """Does not end when asked to."""
    note("horse", str(os.getpid()))
    for _ in range(2):
        try:
            threading.Event().wait(60)
        except TaskStopped:
            note("stopped", str(task_id))


def work_until_told(task_id: int) -> None:
    """Works until a file appears."""
    note("horse", str(os.getpid()))
    go_on = Path(os.environ["HOLDFAST_TEST_NOTES"]) / "go-on"
    while not go_on.exists():
        threading.Event().wait(0.05)
    note("done", str(task_id))


def fail_with_secret(task_id: int) -> None:
    """Raises what should never reach Redis."""
    raise RuntimeError(f"task {task_id}: password hunter2 refused")


class FakeJob(RqJob):
    """The list of functions is the tests'."""

    functions = {
        TaskType.FAN_OUT: "tests.queue.fake_tasks.record",
        TaskType.BACKUP: "tests.queue.fake_tasks.work_long",
        TaskType.VERIFICATION: "tests.queue.fake_tasks.work_and_stay",
        TaskType.CONNECTION_TEST: "tests.queue.fake_tasks.work_until_told",
        TaskType.RETENTION: "tests.queue.fake_tasks.fail_with_secret",
    }
