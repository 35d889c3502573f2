"""Executing a task: claim it, run its body under a lease, and settle it exactly once.

The one broad ``except`` of the worker's side is here: whatever a body raises becomes a failed task with a code, a sentence
and a hint, or a pending one again when a retry is due. A body never settles its own task; it returns what to store with the
final status, so that status and result become true in one transaction.
"""

from __future__ import annotations

import logging
import os
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from webapp.core.errors import HoldfastError
from webapp.core.status import ErrorCode, TaskStatus
from webapp.logs import bound_task
from webapp.services.reporting import Limits, TaskReporter, lease_lost_stop
from webapp.services.targets import take_target, target_of, wake_waiting
from webapp.services.tasks import get_task, ring
from webapp.services.wiring import wired
from webapp.store.claims import Holder, claim_task, release_target, update_held
from webapp.store.db import db, release, writing
from webapp.store.models import Restore, Task

logger = logging.getLogger(__name__)

BUSY_TARGET_SECONDS = 30
LONGEST_BACKOFF_SECONDS = 3600
MOST_SHUTDOWNS = 3


@dataclass(frozen=True, slots=True)
class Pause:
    """Neither an end nor a failure: the task waits for something else, and this attempt is not counted.

    Attributes:
        until: When it looks again by itself; the end of a task on the same instance may wake it before.
        message: What it waits for: "Waiting: safety backup (run 418)".
    """

    until: datetime
    message: str


@dataclass(slots=True)
class Outcome:
    """What a body answers.

    Attributes:
        values: Columns of the task to store with its final status.
        store: Called inside the final transaction, after the task is settled: add rows that belong to the result.
        error: Set when the work ended badly though nothing was raised (a verification that failed).
        ring: Ids of tasks added by ``store`` are appended here by it, and rung after the commit.
        undo: Called when the lease turned out lost, so that the result does not count: remove what was made.
        pause: Set when the task is not done but has to wait; ``values`` and ``store`` count, the task stays open.
        irrevocable: What was done cannot be undone, so a wish to stop that came too late is not heard.
    """

    values: dict[str, Any] = field(default_factory=dict)
    store: Callable[[Session], None] | None = None
    error: HoldfastError | None = None
    ring: list[int] = field(default_factory=list)
    undo: Callable[[], None] | None = None
    pause: Pause | None = None
    irrevocable: bool = False


Body = Callable[[int, TaskReporter], Outcome]


def execute(
    task_id: int,
    body: Body,
    *,
    clock: Callable[[], datetime],
    on_failure: Callable[[Session, Task], None] | None = None,
) -> None:
    """Run ``body`` for the task if we can claim it; quietly nothing otherwise.

    ``on_failure`` runs inside the transaction that settles the task as failed for good.
    """
    holder = _claim(task_id, clock())
    if holder is None:
        return
    task = get_task(task_id)
    name = task.queue_task_id or f"task-{task_id}"
    limits = Limits(wired().lease_seconds, wired().heartbeat_seconds, task.time_limit_seconds)
    attempt, most = task.attempt, task.max_attempts
    with bound_task(name):
        reporter = TaskReporter(holder, limits, clock=clock)
        release()
        logger.info("started, attempt %s of %s", attempt, most)
        if attempt > 1:
            reporter.log(f"Attempt {attempt} of {most}", "head")
        outcome, error = _work(task_id, body, reporter)
        if error is None and outcome is not None:
            error = _settle_success(holder, reporter, outcome, clock())
        if error is not None and _settle_error(holder, reporter, error, clock(), on_failure):
            _undo(outcome)
        release()


def _undo(outcome: Outcome | None) -> None:
    """Remove what a body made that was told to stop after its last look; certainly ours, since the failure was stored."""
    if outcome is not None and outcome.undo is not None:
        outcome.undo()


def _work(task_id: int, body: Body, reporter: TaskReporter) -> tuple[Outcome | None, HoldfastError | None]:
    outcome: Outcome | None = None
    error: HoldfastError | None = None
    try:
        with reporter:
            outcome = body(task_id, reporter)
            if not outcome.irrevocable:
                reporter.check()
    except HoldfastError as raised:
        error = reporter.stopped or raised
    except Exception as raised:  # the worker's side of the three broad excepts
        logger.exception("the task's body raised")
        error = reporter.stopped or _internal(raised)
    if error is not None:
        db.session.rollback()
    for said in (error, outcome.error if outcome is not None else None):
        if said is not None:  # what the other side answered may be in it
            said.message, said.hint = reporter.clean(said.message), reporter.clean(said.hint)
    return outcome, error


def _internal(error: Exception) -> HoldfastError:
    return HoldfastError(
        f"Something unexpected went wrong inside Holdfast: {type(error).__name__}.",
        hint="The worker's log has the details. Please report this with the lines around it.",
        code=ErrorCode.INTERNAL,
    )


def _claim(task_id: int, now: datetime) -> Holder | None:
    """Claim the task, and the target that it must have to itself; a busy target puts it back for later."""
    owner = f"{socket.gethostname()[:50]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    lease = now + timedelta(seconds=wired().lease_seconds)
    with writing() as session:
        holder = claim_task(session, task_id, owner, now=now, lease_until=lease)
        if holder is None:
            return None
        task = get_task(task_id)
        target = target_of(task)
        if target is None or take_target(session, holder, target, now=now):
            return holder
        later = now + timedelta(seconds=BUSY_TARGET_SECONDS)
        update_held(session, holder, {**_pending_again(later, task.attempt - 1), "progress_message": target.busy})
        return None


