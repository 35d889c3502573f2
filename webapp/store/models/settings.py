"""Settings that people change in the browser, and the beats by which processes show that they live."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from webapp.store.db import Model
from webapp.store.types import UtcDateTime


class Setting(Model):
    """One value, e.g. "time_zone" → "Europe/Brussels"."""

    __tablename__ = "setting"

    key: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    value: Mapped[Any] = mapped_column(sa.JSON)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Beat(Model):
    """Last sign of life of a process. ``kind``: "scheduler" or "worker"; ``name`` is unique per process."""

    __tablename__ = "beat"

    name: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    kind: Mapped[str] = mapped_column(sa.String(16), index=True)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    details: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)
