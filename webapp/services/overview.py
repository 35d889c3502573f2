"""The overview: in three seconds, is everything safe, what needs a person, what is running."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa

from webapp.core.status import (
    ACTIVE_STATUSES,
    ArchiveState,
    InstanceKind,
    QueueName,
    TaskStatus,
    TaskType,
    VerificationStatus,
)
from webapp.core.text import format_ago, format_duration, plural
from webapp.services.fleet import FleetRow, FleetState, list_fleet
from webapp.services.health import HealthReport
from webapp.store.db import db
from webapp.store.models import Archive, Instance, Job, Run, Task


class VerdictKind(StrEnum):
    """Colour and shape of the verdict."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    NEW = "new"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The one sentence on top, and the one below it."""

    kind: VerdictKind
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Numbers:
    """The strip of numbers. ``drillable``: instances whose backups can be restored for practice; a host's cannot."""

    protected: int
    total: int
    oldest: FleetRow | None
    oldest_age: str
    verified_week: int
    drilled_week: int
    drillable: int
    restore_points: int
    stored_bytes: int
    stored_week_bytes: int


@dataclass(frozen=True, slots=True)
class Overview:
    """All that the page shows."""

    verdict: Verdict
    running: Sequence[Run]
    running_total: int
    queued_total: int
    numbers: Numbers
    attention: Sequence[FleetRow]
    fleet: Sequence[FleetRow]
    counts: dict[FleetState, int]
    frozen: Sequence[Job]


@dataclass(frozen=True, slots=True)
class Activity:
    """What the pill in the page head says."""

    running: int
    queued: int


def get_overview(now: datetime, health: HealthReport) -> Overview:
    """Everything for the overview, in about ten queries whatever the number of instances."""
    fleet = list_fleet(now)
    attention = [row for row in fleet if row.state.needs_attention and not is_muted(row, now)]
    activity = get_activity()
    counts = {state: sum(row.state is state for row in fleet) for state in FleetState}
    return Overview(
        verdict=_verdict(fleet, attention, health, now),
        running=list_running(),
        running_total=activity.running,
        queued_total=activity.queued,
        numbers=_numbers(fleet, now),
        attention=attention,
        fleet=fleet,
        counts=counts,
        frozen=list_frozen(),
    )


def list_frozen() -> Sequence[Job]:
    """Jobs whose retention waits for a person, the longest waiting first."""
    query = sa.select(Job).join(Job.instance).where(Job.retention_frozen_at.is_not(None), Job.deleted_at.is_(None))
    return db.session.scalars(query.where(Instance.deleted_at.is_(None)).order_by(Job.retention_frozen_at)).all()


def is_muted(row: FleetRow, now: datetime) -> bool:
    """Whether a person asked for silence about the instance."""
    return row.instance.muted_until is not None and row.instance.muted_until > now


def count_problems(now: datetime) -> int:
    """Instances that need attention, for the number in the navigation."""
    return sum(row.state.needs_attention and not is_muted(row, now) for row in list_fleet(now))


def list_running(limit: int = 5) -> Sequence[Run]:
    """Runs at work now, the oldest first."""
    query = sa.select(Run).where(Run.status == TaskStatus.RUNNING).order_by(Run.id).limit(limit)
    return db.session.scalars(query).all()


def get_activity() -> Activity:
    """Backups at work and waiting."""
    query = (
        sa.select(Task.status, sa.func.count())
        .where(Task.type == TaskType.BACKUP, Task.queue == QueueName.BACKUPS, Task.status.in_(ACTIVE_STATUSES))
        .group_by(Task.status)
    )
    counts = {status: int(count) for status, count in db.session.execute(query)}
    return Activity(counts.get(TaskStatus.RUNNING, 0), counts.get(TaskStatus.PENDING, 0))


def _verdict(fleet: Sequence[FleetRow], attention: Sequence[FleetRow], health: HealthReport, now: datetime) -> Verdict:
    broken = health.problems
    if broken:
        return Verdict(VerdictKind.FAIL, broken[0].detail, broken[0].hint)
    if not fleet:
        return Verdict(VerdictKind.NEW, "Nothing is protected yet", "Add your first instance to begin.")
    protected = sum(row.state in (FleetState.PROTECTED, FleetState.RUNNING) for row in fleet)
    text = _times(fleet, now)
    if attention:
        worst = attention[0].state is FleetState.FAILED or attention[0].state is FleetState.OVERDUE
        verb = "needs" if len(attention) == 1 else "need"
        title = f"{len(attention)} of {len(fleet)} {plural(len(fleet), 'instance', 'instances')} {verb} attention"
        return Verdict(
            VerdictKind.FAIL if worst else VerdictKind.WARN, title, f"{protected} are protected. {text}".strip()
        )
    if protected == len(fleet):
        whole = "The instance is protected" if len(fleet) == 1 else f"All {len(fleet)} instances are protected"
        return Verdict(VerdictKind.OK, whole, text)
    if protected == 0:
        return Verdict(VerdictKind.NEW, "No backup yet", text or "Write a job, or run one now.")
    return Verdict(VerdictKind.WARN, f"{protected} of {len(fleet)} instances are protected", text)


def _times(fleet: Sequence[FleetRow], now: datetime) -> str:
    newest = max((row.newest_at for row in fleet if row.newest_at), default=None)
    following = min((row.next_at for row in fleet if row.next_at), default=None)
    parts = []
    if newest is not None:
        parts.append(f"Newest restore point {format_ago(newest, now)}")
    if following is not None:
        wait = (following - now).total_seconds()
        parts.append("next backup due now" if wait <= 0 else f"next backup in {format_duration(wait)}")
    said = "; ".join(parts)
    return f"{said[0].upper()}{said[1:]}." if said else ""


def _numbers(fleet: Sequence[FleetRow], now: datetime) -> Numbers:
    active = [row for row in fleet if row.state is not FleetState.PAUSED]
    oldest = min((row for row in active if row.verified_at), key=lambda row: row.verified_at or now, default=None)
    age = format_duration((now - oldest.verified_at).total_seconds()) if oldest and oldest.verified_at else "–"
    week = now - timedelta(days=7)
    stored = sa.select(sa.func.count(), sa.func.sum(Archive.size_bytes)).where(Archive.state == ArchiveState.STORED)
    count, size = db.session.execute(stored).one()
    _, recent = db.session.execute(stored.where(Archive.created_at >= week)).one()
    verified, _ = db.session.execute(
        stored.where(Archive.verified_at >= week, Archive.verification_status == VerificationStatus.PASSED)
    ).one()
    return Numbers(
        protected=sum(row.state in (FleetState.PROTECTED, FleetState.RUNNING) for row in fleet),
        total=len(fleet),
        oldest=oldest,
        oldest_age=age,
        verified_week=int(verified),
        drilled_week=sum(row.drill is not None and row.drill.passed and row.drill.drilled_at >= week for row in fleet),
        drillable=sum(row.instance.kind is not InstanceKind.HOST for row in fleet),
        restore_points=int(count),
        stored_bytes=int(size or 0),
        stored_week_bytes=int(recent or 0),
    )