def _pending_again(not_before: datetime, attempt: int) -> dict[str, Any]:
    return {
        "status": TaskStatus.PENDING,
        "not_before": not_before,
        "attempt": attempt,
        "lease_until": None,
        "owner": "",
        "progress_percent": None,
    }


def _settle_success(holder: Holder, reporter: TaskReporter, outcome: Outcome, now: datetime) -> HoldfastError | None:
    """Final status (or a pause) and result in one transaction; an error when the lease was lost meanwhile."""
    values = {**outcome.values, **_closing_values(holder, outcome, reporter.warnings, now)}
    columns = {key: value for key, value in values.items() if hasattr(Task, key)}
    with writing() as session:
        if reporter.write_gathered(session, **columns):
            task = get_task(holder.task_id)
            for key, value in values.items():
                if key not in columns:
                    setattr(task, key, value)
            if outcome.store is not None:
                outcome.store(session)
            release_target(session, holder.task_id)
            freed = wake_waiting(session, task, now)
            settled = True
        else:
            settled, freed = False, []
    if not settled:
        if outcome.undo is not None:
            outcome.undo()
        return lease_lost_stop()
    logger.info("ended: %s", values["status"].value)
    ring([*outcome.ring, *freed])
    return None


def _closing_values(holder: Holder, outcome: Outcome, warnings: list[dict[str, str]], now: datetime) -> dict[str, Any]:
    if outcome.pause is None:
        return final_values(outcome, warnings, now)
    again = _pending_again(outcome.pause.until, get_task(holder.task_id).attempt - 1)
    return {**again, "progress_message": outcome.pause.message[:255]}


def final_values(outcome: Outcome, warnings: list[dict[str, str]], now: datetime) -> dict[str, Any]:
    """The columns of a settled task."""
    status = TaskStatus.COMPLETED_WITH_WARNINGS if warnings else TaskStatus.COMPLETED
    values: dict[str, Any] = {
        "error_code": ErrorCode(warnings[0]["code"]) if warnings else None,
        "error_message": warnings[0]["message"] if warnings else "",
        "hint": "",
        "progress_percent": 100,
    }
    if outcome.error is not None:
        status = TaskStatus.FAILED
        values.update(error_columns(outcome.error), progress_percent=None)
    return {
        **values,
        "status": status,
        "completed_at": now,
        "warnings": warnings,
        "lease_until": None,
        "not_before": None,
        "progress_message": "",
    }


def error_columns(error: HoldfastError) -> dict[str, Any]:
    """An error as columns."""
    return {"error_code": error.code, "error_message": error.message, "hint": error.hint}


def _settle_error(
    holder: Holder,
    reporter: TaskReporter,
    error: HoldfastError,
    now: datetime,
    on_failure: Callable[[Session, Task], None] | None,
) -> bool:
    """Failed for good, or pending again when a retry is due. False, the lease being lost: nothing, another settles it."""
    reporter.log(error.message, "error")
    with writing() as session:
        task = get_task(holder.task_id)
        again = retry_values(task, error, now)
        values = again or {
            **error_columns(error),
            "status": TaskStatus.FAILED,
            "completed_at": now,
            "warnings": reporter.warnings,
            "lease_until": None,
            "progress_message": "",
            "progress_percent": None,
        }
        if error.code is ErrorCode.CANCELLED:
            values = {**values, **cancelled_words(task, now), "completed_at": None if again else now}
        if not reporter.write_gathered(session, **values):
            logger.warning("could not settle: the lease was lost (%s)", error.code.value)
            return False
        release_target(session, holder.task_id)
        freed = wake_waiting(session, task, now)
        if again is None and on_failure is not None:
            session.expire(task)
            on_failure(session, task)
    logger.warning("ended: %s: %s%s", error.code.value, error.message, " (will be tried again)" if again else "")
    ring(freed)
    return True


def cancelled_words(task: Task, now: datetime) -> dict[str, Any]:
    """Who cancelled it."""
    by = task.cancelled_by
    return {"error_message": f"Cancelled by {by}." if by else "Cancelled.", "hint": "", "completed_at": now}


def retry_values(task: Task, error: HoldfastError, now: datetime) -> dict[str, Any] | None:
    """Columns that make the task pending again, or None when it failed for good.

    A shutdown is no fault of the task, so that attempt is not counted; it is repeated a few times at most. A restore that
    may have left its target half done is taken up again whatever happened, to look and to settle.
    """
    if isinstance(task, Restore) and task.must_settle and task.attempt < task.max_attempts:
        message = "The target is looked at, and what was begun there is finished or undone."
        return {**_again_later(task, error, now), "cancel_requested_at": None, "progress_message": message}
    if task.cancel_requested_at is not None:
        return None
    if error.code is ErrorCode.SHUTDOWN:
        shutdowns = int(task.details.get("shutdowns", 0)) + 1
        if shutdowns > MOST_SHUTDOWNS:
            return None
        values = _pending_again(now, task.attempt)
        return {
            **values,
            "details": {**task.details, "shutdowns": shutdowns},
            "max_attempts": task.max_attempts + 1,
            "progress_message": "Interrupted by a shutdown; starts again.",
        }
    if error.permanent or task.attempt >= task.max_attempts:
        return None
    message = f"Attempt {task.attempt} of {task.max_attempts} failed; the next one follows."
    return {**_again_later(task, error, now), "progress_message": message}


def _again_later(task: Task, error: HoldfastError, now: datetime) -> dict[str, Any]:
    wait = min(LONGEST_BACKOFF_SECONDS, task.retry_delay_seconds * 2 ** (task.attempt - 1))
    return {**_pending_again(now + timedelta(seconds=wait), task.attempt), **error_columns(error)}
