"""Instances: one installation we protect, with how to reach it."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from webapp.core.status import DatabaseSelection, FilestoreKind, InstanceKind
from webapp.store.db import Model
from webapp.store.types import EnumText, SealedText, UtcDateTime


class Instance(Model):
    """One Odoo or PostgreSQL installation. Deleting is soft: archives and history stay.

    ``uid`` binds sealed secrets to this row: a ciphertext copied to another row does not open there.
    """

    __tablename__ = "instance"

    id: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[str] = mapped_column(sa.String(36), unique=True)
    name: Mapped[str] = mapped_column(sa.String(128))
    slug: Mapped[str] = mapped_column(sa.String(64), unique=True)
    kind: Mapped[InstanceKind] = mapped_column(EnumText(InstanceKind))
    customer: Mapped[str] = mapped_column(sa.String(128), default="", index=True)
    notes: Mapped[str] = mapped_column(sa.Text, default="")
    tags: Mapped[list[str]] = mapped_column(sa.JSON, default=list)

    # Odoo over HTTP
    url: Mapped[str] = mapped_column(sa.String(512), default="")
    host_header: Mapped[str] = mapped_column(sa.String(255), default="")
    master_password: Mapped[str | None] = mapped_column(SealedText)
    tls_ca_pem: Mapped[str] = mapped_column(sa.Text, default="")
    tls_fingerprint: Mapped[str] = mapped_column(sa.String(64), default="")
    allow_plain_http: Mapped[bool] = mapped_column(default=False)

    # PostgreSQL
    pg_host: Mapped[str] = mapped_column(sa.String(255), default="")
    pg_port: Mapped[int] = mapped_column(default=5432)
    pg_user: Mapped[str] = mapped_column(sa.String(63), default="")
    pg_password: Mapped[str | None] = mapped_column(SealedText)
    pg_sslmode: Mapped[str] = mapped_column(sa.String(16), default="prefer")
    pg_ssl_root_cert: Mapped[str] = mapped_column(sa.Text, default="")
    pg_maintenance_database: Mapped[str] = mapped_column(sa.String(63), default="postgres")
    pg_through_ssh: Mapped[bool] = mapped_column(default=False)

    # Filestore and SSH
    filestore_kind: Mapped[FilestoreKind] = mapped_column(EnumText(FilestoreKind), default=FilestoreKind.NONE)
    filestore_path: Mapped[str] = mapped_column(sa.String(1024), default="")
    ssh_host: Mapped[str] = mapped_column(sa.String(255), default="")
    ssh_port: Mapped[int] = mapped_column(default=22)
    ssh_user: Mapped[str] = mapped_column(sa.String(64), default="")
    ssh_private_key: Mapped[str | None] = mapped_column(SealedText)
    ssh_public_key: Mapped[str] = mapped_column(sa.String(1024), default="")
    ssh_host_key: Mapped[str] = mapped_column(sa.String(2048), default="")

    database_selection: Mapped[DatabaseSelection] = mapped_column(
        EnumText(DatabaseSelection), default=DatabaseSelection.SINGLE
    )
    databases: Mapped[list[str]] = mapped_column(sa.JSON, default=list)
    target_age_hours: Mapped[int] = mapped_column(default=26)

    paused_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    paused_by: Mapped[str] = mapped_column(sa.String(80), default="")
    pause_reason: Mapped[str] = mapped_column(sa.String(255), default="")
    paused_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    muted_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    mute_reason: Mapped[str] = mapped_column(sa.String(255), default="")
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)

    odoo_version: Mapped[str] = mapped_column(sa.String(32), default="")
    postgresql_version: Mapped[str] = mapped_column(sa.String(32), default="")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    version: Mapped[int] = mapped_column(default=1)

    __mapper_args__ = {"version_id_col": version}
