"""Tasks: one registry of types, one list, one way to request, cancel and look at any background work."""

from __future__ import annotations

import builtins
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from webapp.core.actors import Actor
from webapp.core.errors import Conflict, NotFound, QueueDown
from webapp.core.naming import queue_task_id
from webapp.core.status import ACTIVE_STATUSES, ErrorCode, QueueName, TaskStatus, TaskType
from webapp.services import audit
from webapp.services.wiring import wired
from webapp.store.claims import settle_pending
from webapp.store.db import db, writing
from webapp.store.models import (
    ConnectionTest,
    Drill,
    FanOut,
    KeptRemoval,
    Restore,
    RestoreCheck,
    RetentionTask,
    Run,
    SelfBackup,
    SnapshotComparison,
    SnapshotDiscovery,
    SnapshotRemoval,
    SnapshotRestore,
    Task,
    TaskLog,
    Verification,
)

logger = logging.getLogger(__name__)
T = TypeVar("T", bound=Task)


@dataclass(frozen=True, slots=True)
class TaskKind:
    """What the house knows about a type of task: its words, its queue, its table."""

    type: TaskType
    word: str
    queue: QueueName
    model: builtins.type[Task]
    id_prefix: str


TASK_KINDS: dict[TaskType, TaskKind] = {
    kind.type: kind
    for kind in (
        TaskKind(TaskType.BACKUP, "Backup", QueueName.BACKUPS, Run, "run"),
        TaskKind(TaskType.FAN_OUT, "Find databases", QueueName.DEFAULT, FanOut, "fan_out"),
        TaskKind(TaskType.CONNECTION_TEST, "Connection test", QueueName.DEFAULT, ConnectionTest, "test"),
        TaskKind(TaskType.VERIFICATION, "Verification", QueueName.DEFAULT, Verification, "verify"),
        TaskKind(TaskType.RETENTION, "Retention", QueueName.DEFAULT, RetentionTask, "retention"),
        TaskKind(TaskType.RESTORE_CHECK, "Restore check", QueueName.RESTORES, RestoreCheck, "restore_check"),
        TaskKind(TaskType.RESTORE, "Restore", QueueName.RESTORES, Restore, "restore"),
        TaskKind(TaskType.KEPT_REMOVAL, "Remove kept database", QueueName.RESTORES, KeptRemoval, "kept_removal"),
        TaskKind(TaskType.DRILL, "Restore drill", QueueName.RESTORES, Drill, "drill"),
        TaskKind(TaskType.SELF_BACKUP, "Self-backup", QueueName.DEFAULT, SelfBackup, "self_backup"),
        TaskKind(TaskType.SNAPSHOT_DISCOVERY, "Find snapshots", QueueName.DEFAULT, SnapshotDiscovery, "discovery"),
        TaskKind(TaskType.SNAPSHOT_REMOVAL, "Remove snapshot", QueueName.DEFAULT, SnapshotRemoval, "removal"),
        TaskKind(TaskType.SNAPSHOT_COMPARISON, "Compare with host", QueueName.DEFAULT, SnapshotComparison, "compare"),
        TaskKind(TaskType.SNAPSHOT_RESTORE, "Restore files", QueueName.RESTORES, SnapshotRestore, "restore_files"),
    )
}


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks to list; None and "" mean any. Newest first."""

    type: TaskType | None = None
    status: TaskStatus | None = None
    instance_id: int | None = None
    offset: int = 0
    limit: int = 50


def request(task: Task, *, now: datetime) -> Task:
    """Store a new pending task, then ring the queue. Redis away: the task waits, and reconciling pushes it later."""
    with writing() as session:
        add(task, now=now)
        session.flush()
    ring([task.id])
    return task


def add(task: Task, *, now: datetime) -> None:
    """Add a pending task to the session of the caller's ``writing()``; ring its id after the commit."""
    task.queue = TASK_KINDS[TaskType(task.type)].queue
    task.status = TaskStatus.PENDING
    task.created_at = now
    db.session.add(task)


def ring(task_ids: Iterable[int]) -> None:
    """Push pending tasks to the queue now. Never raises: the database is the calendar, the queue only a bell."""
    for task in _load(task_ids):
        try:
            push(task)
        except QueueDown as error:
            logger.warning("task %s waits: %s", task.id, error.message)
            return


def push(task: Task, at: datetime | None = None) -> None:
    """Push one pending task, now or at a time. Raises QueueDown."""
    kind = TASK_KINDS[task.type]
    name = next_queue_task_id(task)
    words = {
        "queue": kind.queue.value,
        "task_type": task.type.value,
        "task_id": task.id,
        "queue_task_id": name,
        "description": task.title,
    }
    if at is None:
        wired().queue.push(**words)  # type: ignore[arg-type]
    else:
        wired().queue.push_later(at=at, **words)  # type: ignore[arg-type]
    if task.queue_task_id != name:
        with writing() as session:
            session.execute(sa.update(Task).where(Task.id == task.id).values(queue_task_id=name))


