"""The calendar: due slots become rows, rows become Runs, Runs reach the queue. Twice is the same as once.

Three steps, each its own transaction, each safe to repeat and to be interrupted, by any number of schedulers:

1. *Settle*: for each job whose next slot is due, insert its slots (unique per job and time) and move the cursor.
2. *Fan out*: for each open slot whose start (with its spread) has come, make the Runs, or a FanOut that finds the databases.
3. *Push*: every pending task that RQ does not know is pushed, now or at its time. A flushed Redis is refilled here.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.orm import Session

from webapp.core.cron import next_after, parse, slots_between
from webapp.core.errors import Conflict, HoldfastError, QueueDown
from webapp.core.status import (
    DatabaseSelection,
    ErrorCode,
    JobKind,
    MissedPolicy,
    OverlapPolicy,
    SlotState,
    TaskStatus,
)
from webapp.services.refreshes import add_refresh
from webapp.services.runs import add_fan_out, add_run, effective_selection, is_job_active
from webapp.services.tasks import next_queue_task_id, push, ring
from webapp.services.wiring import wired
from webapp.store.db import db, release, writing
from webapp.store.models import Instance, Job, Slot, Task

logger = logging.getLogger(__name__)

LATE = timedelta(minutes=10)
FARTHEST_BACK = timedelta(days=7)
CLOCK_JUMP = timedelta(days=1)
MOST_SLOTS = 20_000
MOST_MISSED_ROWS = 200
PUSH_HORIZON = timedelta(minutes=10)
PUSH_BATCH = 2000


def reconcile(now: datetime) -> None:
    """One pass over everything; called at start, and every few seconds by each scheduler."""
    for job_id in _ids(sa.select(Job.id).where(Job.cursor_at > now + CLOCK_JUMP, Job.deleted_at.is_(None))):
        _alone(partial(_wake_from_future, job_id, now), f"job {job_id} cannot be scheduled")
    for job_id in _ids(sa.select(Job.id).where(Job.next_slot_at <= now, Job.deleted_at.is_(None))):
        _alone(partial(settle_job, job_id, now), f"job {job_id} cannot be scheduled")
    for slot_id in _ids(sa.select(Slot.id).where(Slot.state == SlotState.OPEN, Slot.due_at <= now)):
        _alone(partial(fan_out_slot, slot_id, now), f"slot {slot_id} cannot be started")
    push_pending(now)
    release()


def reconcile_job(job_id: int, now: datetime) -> None:
    """Put a job that was just saved on the calendar: its next slot, or none. Call after the commit of the change."""
    with writing() as session:
        job = session.get(Job, job_id)
        if job is not None:
            job.next_slot_at = _next_slot(job, max(job.cursor_at, now) if job.next_slot_at is None else job.cursor_at)
    reconcile(now)


def _wake_from_future(job_id: int, now: datetime) -> None:
    """A clock that was far ahead settled slots that are yet to come; the job counts from now again."""
    with writing() as session:
        job = session.get_one(Job, job_id)
        logger.warning("job %s was settled until %s; it counts from now again", job_id, job.cursor_at)
        settle_new_job(job, now)


def _ids(query: sa.Select[int]) -> Sequence[int]:
    found = db.session.scalars(query).all()
    release()
    return found


def _alone(action: Callable[[], None], failure: str) -> None:
    """One job's trouble is no other's: it is logged, and tried again with the next pass."""
    try:
        action()
    except IntegrityError:  # another scheduler inserted the same rows first: they count
        logger.info("%s: it was there already", failure)
    except HoldfastError as error:
        logger.warning("%s: %s", failure, error.message)
        release()
    except (StatementError, LookupError, ValueError):
        logger.exception(failure)
        release()


def is_paused(instance: Instance, now: datetime) -> bool:
    """Whether the instance's jobs rest now."""
    return instance.paused_at is not None and (instance.paused_until is None or instance.paused_until > now)


def _next_slot(job: Job, after: datetime) -> datetime | None:
    if not job.enabled or job.deleted_at is not None or job.instance.deleted_at is not None:
        return None
    return next_after(parse(job.cron), job.time_zone, after)


def settle_job(job_id: int, now: datetime) -> None:
    """Insert the slots that came due since the cursor; several missed ones leave one to run, the others as missed."""
    with writing() as session:
        job = session.scalar(sa.select(Job).where(Job.id == job_id).with_for_update())
        if job is None or job.next_slot_at is None or job.next_slot_at > now:
            return
        if _next_slot(job, now) is None:
            job.next_slot_at = None
            return
        cursor = max(job.cursor_at, now - FARTHEST_BACK)
        due = slots_between(parse(job.cron), job.time_zone, cursor, now, MOST_SLOTS)
        new = _without_known(session, job, due)
        if new:
            _add_slots(session, job, new, now)
        job.cursor_at = due[-1] if due else now
        job.next_slot_at = _next_slot(job, job.cursor_at)


def _without_known(session: Session, job: Job, due: list[datetime]) -> list[datetime]:
    """The times that have no slot yet: a clock that was set back leads over some a second time."""
    query = sa.select(Slot.scheduled_at).where(
        Slot.job_id == job.id, Slot.scheduled_at >= min(due, default=job.cursor_at)
    )
    known = set(session.scalars(query))
    return [scheduled_at for scheduled_at in due if scheduled_at not in known]


