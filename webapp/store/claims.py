"""Compare-and-set updates: «one row changed, or another got there first». All run inside the caller's ``writing()``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.core.status import TaskStatus
from webapp.store.models import Instance, TargetLock, Task


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a task: its fence of this claim, and the process that made it."""

    task_id: int
    fence: int
    owner: str


def claim_task(session: Session, task_id: int, owner: str, *, now: datetime, lease_until: datetime) -> Holder | None:
    """Pending → running for exactly one caller; None for all others, and while it is not yet due or was cancelled."""
    found = session.execute(
        sa.update(Task)
        .where(
            Task.id == task_id,
            Task.status == TaskStatus.PENDING,
            Task.cancel_requested_at.is_(None),
            sa.or_(Task.not_before.is_(None), Task.not_before <= now),
        )
        .values(
            status=TaskStatus.RUNNING,
            fence=Task.fence + 1,
            attempt=Task.attempt + 1,
            owner=owner,
            lease_until=lease_until,
            started_at=sa.func.coalesce(Task.started_at, sa.bindparam("claimed_at", now, type_=Task.started_at.type)),
            progress_percent=None,
            progress_message="",
        )
        .returning(Task.fence)
        .execution_options(synchronize_session=False)
    ).scalar_one_or_none()
    return None if found is None else Holder(task_id, found, owner)


def _held(holder: Holder) -> list[sa.ColumnElement[bool]]:
    return [
        Task.id == holder.task_id,
        Task.status == TaskStatus.RUNNING,
        Task.fence == holder.fence,
        Task.owner == holder.owner,
    ]


def update_held(session: Session, holder: Holder, values: dict[str, Any]) -> bool:
    """Write to a task that we still hold. False: the lease was lost, and nothing was written."""
    result = session.execute(
        sa.update(Task).where(*_held(holder)).values(**values).execution_options(synchronize_session=False)
    )
    return bool(result.rowcount == 1)  # type: ignore[attr-defined]


def take_expired(session: Session, task_id: int, fence: int, *, before: datetime, values: dict[str, Any]) -> bool:
    """Settle a running task whose lease ran out before ``before``; False when it lives or another settled it."""
    result = session.execute(
        sa.update(Task)
        .where(
            Task.id == task_id,
            Task.status == TaskStatus.RUNNING,
            Task.fence == fence,
            sa.or_(Task.lease_until.is_(None), Task.lease_until < before),
        )
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    return bool(result.rowcount == 1)  # type: ignore[attr-defined]


def settle_pending(session: Session, task_id: int, values: dict[str, Any]) -> bool:
    """Change a task only while it is still pending."""
    result = session.execute(
        sa.update(Task)
        .where(Task.id == task_id, Task.status == TaskStatus.PENDING)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    return bool(result.rowcount == 1)  # type: ignore[attr-defined]


def acquire_target(
    session: Session, holder: Holder, *, instance_id: int, database: str, exclusive: bool, now: datetime
) -> bool:
    """Lock the target. Exclusive: nobody else on the instance. Shared: nobody else on the database, nobody exclusive."""
    session.execute(sa.select(Instance.id).where(Instance.id == instance_id).with_for_update())
    others = session.scalars(
        sa.select(TargetLock).where(TargetLock.instance_id == instance_id, TargetLock.task_id != holder.task_id)
    ).all()
    if any(exclusive or other.exclusive or other.database_name == database for other in others):
        return False
    release_target(session, holder.task_id)
    session.add(
        TargetLock(
            instance_id=instance_id,
            database_name=database,
            exclusive=exclusive,
            task_id=holder.task_id,
            fence=holder.fence,
            taken_at=now,
        )
    )
    session.flush()
    return True


def release_target(session: Session, task_id: int) -> None:
    """Give the task's locks back; nothing happens when it has none."""
    session.execute(sa.delete(TargetLock).where(TargetLock.task_id == task_id))
