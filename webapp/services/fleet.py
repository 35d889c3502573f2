"""The fleet: what stands behind each instance's word (Protected, Overdue, Failed…), for many instances in a few queries.

A green word is earned: every database of every enabled job has a verified restore point younger than the target, and its newest
run did not fail. Unknown is never shown as fine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from webapp.core.status import (
    ACTIVE_STATUSES,
    ArchiveState,
    Content,
    ErrorCode,
    JobKind,
    TaskStatus,
    VerificationStatus,
)
from webapp.core.text import format_duration
from webapp.services.drills import DrillFacts, newest_drills
from webapp.services.schedule import is_paused
from webapp.services.strips import RunMark, list_instance_marks, summarise
from webapp.store.db import db
from webapp.store.models import Archive, Instance, Job, Run

SILENT_CODES = (ErrorCode.SKIPPED_OVERLAP, ErrorCode.CANCELLED)


class FleetState(StrEnum):
    """In the order of urgency."""

    FAILED = "failed"
    OVERDUE = "overdue"
    UNVERIFIED = "unverified"
    WARNING = "warning"
    RUNNING = "running"
    PROTECTED = "protected"
    PAUSED = "paused"
    NEW = "new"

    @property
    def needs_attention(self) -> bool:
        """Whether a person should look."""
        return self in (FleetState.FAILED, FleetState.OVERDUE, FleetState.UNVERIFIED, FleetState.WARNING)


STATE_WORDS = {
    FleetState.FAILED: "Failed",
    FleetState.OVERDUE: "Overdue",
    FleetState.UNVERIFIED: "Unverified",
    FleetState.WARNING: "Warning",
    FleetState.RUNNING: "Running",
    FleetState.PROTECTED: "Protected",
    FleetState.PAUSED: "Paused",
    FleetState.NEW: "Never run",
}


@dataclass(frozen=True, slots=True)
class FleetRow:
    """One instance as lists show it. Times are UTC; ``problem`` is a sentence, or ""."""

    instance: Instance
    state: FleetState
    problem: str = ""
    hint: str = ""
    problem_run_id: int | None = None
    marks: tuple[RunMark, ...] = ()
    newest_at: datetime | None = None
    is_late: bool = False
    verified_at: datetime | None = None
    drill: DrillFacts | None = None
    stored_bytes: int = 0
    stored_count: int = 0
    newest_bytes: int | None = None
    next_at: datetime | None = None
    job_count: int = 0
    percent: int | None = None
    databases: tuple[str, ...] = field(default=())

    @property
    def word(self) -> str:
        """The state in a word."""
        if self.state is FleetState.RUNNING and self.percent is not None:
            return f"Running {self.percent} %"
        return STATE_WORDS[self.state]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Archive sizes of the strip's runs, oldest first."""
        return tuple(mark.size_bytes for mark in self.marks if mark.size_bytes)

    @property
    def summary(self) -> str:
        """The strip in words."""
        return summarise(self.marks)


# What restore points are of: a database, or the files that one job of a host takes (its jobs take different paths).
_Subject = tuple[str, int | None]


def _subject(database: str, content: Content, job_id: int | None) -> _Subject:
    return (database, job_id if content is Content.FILES else None)


class _LastRun(NamedTuple):
    """What is asked of the newest run of a job and database; whole rows would be thousands of texts."""

    id: int
    status: TaskStatus
    subject: _Subject
    error_message: str
    hint: str


@dataclass(slots=True)
class _Facts:
    marks: dict[int, tuple[RunMark, ...]] = field(default_factory=dict)
    last: dict[int, list[_LastRun]] = field(default_factory=lambda: defaultdict(list))
    newest: dict[int, dict[_Subject, datetime]] = field(default_factory=lambda: defaultdict(dict))
    unverified: dict[int, Archive] = field(default_factory=dict)
    drills: dict[int, DrillFacts] = field(default_factory=dict)
    frozen: dict[int, str] = field(default_factory=dict)
    stored: dict[int, tuple[int, int]] = field(default_factory=dict)
    next_at: dict[int, datetime] = field(default_factory=dict)
    jobs: dict[int, int] = field(default_factory=dict)
    running: dict[int, Run] = field(default_factory=dict)


def list_fleet(now: datetime, instance_ids: Iterable[int] | None = None) -> list[FleetRow]:
    """All live instances, or those given, worst first, then by name."""
    query = sa.select(Instance).where(Instance.deleted_at.is_(None))
    if instance_ids is not None:
        query = query.where(Instance.id.in_(list(instance_ids)))
    instances = db.session.scalars(query).all()
    facts = _gather([instance.id for instance in instances])
    rows = [_row(instance, facts, now) for instance in instances]
    order = list(FleetState)
    return sorted(rows, key=lambda row: (order.index(row.state), row.instance.name.lower()))


