"""Beats: the rows by which workers and schedulers show that they live, whatever Redis says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from webapp.store.db import db, writing
from webapp.store.models import Beat

WORKER = "worker"
SCHEDULER = "scheduler"
BEAT_SECONDS = 10
LATE_AFTER = timedelta(seconds=45)
FORGOTTEN_AFTER = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Process:
    """A process that beats. ``name`` is unique, e.g. "backup1-worker-4711"; ``kind`` is "worker" or "scheduler"."""

    name: str
    kind: str
    started_at: datetime
    details: dict[str, Any] = field(default_factory=dict)


def beat(process: Process, now: datetime) -> None:
    """Say that the process lives; forget those that ended without a word a day ago."""
    with writing() as session:
        session.merge(
            Beat(name=process.name, kind=process.kind, started_at=process.started_at, at=now, details=process.details)
        )
        session.execute(sa.delete(Beat).where(Beat.at < now - FORGOTTEN_AFTER))


def sign_off(process: Process) -> None:
    """The process ends in good order."""
    with writing() as session:
        session.execute(sa.delete(Beat).where(Beat.name == process.name))


def list_beats(kind: str | None = None) -> Sequence[Beat]:
    """The newest beat of each process, the newest process first."""
    query = sa.select(Beat).order_by(Beat.started_at.desc(), Beat.name)
    return db.session.scalars(query if kind is None else query.where(Beat.kind == kind)).all()


def is_late(found: Beat, now: datetime) -> bool:
    """Whether the process must be taken for dead."""
    return now - found.at > LATE_AFTER


def living(kind: str, now: datetime) -> list[Beat]:
    """Processes of the kind that beat lately."""
    return [found for found in list_beats(kind) if not is_late(found, now)]