def _add_slots(session: Session, job: Job, due: list[datetime], now: datetime) -> None:
    last, older = due[-1], due[:-1]
    for scheduled_at in older[-MOST_MISSED_ROWS:]:
        session.add(_slot(job, scheduled_at, now, SlotState.MISSED, "Holdfast was not running."))
    if is_paused(job.instance, now):
        session.add(_slot(job, last, now, SlotState.SKIPPED, "The instance is paused."))
    elif now - last > LATE and job.missed_policy is MissedPolicy.SKIP:
        session.add(_slot(job, last, now, SlotState.MISSED, "Holdfast was not running."))
    else:
        slot = _slot(job, last, now, SlotState.OPEN, "")
        slot.missed_count = len(older)
        session.add(slot)
    session.flush()


def _slot(job: Job, scheduled_at: datetime, now: datetime, state: SlotState, note: str) -> Slot:
    return Slot(
        job_id=job.id,
        scheduled_at=scheduled_at,
        due_at=scheduled_at + spread_of(job, scheduled_at),
        state=state,
        note=note,
        created_at=now,
    )


def spread_of(job: Job, scheduled_at: datetime) -> timedelta:
    """How much later than scheduled this slot starts: always the same for the same slot, different between jobs."""
    if job.spread_seconds <= 0:
        return timedelta()
    digest = hashlib.sha256(f"{job.id}:{scheduled_at.isoformat()}".encode()).digest()
    return timedelta(seconds=int.from_bytes(digest[:4], "big") % (job.spread_seconds + 1))


def fan_out_slot(slot_id: int, now: datetime) -> None:
    """Open → fanned out, with its Runs, once."""
    with writing() as session:
        slot = session.scalar(sa.select(Slot).where(Slot.id == slot_id).with_for_update())
        if slot is None or slot.state is not SlotState.OPEN or slot.due_at > now:
            return
        job = slot.job
        if not job.enabled or job.deleted_at is not None or is_paused(job.instance, now):
            slot.state, slot.note = SlotState.SKIPPED, "The job was disabled or paused before it began."
            return
        slot.state = SlotState.FANNED_OUT
        tasks = _tasks_of_slot(session, slot, job, now)
        session.flush()
        pending = [task.id for task in tasks if task.status is TaskStatus.PENDING]
    ring(pending)


def _tasks_of_slot(session: Session, slot: Slot, job: Job, now: datetime) -> list[Task]:
    skip = job.overlap_policy is OverlapPolicy.SKIP and is_job_active(session, job.id, other_than_slot=slot.id)
    selection, databases = effective_selection(job)
    tasks: list[Task]
    if job.kind is JobKind.REFRESH:
        tasks = _refresh_of_slot(job, slot, now)
    elif selection is DatabaseSelection.ALL:
        tasks = [add_fan_out(job, slot, triggered_by="scheduled", now=now)]
    else:
        tasks = [add_run(job, name, triggered_by="scheduled", now=now, slot=slot) for name in databases]
    if skip:
        for task in tasks:
            _mark_skipped(task, now)
    return tasks


def _refresh_of_slot(job: Job, slot: Slot, now: datetime) -> list[Task]:
    """The restore of a refresh job; none, and the slot says why, when there is nothing to restore from."""
    try:
        return [add_refresh(job, triggered_by="scheduled", now=now, slot=slot)]
    except Conflict as error:
        logger.warning("refresh job %s: %s", job.id, error.message)
        slot.state, slot.note = SlotState.SKIPPED, error.message[:255]
        return []


def _mark_skipped(task: Task, now: datetime) -> None:
    """A slot that fell onto a run still at work: visible in the history, no alarm, not counted as a success."""
    task.status = TaskStatus.COMPLETED_WITH_WARNINGS
    task.error_code = ErrorCode.SKIPPED_OVERLAP
    task.error_message = "Skipped: the former run of this job was still at work."
    task.hint = "Choose a longer interval, or let runs wait for each other in the job's settings."
    task.completed_at = now


def push_pending(now: datetime) -> int:
    """Push pending tasks that RQ does not know. How many; 0 when Redis is away (the next pass tries again)."""
    query = (
        sa.select(Task)
        .where(Task.status == TaskStatus.PENDING, Task.cancel_requested_at.is_(None))
        .where(sa.or_(Task.not_before.is_(None), Task.not_before <= now + PUSH_HORIZON))
        .order_by(Task.id)
        .limit(PUSH_BATCH)
    )
    tasks = db.session.scalars(query).all()
    pushed = 0
    try:
        known = wired().queue.known([next_queue_task_id(task) for task in tasks]) if tasks else set()
        for task in tasks:
            if next_queue_task_id(task) not in known:
                later = task.not_before if task.not_before is not None and task.not_before > now else None
                push(task, later)
                pushed += 1
    except QueueDown as error:
        logger.warning("%s tasks wait for the queue: %s", len(tasks) - pushed, error.message)
    return pushed


def settle_new_job(job: Job, now: datetime) -> None:
    """A new or re-timed job starts counting now: nothing in the past fires. Inside the caller's ``writing()``."""
    job.cursor_at = now
    job.next_slot_at = _next_slot(job, now)