def get_fleet_row(instance: Instance, now: datetime) -> FleetRow:
    """One instance's row, deleted or not."""
    return _row(instance, _gather([instance.id]), now)


def _gather(ids: Sequence[int]) -> _Facts:
    facts = _Facts()
    _gather_marks(facts, ids)
    _gather_last_runs(facts, ids)
    _gather_archives(facts, ids)
    _gather_jobs(facts, ids)
    facts.drills = newest_drills(ids)
    return facts


def _gather_marks(facts: _Facts, ids: Sequence[int]) -> None:
    facts.marks = list_instance_marks(ids)
    running = sa.select(Run).where(Run.instance_id.in_(ids), Run.status == TaskStatus.RUNNING)
    for run in db.session.scalars(running):
        assert run.instance_id is not None
        facts.running[run.instance_id] = run


def _gather_last_runs(facts: _Facts, ids: Sequence[int]) -> None:
    """The newest telling run per enabled job and database."""
    number = sa.func.row_number().over(partition_by=(Run.job_id, Run.database_name), order_by=Run.id.desc()).label("n")
    inner = (
        sa.select(Run.id, number)
        .join(Job, Job.id == Run.job_id)
        .where(
            Run.instance_id.in_(ids),
            Job.enabled.is_(True),
            Job.deleted_at.is_(None),
            Run.status.not_in(ACTIVE_STATUSES),
            sa.or_(Run.error_code.is_(None), Run.error_code.not_in(SILENT_CODES)),
        )
        .subquery()
    )
    of_run = sa.select(Run.instance_id, Run.database_name, Run.content, Run.job_id)
    columns = of_run.add_columns(Run.id, Run.status, Run.error_message, Run.hint)
    newest = columns.where(Run.id.in_(sa.select(inner.c.id).where(inner.c.n == 1)))
    for instance_id, database, content, job_id, run_id, status, message, hint in db.session.execute(newest):
        assert instance_id is not None
        facts.last[instance_id].append(_LastRun(run_id, status, _subject(database, content, job_id), message, hint))


def _gather_archives(facts: _Facts, ids: Sequence[int]) -> None:
    stored = sa.and_(Archive.instance_id.in_(ids), Archive.state == ArchiveState.STORED)
    files_of = sa.case((Archive.content == Content.FILES, Archive.job_id))
    newest = (
        sa.select(Archive.instance_id, Archive.database_name, files_of, sa.func.max(Archive.taken_at))
        .where(stored, Archive.verification_status == VerificationStatus.PASSED)
        .where(Archive.drill_status != VerificationStatus.FAILED)
        .group_by(Archive.instance_id, Archive.database_name, files_of)
    )
    for instance_id, database, job_id, at in db.session.execute(newest):
        assert instance_id is not None
        facts.newest[instance_id][database, job_id] = at
    sums = (
        sa.select(Archive.instance_id, sa.func.count(), sa.func.sum(Archive.size_bytes))
        .where(stored)
        .group_by(Archive.instance_id)
    )
    for instance_id, count, size in db.session.execute(sums):
        assert instance_id is not None
        facts.stored[instance_id] = (int(count), int(size or 0))
    later = aliased(Archive)
    newer = sa.exists().where(
        later.instance_id == Archive.instance_id,
        later.database_name == Archive.database_name,
        later.state == ArchiveState.STORED,
        later.taken_at > Archive.taken_at,
        sa.or_(Archive.content != Content.FILES, Archive.job_id.is_(None), later.job_id == Archive.job_id),
    )
    unproven = sa.select(Archive).where(stored, Archive.verification_status != VerificationStatus.PASSED, ~newer)
    for archive in db.session.scalars(unproven):
        assert archive.instance_id is not None
        facts.unverified[archive.instance_id] = archive


def _gather_jobs(facts: _Facts, ids: Sequence[int]) -> None:
    query = (
        sa.select(Job.instance_id, sa.func.count(), sa.func.min(Job.next_slot_at))
        .where(Job.instance_id.in_(ids), Job.deleted_at.is_(None), Job.enabled.is_(True), Job.kind == JobKind.BACKUP)
        .group_by(Job.instance_id)
    )
    for instance_id, count, next_at in db.session.execute(query):
        facts.jobs[instance_id] = int(count)
        if next_at is not None:
            facts.next_at[instance_id] = next_at
    frozen = sa.select(Job.instance_id, Job.name, Job.retention_frozen_reason).where(
        Job.instance_id.in_(ids), Job.deleted_at.is_(None), Job.retention_frozen_at.is_not(None)
    )
    for instance_id, name, reason in db.session.execute(frozen.order_by(Job.retention_frozen_at.desc())):
        facts.frozen[instance_id] = f"Retention of «{name}» waits: {reason}"


