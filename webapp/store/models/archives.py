"""Archives: the finished, sealed results of runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from webapp.core.status import (
    ArchiveFormat,
    ArchiveOrigin,
    ArchiveState,
    Content,
    VerificationLevel,
    VerificationStatus,
)
from webapp.store.db import Model
from webapp.store.models.instances import Instance
from webapp.store.types import EnumText, UtcDateTime


class Archive(Model):
    """One archive in the store. A row is never removed: a deleted archive keeps its history and the reason.

    ``relative_path`` is below the archive store; ``report`` is the newest verification (list of checks).
    ``manifest_sha256`` is of the side-car's file: one that was changed since is not believed. The ``drill_…`` columns are the
    newest restore drill's: how long the restore took, and what was asked of it. ``fingerprint`` is what the sentinel compares
    (core/sentinel.py), read only when asked for. A trashed archive keeps its place on the shelf until ``trash_until``;
    ``trashed_by`` is who put it there, "retention" where no person did (services/trash.py).
    """

    __tablename__ = "archive"
    __table_args__ = (sa.Index("ix_archive_instance_database", "instance_id", "database_name", "taken_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int | None] = mapped_column(sa.ForeignKey("run.id", ondelete="SET NULL"), unique=True)
    job_id: Mapped[int | None] = mapped_column(sa.ForeignKey("job.id", ondelete="SET NULL"), index=True)
    instance_id: Mapped[int | None] = mapped_column(sa.ForeignKey("instance.id", ondelete="SET NULL"))
    instance_name: Mapped[str] = mapped_column(sa.String(128))
    database_name: Mapped[str] = mapped_column(sa.String(63))
    content: Mapped[Content] = mapped_column(EnumText(Content))
    format: Mapped[ArchiveFormat] = mapped_column(EnumText(ArchiveFormat))
    relative_path: Mapped[str] = mapped_column(sa.String(512), unique=True)
    size_bytes: Mapped[int] = mapped_column(sa.BigInteger)
    sha256: Mapped[str] = mapped_column(sa.String(64))
    manifest_sha256: Mapped[str] = mapped_column(sa.String(64), default="")
    taken_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    state: Mapped[ArchiveState] = mapped_column(EnumText(ArchiveState), default=ArchiveState.STORED, index=True)
    verification_status: Mapped[VerificationStatus] = mapped_column(
        EnumText(VerificationStatus), default=VerificationStatus.NOT_RUN
    )
    verification_level: Mapped[VerificationLevel] = mapped_column(
        EnumText(VerificationLevel), default=VerificationLevel.NONE
    )
    verified_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    report: Mapped[list[dict[str, Any]]] = mapped_column(sa.JSON, default=list)
    row_total: Mapped[int | None] = mapped_column(sa.BigInteger)
    table_count: Mapped[int | None]
    attachment_count: Mapped[int | None]
    odoo_version: Mapped[str] = mapped_column(sa.String(32), default="")
    postgresql_version: Mapped[str] = mapped_column(sa.String(32), default="")
    origin: Mapped[ArchiveOrigin] = mapped_column(EnumText(ArchiveOrigin), default=ArchiveOrigin.BACKUP)
    pinned_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    pinned_by: Mapped[str] = mapped_column(sa.String(100), default="")
    pin_note: Mapped[str] = mapped_column(sa.String(255), default="")
    drill_status: Mapped[VerificationStatus] = mapped_column(
        EnumText(VerificationStatus), default=VerificationStatus.NOT_RUN
    )
    drilled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    drill_seconds: Mapped[float | None]
    drill_report: Mapped[list[dict[str, Any]]] = mapped_column(sa.JSON, default=list)
    fingerprint: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict, deferred=True)
    trashed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    trash_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    trashed_by: Mapped[str] = mapped_column(sa.String(100), default="")
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    delete_reason: Mapped[str] = mapped_column(sa.String(255), default="")

    instance: Mapped[Instance | None] = relationship()
