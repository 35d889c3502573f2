"""Hosts, the snapshots of their trees, and the tasks that work on these."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from webapp.core.status import SnapshotLayout, SnapshotTarget, TaskType
from webapp.store.db import Model
from webapp.store.models.archives import Archive
from webapp.store.models.instances import Instance
from webapp.store.models.tasks import Task
from webapp.store.types import EnumText, UtcDateTime


class Host(Model):
    """What an instance of the kind *host* has beyond its address: one row each.

    ``directory`` is the host's folder below the backup root: set once, so that a new name or address moves nothing. None (and ""
    for ``backup_root``) means «as the settings say». ``excludes`` are added to the settings' own unless ``own_excludes_only``.
    ``sentinel_files`` must be in every snapshot. ``accepted_errors`` are the paths (fnmatch) that may stay unreadable.
    ``shrink_accepted_at``: a person has agreed that the next snapshot may hold far less than the one before it.
    """

    __tablename__ = "host"

    instance_id: Mapped[int] = mapped_column(sa.ForeignKey("instance.id", ondelete="CASCADE"), primary_key=True)
    directory: Mapped[str] = mapped_column(sa.String(64), unique=True)
    backup_root: Mapped[str] = mapped_column(sa.String(1024), default="")
    paths: Mapped[list[str]] = mapped_column(sa.JSON, default=list)
    includes: Mapped[list[str]] = mapped_column(sa.JSON, default=list)
    excludes: Mapped[list[str]] = mapped_column(sa.JSON, default=list)
    own_excludes_only: Mapped[bool] = mapped_column(default=False)
    one_file_system: Mapped[bool | None]
    bandwidth_kib: Mapped[int | None]
    rsync_options: Mapped[list[str] | None] = mapped_column(sa.JSON(none_as_null=True))
    shrink_percent: Mapped[int | None]
    sentinel_files: Mapped[list[str]] = mapped_column(sa.JSON, default=list)
    accepted_errors: Mapped[list[str]] = mapped_column(sa.JSON, default=list)
    shrink_accepted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    shrink_accepted_by: Mapped[str] = mapped_column(sa.String(100), default="")

    instance: Mapped[Instance] = relationship()


class SnapshotRecord(Model):
    """What an archive of the format *snapshot* has beyond the others: one row each.

    The tree lies at ``<root>/<directory>/<name>``. ``base_id`` is the snapshot it shares unchanged files with, where that is
    known and still there; the snapshot is whole without it. ``total_bytes`` and ``new_bytes`` are of the files' contents: all,
    and what the base has not (the archive's ``size_bytes`` repeats it); ``transferred_bytes`` is what came over the wire.
    """

    __tablename__ = "snapshot"
    __table_args__ = (sa.UniqueConstraint("root", "directory", "name"),)

    archive_id: Mapped[int] = mapped_column(sa.ForeignKey("archive.id", ondelete="CASCADE"), primary_key=True)
    root: Mapped[str] = mapped_column(sa.String(1024))
    directory: Mapped[str] = mapped_column(sa.String(64))
    name: Mapped[str] = mapped_column(sa.String(128))
    layout: Mapped[SnapshotLayout] = mapped_column(EnumText(SnapshotLayout), default=SnapshotLayout.OURS)
    base_id: Mapped[int | None] = mapped_column(sa.ForeignKey("snapshot.archive_id", ondelete="SET NULL"), index=True)
    base_name: Mapped[str] = mapped_column(sa.String(128), default="")
    paths: Mapped[list[str]] = mapped_column(sa.JSON, default=list)
    file_count: Mapped[int | None] = mapped_column(sa.BigInteger)
    directory_count: Mapped[int | None] = mapped_column(sa.BigInteger)
    other_count: Mapped[int | None] = mapped_column(sa.BigInteger)
    total_bytes: Mapped[int | None] = mapped_column(sa.BigInteger)
    new_files: Mapped[int | None] = mapped_column(sa.BigInteger)
    new_bytes: Mapped[int | None] = mapped_column(sa.BigInteger)
    gone_files: Mapped[int | None] = mapped_column(sa.BigInteger)
    transferred_bytes: Mapped[int | None] = mapped_column(sa.BigInteger)
    transfer_seconds: Mapped[float | None]
    vanished: Mapped[int] = mapped_column(default=0)
    unreadable: Mapped[int] = mapped_column(default=0)
    list_sha256: Mapped[str] = mapped_column(sa.String(64), default="")
    read_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    compared_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    archive: Mapped[Archive] = relationship()
    base: Mapped[SnapshotRecord | None] = relationship(remote_side=[archive_id])


class SnapshotDiscovery(Task):
    """Finds the snapshots of a host that lie on disk and are in no table; changes nothing on disk."""

    __tablename__ = "snapshot_discovery"

    id: Mapped[int] = mapped_column(sa.ForeignKey("task.id", ondelete="CASCADE"), primary_key=True)
    backup_root: Mapped[str] = mapped_column(sa.String(1024), default="")

    __mapper_args__: dict[str, Any] = {"polymorphic_identity": TaskType.SNAPSHOT_DISCOVERY}


class SnapshotRemoval(Task):
    """Removes the tree of a snapshot whose archive is being deleted."""

    __tablename__ = "snapshot_removal"

    id: Mapped[int] = mapped_column(sa.ForeignKey("task.id", ondelete="CASCADE"), primary_key=True)
    archive_id: Mapped[int] = mapped_column(sa.ForeignKey("archive.id", ondelete="CASCADE"), index=True)

    __mapper_args__: dict[str, Any] = {"polymorphic_identity": TaskType.SNAPSHOT_REMOVAL}


class SnapshotComparison(Task):
    """Compares a sample of a snapshot with what the host has now, by checksum; changes nothing on either side."""

    __tablename__ = "snapshot_comparison"

    id: Mapped[int] = mapped_column(sa.ForeignKey("task.id", ondelete="CASCADE"), primary_key=True)
    archive_id: Mapped[int] = mapped_column(sa.ForeignKey("archive.id", ondelete="CASCADE"), index=True)
    checks: Mapped[list[dict[str, Any]]] = mapped_column(sa.JSON, default=list)

    __mapper_args__: dict[str, Any] = {"polymorphic_identity": TaskType.SNAPSHOT_COMPARISON}


class SnapshotRestore(Task):
    """Puts files of a snapshot somewhere; first as a dry run (``dry_run``), whose ``changes`` a person looks at.

    ``paths`` are inside the snapshot; [] is all of it. ``changes`` has the first lines of what would be, or was, changed;
    ``counts`` their numbers. ``preview_id`` is the dry run that was confirmed.
    """

    __tablename__ = "snapshot_restore"

    id: Mapped[int] = mapped_column(sa.ForeignKey("task.id", ondelete="CASCADE"), primary_key=True)
    archive_id: Mapped[int] = mapped_column(sa.ForeignKey("archive.id", ondelete="CASCADE"), index=True)
    target: Mapped[SnapshotTarget] = mapped_column(EnumText(SnapshotTarget))
    target_instance_id: Mapped[int | None] = mapped_column(sa.ForeignKey("instance.id", ondelete="SET NULL"))
    target_path: Mapped[str] = mapped_column(sa.String(1024))
    paths: Mapped[list[str]] = mapped_column(sa.JSON, default=list)
    delete_others: Mapped[bool] = mapped_column(default=False)
    dry_run: Mapped[bool] = mapped_column(default=True)
    preview_id: Mapped[int | None] = mapped_column(sa.ForeignKey("snapshot_restore.id", ondelete="SET NULL"))
    changes: Mapped[list[str]] = mapped_column(sa.JSON, default=list)
    counts: Mapped[dict[str, int]] = mapped_column(sa.JSON, default=dict)

    __mapper_args__: dict[str, Any] = {
        "polymorphic_identity": TaskType.SNAPSHOT_RESTORE,
        "inherit_condition": id == Task.id,
    }