def _row(instance: Instance, facts: _Facts, now: datetime) -> FleetRow:
    newest = facts.newest[instance.id]
    wanted = {run.subject for run in facts.last[instance.id] if run.subject[0] != "*"}
    databases = sorted({name for name, _ in {*wanted, *newest}})
    wanted = wanted or set(newest)
    oldest = min((newest[name] for name in wanted if name in newest), default=None)
    late_at = now - timedelta(hours=instance.target_age_hours)
    is_late = bool(wanted) and any(newest.get(name) is None or newest[name] < late_at for name in wanted)
    state, problem, hint, run_id = _judge(instance, facts, now, oldest=oldest, is_late=is_late)
    running = facts.running.get(instance.id)
    marks = facts.marks[instance.id]
    count, size = facts.stored.get(instance.id, (0, 0))
    return FleetRow(
        instance=instance,
        state=state,
        problem=problem,
        hint=hint,
        problem_run_id=run_id,
        marks=marks,
        newest_at=max(newest.values(), default=None),
        is_late=is_late,
        verified_at=oldest,
        drill=facts.drills.get(instance.id),
        stored_bytes=size,
        stored_count=count,
        newest_bytes=next((mark.size_bytes for mark in reversed(marks) if mark.size_bytes), None),
        next_at=facts.next_at.get(instance.id),
        job_count=facts.jobs.get(instance.id, 0),
        percent=running.progress_percent if running is not None else None,
        databases=tuple(databases),
    )


Judgement = tuple[FleetState, str, str, int | None]


def _judge(instance: Instance, facts: _Facts, now: datetime, *, oldest: datetime | None, is_late: bool) -> Judgement:
    """The first rule that holds, worst first."""
    last = facts.last[instance.id]
    running = instance.id in facts.running
    if is_paused(instance, now):
        return FleetState.PAUSED, "", "", None
    failed = max((run for run in last if run.status is TaskStatus.FAILED), key=lambda run: run.id, default=None)
    if failed is not None:
        return FleetState.FAILED, failed.error_message, failed.hint, failed.id
    if facts.jobs.get(instance.id) and (is_late or _never_came(instance, facts, now)):
        _, why, hint, run_id = _find_disproved(instance, facts) or (None, "", "", None)
        return FleetState.OVERDUE, f"{_overdue_words(instance, oldest, now)} {why}".strip(), hint, run_id
    unproven = _find_unproven(instance, facts)
    if unproven is not None and not running:
        return unproven
    if running:
        return FleetState.RUNNING, "", "", None
    warned = _find_warning(instance, facts)
    if warned is not None:
        return warned
    if not facts.newest[instance.id]:
        return FleetState.NEW, "", "", None
    return FleetState.PROTECTED, "", "", None


def _find_unproven(instance: Instance, facts: _Facts) -> Judgement | None:
    """What was not proved of the newest restore points, or what a restore test disproved."""
    unproven = facts.unverified.get(instance.id)
    if unproven is not None:
        words = f"The newest restore point of {unproven.database_name} is not verified."
        return FleetState.UNVERIFIED, words, "Verify it, or raise the job's verification level.", unproven.run_id
    return _find_disproved(instance, facts)


def _find_disproved(instance: Instance, facts: _Facts) -> Judgement | None:
    """The newest restore test, when it failed: its restore point counts no more."""
    drill = facts.drills.get(instance.id)
    if drill is None or drill.passed:
        return None
    archive = db.session.get_one(Archive, drill.archive_id)
    wrong = next((item for item in archive.drill_report if item["state"] == "failed"), {"title": "", "detail": ""})
    words = f"Backups run, but the newest restore test of {drill.database} failed: {wrong['title']}: {wrong['detail']}"
    return FleetState.UNVERIFIED, words, wrong.get("hint", ""), archive.run_id


def _find_warning(instance: Instance, facts: _Facts) -> Judgement | None:
    """A newest run with warnings, or a retention that waits for a person."""
    warned = [run for run in facts.last[instance.id] if run.status is TaskStatus.COMPLETED_WITH_WARNINGS]
    if warned:
        newest = max(warned, key=lambda run: run.id)
        return FleetState.WARNING, newest.error_message, newest.hint, newest.id
    if instance.id in facts.frozen:
        hint = "Look at the job's retention, then let it go on, or pin what must stay."
        return FleetState.WARNING, facts.frozen[instance.id], hint, None
    return None


def _never_came(instance: Instance, facts: _Facts, now: datetime) -> bool:
    """A job exists for longer than the target, and still there is no verified restore point."""
    created_long_ago = instance.created_at < now - timedelta(hours=instance.target_age_hours)
    return created_long_ago and not facts.newest[instance.id]


def _overdue_words(instance: Instance, oldest: datetime | None, now: datetime) -> str:
    if oldest is None:
        return f"There is no verified backup yet (target {instance.target_age_hours} h)."
    age = format_duration((now - oldest).total_seconds())
    return f"No verified backup for {age} (target {instance.target_age_hours} h)."
