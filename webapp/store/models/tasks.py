"""Tasks: any background work, with the standard status and progress fields; every Run is a Task (joined tables)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from webapp.core.status import (
    ArchiveFormat,
    Content,
    ErrorCode,
    QueueName,
    StepStatus,
    TaskStatus,
    TaskType,
    VerificationLevel,
    VerificationStatus,
)
from webapp.store.db import Model
from webapp.store.models.instances import Instance
from webapp.store.models.jobs import Job
from webapp.store.types import EnumText, UtcDateTime


class Task(Model):
    """Base of all tasks.

    ``fence`` grows with every claim; a write by an older holder finds no row. ``lease_until`` is renewed by the holder's
    heartbeat; a running task whose lease ran out is nobody's. ``not_before`` delays (retry, spread, busy target).
    """

    __tablename__ = "task"

    id: Mapped[int] = mapped_column(primary_key=True)
    type: Mapped[TaskType] = mapped_column(EnumText(TaskType), index=True)
    status: Mapped[TaskStatus] = mapped_column(EnumText(TaskStatus, 30), default=TaskStatus.PENDING, index=True)
    title: Mapped[str] = mapped_column(sa.String(200), default="")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    completed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    triggered_by: Mapped[str] = mapped_column(sa.String(100))
    error_code: Mapped[ErrorCode | None] = mapped_column(EnumText(ErrorCode))
    error_message: Mapped[str] = mapped_column(sa.Text, default="")
    hint: Mapped[str] = mapped_column(sa.Text, default="")
    warnings: Mapped[list[dict[str, str]]] = mapped_column(sa.JSON, default=list)
    progress_percent: Mapped[int | None]
    progress_message: Mapped[str] = mapped_column(sa.String(255), default="")

    queue: Mapped[QueueName] = mapped_column(EnumText(QueueName))
    queue_task_id: Mapped[str | None] = mapped_column(sa.String(64), index=True)
    attempt: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int] = mapped_column(default=1)
    retry_delay_seconds: Mapped[int] = mapped_column(default=300)
    time_limit_seconds: Mapped[int] = mapped_column(default=3600)
    not_before: Mapped[datetime | None] = mapped_column(UtcDateTime)
    fence: Mapped[int] = mapped_column(default=0)
    owner: Mapped[str] = mapped_column(sa.String(80), default="")
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    cancel_requested_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    cancelled_by: Mapped[str] = mapped_column(sa.String(100), default="")

    instance_id: Mapped[int | None] = mapped_column(sa.ForeignKey("instance.id", ondelete="SET NULL"), index=True)
    instance_name: Mapped[str] = mapped_column(sa.String(128), default="")
    details: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)

    instance: Mapped[Instance | None] = relationship()
    steps: Mapped[list[TaskStep]] = relationship(order_by="TaskStep.position", back_populates="task", viewonly=True)

    __mapper_args__: dict[str, Any] = {"polymorphic_on": type}


class TaskStep(Model):
    """A named phase inside a task."""

    __tablename__ = "task_step"
    __table_args__ = (sa.UniqueConstraint("task_id", "position"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(sa.ForeignKey("task.id", ondelete="CASCADE"))
    position: Mapped[int]
    key: Mapped[str] = mapped_column(sa.String(40))
    title: Mapped[str] = mapped_column(sa.String(120))
    detail: Mapped[str] = mapped_column(sa.String(255), default="")
    status: Mapped[StepStatus] = mapped_column(EnumText(StepStatus), default=StepStatus.RUNNING)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    completed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    first_line: Mapped[int] = mapped_column(default=1)

    task: Mapped[Task] = relationship(back_populates="steps", viewonly=True)


class TaskLog(Model):
    """One line of a task's log; ``n`` counts from 1. Levels: head, info, good, warning, error."""

    __tablename__ = "task_log"
    __table_args__ = (sa.UniqueConstraint("task_id", "n"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(sa.ForeignKey("task.id", ondelete="CASCADE"))
    n: Mapped[int]
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    level: Mapped[str] = mapped_column(sa.String(8), default="info")
    message: Mapped[str] = mapped_column(sa.Text)


class TargetLock(Model):
    """Who works on which target now. An exclusive lock bars the whole instance; a shared one only its database."""

    __tablename__ = "target_lock"
    __table_args__ = (sa.UniqueConstraint("instance_id", "database_name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    instance_id: Mapped[int] = mapped_column(sa.ForeignKey("instance.id", ondelete="CASCADE"), index=True)
    database_name: Mapped[str] = mapped_column(sa.String(63))
    exclusive: Mapped[bool]
    task_id: Mapped[int] = mapped_column(sa.ForeignKey("task.id", ondelete="CASCADE"), index=True)
    fence: Mapped[int]
    taken_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Run(Task):
    """One execution of a job for one database. Names are kept so that history outlives jobs and instances."""

    __tablename__ = "run"
    __table_args__ = (sa.UniqueConstraint("slot_id", "database_name"),)

    id: Mapped[int] = mapped_column(sa.ForeignKey("task.id", ondelete="CASCADE"), primary_key=True)
    job_id: Mapped[int | None] = mapped_column(sa.ForeignKey("job.id", ondelete="SET NULL"), index=True)
    job_name: Mapped[str] = mapped_column(sa.String(128), default="")
    slot_id: Mapped[int | None] = mapped_column(sa.ForeignKey("slot.id", ondelete="SET NULL"))
    scheduled_at: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    database_name: Mapped[str] = mapped_column(sa.String(63), index=True)
    content: Mapped[Content] = mapped_column(EnumText(Content))
    format: Mapped[ArchiveFormat] = mapped_column(EnumText(ArchiveFormat))
    verification_level: Mapped[VerificationLevel] = mapped_column(EnumText(VerificationLevel))
    verification_status: Mapped[VerificationStatus] = mapped_column(
        EnumText(VerificationStatus), default=VerificationStatus.NOT_RUN
    )
    exclusive: Mapped[bool] = mapped_column(default=True)
    snapshot: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)
    size_bytes: Mapped[int | None] = mapped_column(sa.BigInteger)
    database_bytes: Mapped[int | None] = mapped_column(sa.BigInteger)
    filestore_bytes: Mapped[int | None] = mapped_column(sa.BigInteger)
    retry_of_id: Mapped[int | None] = mapped_column(sa.ForeignKey("run.id", ondelete="SET NULL"))

    job: Mapped[Job | None] = relationship()

    __mapper_args__: dict[str, Any] = {
        "polymorphic_identity": TaskType.BACKUP,
        "inherit_condition": id == Task.id,
    }


class FanOut(Task):
    """Discovers the databases of a slot (or of a *run now*) and makes one Run for each."""

    __tablename__ = "fan_out"

    id: Mapped[int] = mapped_column(sa.ForeignKey("task.id", ondelete="CASCADE"), primary_key=True)
    job_id: Mapped[int | None] = mapped_column(sa.ForeignKey("job.id", ondelete="SET NULL"), index=True)
    slot_id: Mapped[int | None] = mapped_column(sa.ForeignKey("slot.id", ondelete="SET NULL"), unique=True)

    job: Mapped[Job | None] = relationship()

    __mapper_args__: dict[str, Any] = {"polymorphic_identity": TaskType.FAN_OUT}


class ConnectionTest(Task):
    """Asks an instance every question of *Test connection*; the answers are ``checks``."""

    __tablename__ = "connection_test"

    id: Mapped[int] = mapped_column(sa.ForeignKey("task.id", ondelete="CASCADE"), primary_key=True)
    checks: Mapped[list[dict[str, Any]]] = mapped_column(sa.JSON, default=list)
    databases: Mapped[list[str]] = mapped_column(sa.JSON, default=list)

    __mapper_args__: dict[str, Any] = {"polymorphic_identity": TaskType.CONNECTION_TEST}


class Verification(Task):
    """Re-reads a stored archive and proves it again."""

    __tablename__ = "verification"

    id: Mapped[int] = mapped_column(sa.ForeignKey("task.id", ondelete="CASCADE"), primary_key=True)
    archive_id: Mapped[int] = mapped_column(sa.ForeignKey("archive.id", ondelete="CASCADE"), index=True)
    level: Mapped[VerificationLevel] = mapped_column(EnumText(VerificationLevel))

    __mapper_args__: dict[str, Any] = {"polymorphic_identity": TaskType.VERIFICATION}


class RetentionTask(Task):
    """Applies a job's retention policy to one database after a verified run."""

    __tablename__ = "retention_task"

    id: Mapped[int] = mapped_column(sa.ForeignKey("task.id", ondelete="CASCADE"), primary_key=True)
    job_id: Mapped[int | None] = mapped_column(sa.ForeignKey("job.id", ondelete="SET NULL"), index=True)
    database_name: Mapped[str] = mapped_column(sa.String(63))
    plan: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)

    job: Mapped[Job | None] = relationship()

    __mapper_args__: dict[str, Any] = {"polymorphic_identity": TaskType.RETENTION}
