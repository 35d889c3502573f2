"""Targets: no backup of a database while it is being replaced, and one backup of an instance at a time.

Whoever finds the target busy goes back to waiting, and is woken when the one before it ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.core.snapshot_plans import FILES
from webapp.core.status import SnapshotTarget, TaskStatus, TaskType
from webapp.store.claims import Holder, acquire_target, settle_pending
from webapp.store.models import Restore, Run, SnapshotRestore, Task

LOCKING_TYPES = (TaskType.BACKUP, TaskType.RESTORE, TaskType.SNAPSHOT_RESTORE)
WAITING = "Waiting:"
MOST_WOKEN = 4


@dataclass(frozen=True, slots=True)
class Target:
    """What a task works on. ``exclusive``: nobody else on the whole instance meanwhile."""

    instance_id: int
    database: str
    exclusive: bool
    busy: str


def target_of(task: Task) -> Target | None:
    """What the task must have to itself; None for one that shares everything with everybody."""
    if task.instance_id is None:
        return None
    if isinstance(task, Run):
        busy = f"{WAITING} {task.instance_name} runs one backup at a time."
        return Target(task.instance_id, task.database_name, task.exclusive, busy)
    if isinstance(task, SnapshotRestore):
        if task.dry_run or task.target is SnapshotTarget.DIRECTORY:
            return None
        busy = f"{WAITING} another task works on {task.instance_name}."
        return Target(task.instance_id, FILES, False, busy)
    if isinstance(task, Restore):
        busy = f"{WAITING} another task works on {task.instance_name}."
        return Target(task.instance_id, task.target_database, False, busy)
    return None


def take_target(session: Session, holder: Holder, target: Target, *, now: datetime) -> bool:
    """Lock the target for the holder's task; False when it is busy."""
    return acquire_target(
        session,
        holder,
        instance_id=target.instance_id,
        database=target.database,
        exclusive=target.exclusive,
        now=now,
    )


def wake_waiting(session: Session, task: Task, now: datetime) -> list[int]:
    """Tasks that wait for this task's instance may start now; the oldest first. Ring them after the commit."""
    if task.type not in LOCKING_TYPES or task.instance_id is None:
        return []
    query = (
        sa.select(Task.id)
        .where(
            Task.type.in_(LOCKING_TYPES),
            Task.instance_id == task.instance_id,
            Task.id != task.id,
            Task.status == TaskStatus.PENDING,
            Task.not_before > now,
            Task.progress_message.startswith(WAITING),
        )
        .order_by(Task.id)
        .limit(MOST_WOKEN)
    )
    waiting = list(session.scalars(query))
    for task_id in waiting:
        settle_pending(session, task_id, {"not_before": now})
    return waiting
