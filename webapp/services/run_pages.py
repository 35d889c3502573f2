"""What the run page, the run lists and the task lists show: view models, read-only."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

import sqlalchemy as sa

from webapp.core.reports import Check
from webapp.core.status import (
    ArchiveFormat,
    ArchiveState,
    ErrorCode,
    TaskStatus,
    VerificationStatus,
)
from webapp.core.text import format_duration
from webapp.services.archives import archive_of_run
from webapp.services.runs import get_run
from webapp.services.snapshots import snapshot_commands
from webapp.services.tasks import count_log_lines, list_log
from webapp.store.db import db
from webapp.store.models import Archive, Run, Task, TaskLog, TaskStep

PAGE_LINES = 2000


@dataclass(frozen=True, slots=True)
class Outcome:
    """The derived word that people see. ``kind``: ok, warn, fail, run or idle."""

    kind: str
    word: str


_CODE_WORDS = {
    ErrorCode.CANCELLED: Outcome("idle", "Cancelled"),
    ErrorCode.SKIPPED_OVERLAP: Outcome("idle", "Skipped"),
    ErrorCode.WORKER_LOST: Outcome("fail", "Interrupted"),
    ErrorCode.SHUTDOWN: Outcome("fail", "Interrupted"),
    ErrorCode.TIMEOUT: Outcome("fail", "Timed out"),
}


def outcome_of(task: Task) -> Outcome:
    """Status and error code as one word."""
    if task.status is TaskStatus.PENDING:
        return Outcome("idle", "Waiting to retry" if task.attempt else "Waiting")
    if task.status is TaskStatus.RUNNING:
        percent = task.progress_percent
        return Outcome("run", f"Running {percent} %" if percent is not None else "Running")
    if task.error_code in _CODE_WORDS:
        return _CODE_WORDS[task.error_code]
    if task.status is TaskStatus.FAILED:
        return Outcome("fail", "Failed")
    if task.status is TaskStatus.COMPLETED_WITH_WARNINGS:
        return Outcome("warn", "Warnings")
    if isinstance(task, Run) and task.verification_status is VerificationStatus.PASSED:
        return Outcome("ok", "Verified")
    return Outcome("ok", "Completed")


def duration_seconds(task: Task, now: datetime) -> float | None:
    """How long it took, or takes so far; None before it began."""
    if task.started_at is None:
        return None
    return max(0.0, ((task.completed_at or now) - task.started_at).total_seconds())


@dataclass(frozen=True, slots=True)
class StepView:
    """A step with its bar: ``x`` and ``width`` in a strip of 200 units."""

    row: TaskStep
    kind: str
    seconds: float
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class RunPage:
    """All that the run page shows."""

    run: Run
    outcome: Outcome
    seconds: float | None
    eta: str
    ahead: int
    steps: Sequence[StepView]
    lines: Sequence[TaskLog]
    last_line: int
    total_lines: int
    archive: Archive | None
    checks: Sequence[Check]
    by_hand: Sequence[str]
    previous_id: int | None
    next_id: int | None

    @property
    def live(self) -> bool:
        """Whether it may still change."""
        return not self.run.status.is_final


def get_run_page(run_id: int, now: datetime, *, from_line: int | None = None) -> RunPage:
    """The run page; the newest lines of a long log unless a first line is asked for. Raises NotFound."""
    run = get_run(run_id)
    archive = archive_of_run(run_id)
    total = count_log_lines(run_id)
    after = max(0, total - PAGE_LINES) if from_line is None else max(0, from_line - 1)
    lines = list_log(run_id, after, PAGE_LINES)
    return RunPage(
        run=run,
        outcome=outcome_of(run),
        seconds=duration_seconds(run, now),
        eta=estimate_left(run, now),
        ahead=count_ahead(run),
        steps=step_views(run, now),
        lines=lines,
        last_line=lines[-1].n if lines else after,
        total_lines=total,
        archive=archive,
        checks=[Check.from_json(item) for item in archive.report] if archive is not None else [],
        by_hand=restore_commands(archive) if archive is not None else [],
        previous_id=_neighbour(run, newer=False),
        next_id=_neighbour(run, newer=True),
    )


def step_views(task: Task, now: datetime) -> list[StepView]:
    """The steps of a task with their bars."""
    query = sa.select(TaskStep).where(TaskStep.task_id == task.id).order_by(TaskStep.position)
    rows = db.session.scalars(query).all()
    if not rows:
        return []
    began = rows[0].started_at
    ended = max(row.completed_at or now for row in rows)
    whole = max(0.001, (ended - began).total_seconds())
    kinds = {"running": "run", "completed": "ok", "warning": "warn", "failed": "fail"}
    views = []
    for row in rows:
        seconds = max(0.0, ((row.completed_at or now) - row.started_at).total_seconds())
        x = (row.started_at - began).total_seconds() / whole * 200
        width = max(2.5, seconds / whole * 200)
        views.append(StepView(row, kinds[row.status.value], seconds, min(x, 197.5), min(width, 200 - min(x, 197.5))))
    return views


def estimate_left(run: Run, now: datetime) -> str:
    """Words about the time left, from the last five runs of the same job and database; "" when unsure."""
    if run.status is not TaskStatus.RUNNING or run.job_id is None or run.started_at is None:
        return ""
    query = (
        sa.select(Run)
        .where(Run.job_id == run.job_id, Run.database_name == run.database_name, Run.completed_at.is_not(None))
        .where(Run.status.in_((TaskStatus.COMPLETED, TaskStatus.COMPLETED_WITH_WARNINGS)))
        .order_by(Run.id.desc())
        .limit(5)
    )
    took = [seconds for old in db.session.scalars(query) if (seconds := duration_seconds(old, now))]
    if len(took) < 2:
        return ""
    left = median(took) - (now - run.started_at).total_seconds()
    return f"about {format_duration(max(60, round(left / 60) * 60))} left" if left > 20 else ""


def count_ahead(run: Run) -> int:
    """Backups that wait in front of this one."""
    if run.status is not TaskStatus.PENDING:
        return 0
    query = sa.select(sa.func.count()).select_from(Run).where(Run.status == TaskStatus.PENDING, Run.id < run.id)
    return db.session.scalar(query) or 0


def _neighbour(run: Run, *, newer: bool) -> int | None:
    query = sa.select(Run.id).where(Run.job_id == run.job_id, Run.database_name == run.database_name)
    query = (
        query.where(Run.id > run.id).order_by(Run.id) if newer else query.where(Run.id < run.id).order_by(Run.id.desc())
    )
    return db.session.scalar(query.limit(1))


def restore_commands(archive: Archive) -> list[str]:
    """Commands that put the archive back with standard tools alone, safe to paste."""
    if archive.state not in (ArchiveState.STORED, ArchiveState.QUARANTINED):
        return []
    if archive.format is ArchiveFormat.SNAPSHOT:
        return snapshot_commands(archive.id)
    name = shlex.quote(archive.relative_path.rsplit("/", 1)[-1])
    target = shlex.quote(f"{archive.database_name}_restored"[:63])
    check = f"echo {shlex.quote(f'{archive.sha256}  ')}{name} | sha256sum -c"
    create = f"createdb -T template0 -- {target}"
    if archive.format is ArchiveFormat.CUSTOM:
        return [check, create, f"pg_restore --no-owner --exit-on-error -d {target} {name}"]
    return [
        check,
        f"unzip -q {name} -d restored",
        create,
        f"psql -X -v ON_ERROR_STOP=1 -1 -d {target} -f restored/dump.sql",
    ]


def details_of(task: Task) -> dict[str, Any]:
    """What the API adds to a run's details."""
    if not isinstance(task, Run):
        return {}
    archive = archive_of_run(task.id)
    return {
        "database": task.database_name,
        "job_id": task.job_id,
        "scheduled_at": task.scheduled_at.isoformat() if task.scheduled_at else None,
        "size_bytes": task.size_bytes,
        "verification_status": task.verification_status.value,
        "restore_point_id": archive.id if archive is not None else None,
    }


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs to list; newest first. ``outcome``: "", "problems", "ok", "active", "manual"."""

    instance_id: int | None = None
    job_id: int | None = None
    status: TaskStatus | None = None
    outcome: str = ""
    words: str = ""
    offset: int = 0
    limit: int = 50


_PROBLEMS = (TaskStatus.FAILED, TaskStatus.COMPLETED_WITH_WARNINGS)


def list_runs(wanted: RunFilter) -> tuple[Sequence[Run], int]:
    """One page of runs, newest first, and how many there are in all."""
    query = _filtered(wanted)
    total = db.session.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0
    page = query.order_by(Run.id.desc()).offset(wanted.offset).limit(wanted.limit)
    return db.session.scalars(page).all(), total


def count_outcomes(wanted: RunFilter) -> dict[str, int]:
    """How many runs each outcome filter would show."""
    counts = {}
    for outcome in ("", "problems", "ok", "active", "manual"):
        narrowed = RunFilter(wanted.instance_id, wanted.job_id, None, outcome, wanted.words)
        counts[outcome] = db.session.scalar(sa.select(sa.func.count()).select_from(_filtered(narrowed).subquery())) or 0
    return counts


def _filtered(wanted: RunFilter) -> sa.Select[Run]:
    query = sa.select(Run)
    if wanted.instance_id is not None:
        query = query.where(Run.instance_id == wanted.instance_id)
    if wanted.job_id is not None:
        query = query.where(Run.job_id == wanted.job_id)
    if wanted.status is not None:
        query = query.where(Run.status == wanted.status)
    for word in wanted.words.split():
        like = f"%{word.replace('%', '').replace('_', '')}%"
        query = query.where(
            sa.or_(Run.instance_name.ilike(like), Run.database_name.ilike(like), Run.job_name.ilike(like))
        )
    conditions = {
        "problems": sa.and_(
            Run.status.in_(_PROBLEMS), sa.or_(Run.error_code.is_(None), Run.error_code.not_in(tuple(_CODE_WORDS)[:2]))
        ),
        "ok": Run.status == TaskStatus.COMPLETED,
        "active": Run.status.in_((TaskStatus.PENDING, TaskStatus.RUNNING)),
        "manual": Run.triggered_by != "scheduled",
    }
    condition = conditions.get(wanted.outcome)
    return query if condition is None else query.where(condition)
