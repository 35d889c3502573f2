"""The audit log: append-only (triggers refuse UPDATE and DELETE) and chained by hashes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from webapp.store.db import Model
from webapp.store.types import UtcDateTime


class AuditEvent(Model):
    """Who did what to which thing, when and from where."""

    __tablename__ = "audit_event"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    actor: Mapped[str] = mapped_column(sa.String(80), index=True)
    event: Mapped[str] = mapped_column(sa.String(64), index=True)
    subject_kind: Mapped[str] = mapped_column(sa.String(32), default="", index=True)
    subject_id: Mapped[int | None]
    subject_name: Mapped[str] = mapped_column(sa.String(160), default="")
    ip: Mapped[str] = mapped_column(sa.String(64), default="")
    details: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)
    previous_hash: Mapped[str] = mapped_column(sa.String(64), default="")
    hash: Mapped[str] = mapped_column(sa.String(64), unique=True)