def next_queue_task_id(task: Task) -> str:
    """RQ's id of the task's next attempt, e.g. "run-418", then "run-418-2"."""
    return queue_task_id(TASK_KINDS[task.type].id_prefix, task.id, task.attempt + 1)


def _load(task_ids: Iterable[int]) -> Sequence[Task]:
    wanted = list(task_ids)
    return db.session.scalars(
        sa.select(Task).where(Task.id.in_(wanted), Task.status == TaskStatus.PENDING).order_by(Task.id)
    ).all()


def get_task(task_id: int) -> Task:
    """The task, of whatever type. Raises NotFound."""
    task = db.session.get(Task, task_id, populate_existing=True)
    if task is None:
        raise NotFound(f"There is no task {task_id}.")
    return task


def find_newest(model: builtins.type[T], *conditions: sa.ColumnElement[bool]) -> T | None:
    """The newest task of a type, whatever its state, for which the conditions hold; as it is now."""
    query = sa.select(model).where(*conditions).order_by(model.id.desc()).limit(1)
    return db.session.scalar(query.execution_options(populate_existing=True))


def find_active(model: builtins.type[T], *conditions: sa.ColumnElement[bool]) -> T | None:
    """The one that waits or runs: what to answer instead of asking for the same twice, inside the caller's ``writing()``."""
    return find_newest(model, *conditions, model.status.in_(ACTIVE_STATUSES))


def list_tasks(wanted: TaskFilter) -> tuple[Sequence[Task], int]:
    """One page of tasks, newest first, and how many there are in all."""
    query = sa.select(Task)
    if wanted.type is not None:
        query = query.where(Task.type == wanted.type)
    if wanted.status is not None:
        query = query.where(Task.status == wanted.status)
    if wanted.instance_id is not None:
        query = query.where(Task.instance_id == wanted.instance_id)
    total = db.session.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0
    page = query.order_by(Task.id.desc()).offset(wanted.offset).limit(wanted.limit)
    return db.session.scalars(page).all(), total


def list_log(task_id: int, after: int = 0, limit: int = 2000) -> Sequence[TaskLog]:
    """Log lines after line ``after``, in order."""
    query = sa.select(TaskLog).where(TaskLog.task_id == task_id, TaskLog.n > after).order_by(TaskLog.n).limit(limit)
    return db.session.scalars(query).all()


def count_log_lines(task_id: int) -> int:
    """How many lines the log has."""
    return db.session.scalar(sa.select(sa.func.max(TaskLog.n)).where(TaskLog.task_id == task_id)) or 0


def checks_of(task: Task) -> list[dict[str, Any]]:
    """The checks that a connection test, a restore, a drill or a verification made, as JSON; [] for others."""
    if isinstance(task, ConnectionTest | RestoreCheck | Restore | Drill | SnapshotComparison):
        return list(task.checks)
    return list(task.details.get("checks", []))


def cancel(task_id: int, *, actor: Actor, now: datetime) -> Task:
    """Cancel at any phase: a pending task ends at once, a running one is told and cleans up. Raises Conflict when final."""
    by = actor.username
    with writing() as session:
        task = get_task(task_id)
        if task.status.is_final:
            raise Conflict(f"Task {task_id} has already ended.")
        if isinstance(task, Restore) and task.must_settle and task.status is TaskStatus.PENDING:
            raise Conflict(
                f"Restore {task_id} cannot be cancelled now: its target has to be put in order first.",
                hint="Wait until it has ended; then it says what the target is.",
            )
        task.cancel_requested_at = task.cancel_requested_at or now
        task.cancelled_by = task.cancelled_by or by
        session.flush()
        if settle_pending(session, task_id, cancelled_values(by, now)):
            session.expire(task)
        audit.record(actor, "task.cancelled", subject_kind="task", subject_id=task_id, subject_name=task.title, now=now)
    ended = get_task(task_id)
    if ended.queue_task_id and ended.status.is_final:
        _forget(ended.queue_task_id)
    return ended


def cancelled_values(by: str, now: datetime) -> dict[str, object]:
    """What a cancelled task's row says."""
    return {
        "status": TaskStatus.FAILED,
        "error_code": ErrorCode.CANCELLED,
        "error_message": f"Cancelled by {by}." if by else "Cancelled.",
        "hint": "",
        "completed_at": now,
        "lease_until": None,
        "progress_message": "",
    }


def _forget(name: str) -> None:
    try:
        wired().queue.drop(name)
    except QueueDown as error:
        logger.warning("%s stays in the queue: %s", name, error.message)
