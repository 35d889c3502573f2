"""Jobs, and their slots: one row per (job, scheduled time), the calendar that nothing can double."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from webapp.core.status import (
    ArchiveFormat,
    Content,
    DatabaseSelection,
    DrillPolicy,
    JobKind,
    MissedPolicy,
    OverlapPolicy,
    RetentionMode,
    SlotState,
    VerificationLevel,
)
from webapp.store.db import Model
from webapp.store.models.instances import Instance
from webapp.store.types import EnumText, UtcDateTime


class Job(Model):
    """The standing order: which databases, when, kept how long, verified how. Deleting is soft.

    ``database_selection`` None means «as the instance says». Slots up to ``cursor_at`` are settled;
    ``next_slot_at`` is the first one after it (None when disabled, deleted or paused for good). ``retention_rules`` count
    where the mode is *rules* (core/retention_rules.py); ``retention_allowance`` is how many deletions beyond the cap a person has
    agreed to, counted down as they happen. ``drill_value`` is every how many runs (sampled) or days (scheduled) an
    archive is restored for practice; ``drill_checks`` are own questions: ``{"query": …, "expected": …}``. ``refresh`` says
    what a refresh job restores where (services/refreshes.py). ``paths`` are what a host's job takes, [] for all that the
    host names; ``rides_with_id`` is the Odoo instance whose odd ends (addons, odoo.conf) such a job keeps. For a host's job
    the ``drill_…`` columns say when a snapshot is read again from beginning to end.
    """

    __tablename__ = "job"

    id: Mapped[int] = mapped_column(primary_key=True)
    instance_id: Mapped[int] = mapped_column(sa.ForeignKey("instance.id"), index=True)
    kind: Mapped[JobKind] = mapped_column(EnumText(JobKind), default=JobKind.BACKUP)
    name: Mapped[str] = mapped_column(sa.String(128))
    enabled: Mapped[bool] = mapped_column(default=True)

    database_selection: Mapped[DatabaseSelection | None] = mapped_column(EnumText(DatabaseSelection))
    databases: Mapped[list[str]] = mapped_column(sa.JSON, default=list)
    content: Mapped[Content] = mapped_column(EnumText(Content), default=Content.DATABASE_AND_FILESTORE)
    format: Mapped[ArchiveFormat] = mapped_column(EnumText(ArchiveFormat), default=ArchiveFormat.ZIP)

    cron: Mapped[str] = mapped_column(sa.String(200))
    time_zone: Mapped[str] = mapped_column(sa.String(64))
    spread_seconds: Mapped[int] = mapped_column(default=0)
    overlap_policy: Mapped[OverlapPolicy] = mapped_column(EnumText(OverlapPolicy), default=OverlapPolicy.SKIP)
    missed_policy: Mapped[MissedPolicy] = mapped_column(EnumText(MissedPolicy), default=MissedPolicy.CATCH_UP)
    cursor_at: Mapped[datetime] = mapped_column(UtcDateTime)
    next_slot_at: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)

    retention_mode: Mapped[RetentionMode] = mapped_column(EnumText(RetentionMode), default=RetentionMode.KEEP_LAST_N)
    retention_value: Mapped[int] = mapped_column(default=7)
    retention_rules: Mapped[dict[str, int]] = mapped_column(sa.JSON, default=dict)
    retention_frozen_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    retention_frozen_reason: Mapped[str] = mapped_column(sa.String(400), default="")
    retention_allowance: Mapped[int] = mapped_column(default=0)
    drill_policy: Mapped[DrillPolicy] = mapped_column(EnumText(DrillPolicy), default=DrillPolicy.NEVER)
    drill_value: Mapped[int] = mapped_column(default=7)
    drill_checks: Mapped[list[dict[str, str]]] = mapped_column(sa.JSON, default=list)
    refresh: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)
    paths: Mapped[list[str]] = mapped_column(sa.JSON, default=list)
    rides_with_id: Mapped[int | None] = mapped_column(sa.ForeignKey("instance.id", ondelete="SET NULL"), index=True)
    verification_level: Mapped[VerificationLevel] = mapped_column(
        EnumText(VerificationLevel), default=VerificationLevel.COMPLETE
    )
    time_limit_seconds: Mapped[int] = mapped_column(default=6 * 3600)
    retries: Mapped[int] = mapped_column(default=2)
    retry_delay_seconds: Mapped[int] = mapped_column(default=300)

    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    version: Mapped[int] = mapped_column(default=1)

    instance: Mapped[Instance] = relationship(foreign_keys=[instance_id])

    __mapper_args__ = {"version_id_col": version}


class Slot(Model):
    """One scheduled time of one job. The unique pair is what makes «exactly once» true, whoever reconciles."""

    __tablename__ = "slot"
    __table_args__ = (sa.UniqueConstraint("job_id", "scheduled_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(sa.ForeignKey("job.id"))
    scheduled_at: Mapped[datetime] = mapped_column(UtcDateTime)
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    state: Mapped[SlotState] = mapped_column(EnumText(SlotState), default=SlotState.OPEN, index=True)
    note: Mapped[str] = mapped_column(sa.String(255), default="")
    missed_count: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)

    job: Mapped[Job] = relationship()
