"""Restores: what was asked, what was found before, what was left; drills; databases kept from before a replacement."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from webapp.core.status import RestoreOutcome, RestoreTarget, TaskType
from webapp.store.db import Model
from webapp.store.models.archives import Archive
from webapp.store.models.tasks import Task
from webapp.store.types import EnumText, UtcDateTime


class RestoreCheck(Task):
    """Looks at a target before anything is done to it. The target's instance is ``instance_id``, None for a directory.

    ``options`` is ``RestoreOptions.as_json()``; ``checks`` are the answers (list of checks); ``facts`` is
    ``TargetFacts.as_json()``: the target's identity, who is connected, sizes and estimates.
    """

    __tablename__ = "restore_check"

    id: Mapped[int] = mapped_column(sa.ForeignKey("task.id", ondelete="CASCADE"), primary_key=True)
    archive_id: Mapped[int] = mapped_column(sa.ForeignKey("archive.id", ondelete="CASCADE"), index=True)
    target: Mapped[RestoreTarget] = mapped_column(EnumText(RestoreTarget))
    target_database: Mapped[str] = mapped_column(sa.String(63), default="")
    options: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)
    checks: Mapped[list[dict[str, Any]]] = mapped_column(sa.JSON, default=list)
    facts: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)

    archive: Mapped[Archive] = relationship()

    __mapper_args__: dict[str, Any] = {"polymorphic_identity": TaskType.RESTORE_CHECK}


class Restore(Task):
    """Puts an archive, or a piece of it, to its target. Never listed as a backup.

    ``identity`` is the target's from the check, asked again at execution. ``journal`` is written before every step that
    changes the target, so that whoever comes after a kill knows what to look for; ``outcome`` says what the target is.
    ``checks`` are the comparisons made afterwards.
    """

    __tablename__ = "restore"

    id: Mapped[int] = mapped_column(sa.ForeignKey("task.id", ondelete="CASCADE"), primary_key=True)
    archive_id: Mapped[int] = mapped_column(sa.ForeignKey("archive.id", ondelete="CASCADE"), index=True)
    check_id: Mapped[int | None] = mapped_column(sa.ForeignKey("restore_check.id", ondelete="SET NULL"))
    job_id: Mapped[int | None] = mapped_column(sa.ForeignKey("job.id", ondelete="SET NULL"), index=True)
    slot_id: Mapped[int | None] = mapped_column(sa.ForeignKey("slot.id", ondelete="SET NULL"), unique=True)
    target: Mapped[RestoreTarget] = mapped_column(EnumText(RestoreTarget))
    target_database: Mapped[str] = mapped_column(sa.String(63), default="")
    options: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)
    identity: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)
    journal: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)
    outcome: Mapped[RestoreOutcome] = mapped_column(EnumText(RestoreOutcome), default=RestoreOutcome.UNTOUCHED)
    checks: Mapped[list[dict[str, Any]]] = mapped_column(sa.JSON, default=list)
    safety_run_id: Mapped[int | None] = mapped_column(sa.ForeignKey("run.id", ondelete="SET NULL"))

    archive: Mapped[Archive] = relationship()

    __mapper_args__: dict[str, Any] = {
        "polymorphic_identity": TaskType.RESTORE,
        "inherit_condition": id == Task.id,
    }

    @property
    def must_settle(self) -> bool:
        """Whether it changed its target and does not know what that is now: it is then taken up again until it does."""
        return self.outcome is RestoreOutcome.UNKNOWN and bool(self.journal)


class KeptDatabase(Model):
    """A database as it was before it was replaced, under its new name; removed by a person, or when its time comes."""

    __tablename__ = "kept_database"

    id: Mapped[int] = mapped_column(primary_key=True)
    restore_id: Mapped[int | None] = mapped_column(sa.ForeignKey("restore.id", ondelete="SET NULL"))
    instance_id: Mapped[int | None] = mapped_column(sa.ForeignKey("instance.id", ondelete="SET NULL"), index=True)
    instance_name: Mapped[str] = mapped_column(sa.String(128))
    database_name: Mapped[str] = mapped_column(sa.String(63))
    kept_name: Mapped[str] = mapped_column(sa.String(63))
    identity: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)
    filestore_path: Mapped[str] = mapped_column(sa.String(1024), default="")
    size_bytes: Mapped[int | None] = mapped_column(sa.BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    remove_after: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    removed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    removed_by: Mapped[str] = mapped_column(sa.String(100), default="")
    remove_error: Mapped[str] = mapped_column(sa.Text, default="")


class KeptRemoval(Task):
    """Removes a kept database for good."""

    __tablename__ = "kept_removal"

    id: Mapped[int] = mapped_column(sa.ForeignKey("task.id", ondelete="CASCADE"), primary_key=True)
    kept_id: Mapped[int] = mapped_column(sa.ForeignKey("kept_database.id", ondelete="CASCADE"), index=True)

    kept: Mapped[KeptDatabase] = relationship()

    __mapper_args__: dict[str, Any] = {"polymorphic_identity": TaskType.KEPT_REMOVAL}


class Drill(Task):
    """Restores an archive for practice into a throw-away cluster and asks questions of it.

    ``checks`` are the questions with their answers. ``seconds`` is the measured restore time: cluster, load and checks.
    """

    __tablename__ = "drill"

    id: Mapped[int] = mapped_column(sa.ForeignKey("task.id", ondelete="CASCADE"), primary_key=True)
    archive_id: Mapped[int] = mapped_column(sa.ForeignKey("archive.id", ondelete="CASCADE"), index=True)
    checks: Mapped[list[dict[str, Any]]] = mapped_column(sa.JSON, default=list)
    seconds: Mapped[float | None]
    facts: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)

    archive: Mapped[Archive] = relationship()

    __mapper_args__: dict[str, Any] = {"polymorphic_identity": TaskType.DRILL}


class SelfBackup(Task):
    """A copy of Holdfast's own database and its sealed keys (services/self_backups.py)."""

    __tablename__ = "self_backup"

    id: Mapped[int] = mapped_column(sa.ForeignKey("task.id", ondelete="CASCADE"), primary_key=True)
    relative_path: Mapped[str] = mapped_column(sa.String(512), default="")
    size_bytes: Mapped[int | None] = mapped_column(sa.BigInteger)
    sha256: Mapped[str] = mapped_column(sa.String(64), default="")

    __mapper_args__: dict[str, Any] = {"polymorphic_identity": TaskType.SELF_BACKUP}
