"""What one instance's page tells of its past: a strip for each job, the run history, the sizes of its backups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from webapp.core.cron import describe, parse
from webapp.core.status import ACTIVE_STATUSES, ErrorCode, TaskStatus, TaskType
from webapp.services.fleet import STRIP_LENGTH, RunMark, mark_of
from webapp.services.jobs import list_jobs
from webapp.store.db import db
from webapp.store.models import Job, Run, Task

HISTORY_LENGTH = 50
CHART_DAYS = 90
PROBLEMS = (TaskStatus.FAILED, TaskStatus.COMPLETED_WITH_WARNINGS)


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as tables show it: its schedule in words, and its newest runs, oldest first."""

    job: Job
    sentence: str
    marks: tuple[RunMark, ...]

    @property
    def summary(self) -> str:
        """The strip in words."""
        words = {"ok": "succeeded", "warn": "with warnings", "fail": "failed", "run": "running"}
        counts = [(sum(mark.kind == kind for mark in self.marks), word) for kind, word in words.items()]
        said = ", ".join(f"{count} {word}" for count, word in counts if count)
        return f"Last {len(self.marks)} runs: {said}" if said else "No runs yet"


@dataclass(frozen=True, slots=True)
class History:
    """The newest runs that a filter lets through, and how many there are behind each chip."""

    runs: Sequence[Run]
    all_count: int
    problem_count: int
    manual_count: int


@dataclass(frozen=True, slots=True)
class DaySize:
    """The largest backup of a day; parts are None where the source cannot tell them apart."""

    at: datetime
    size_bytes: int
    database_bytes: int | None
    filestore_bytes: int | None


def list_job_rows(instance_id: int) -> list[JobRow]:
    """The live jobs of an instance by name, with their strips."""
    jobs = list_jobs(instance_id)
    marks = _marks_of([job.id for job in jobs])
    return [JobRow(job, describe(parse(job.cron)), tuple(marks[job.id])) for job in jobs]


def job_row(job: Job) -> JobRow:
    """One job with its strip."""
    return JobRow(job, describe(parse(job.cron)), tuple(_marks_of([job.id])[job.id]))


def _marks_of(job_ids: Sequence[int]) -> dict[int, list[RunMark]]:
    number = sa.func.row_number().over(partition_by=Run.job_id, order_by=Run.id.desc()).label("n")
    inner = sa.select(Run.id, number).where(Run.job_id.in_(job_ids), Run.status != TaskStatus.PENDING).subquery()
    query = sa.select(Run).where(Run.id.in_(sa.select(inner.c.id).where(inner.c.n <= STRIP_LENGTH))).order_by(Run.id)
    found: dict[int, list[RunMark]] = defaultdict(list)
    for run in db.session.scalars(query):
        assert run.job_id is not None
        found[run.job_id].append(mark_of(run))
    return found


def list_history(instance_id: int, only: str = "", limit: int = HISTORY_LENGTH) -> History:
    """The newest runs of the instance, all jobs together. ``only``: "" for all, "problems", "manual"."""
    of_instance = sa.select(Run).where(Run.instance_id == instance_id)
    problems = of_instance.where(
        Run.status.in_(PROBLEMS), sa.or_(Run.error_code.is_(None), Run.error_code != ErrorCode.CANCELLED)
    )
    manual = of_instance.where(Run.triggered_by != "scheduled")
    chosen = {"problems": problems, "manual": manual}.get(only, of_instance)
    return History(
        runs=db.session.scalars(chosen.order_by(Run.id.desc()).limit(limit)).all(),
        all_count=_count(of_instance),
        problem_count=_count(problems),
        manual_count=_count(manual),
    )


def _count(query: sa.Select[Run]) -> int:
    return db.session.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0


def list_sizes(instance_id: int, now: datetime) -> list[DaySize]:
    """The largest successful backup of each of the last 90 days, oldest first: the growth of the instance."""
    query = (
        sa.select(Run.started_at, Run.size_bytes, Run.database_bytes, Run.filestore_bytes)
        .where(
            Run.instance_id == instance_id,
            Run.size_bytes.is_not(None),
            Run.created_at > now - timedelta(days=CHART_DAYS),
            Run.status.in_([TaskStatus.COMPLETED, TaskStatus.COMPLETED_WITH_WARNINGS]),
        )
        .order_by(Run.id)
    )
    days: dict[str, DaySize] = {}
    for at, size, database, filestore in db.session.execute(query):
        if at is None or size is None:
            continue
        day = at.date().isoformat()
        if day not in days or days[day].size_bytes < size:
            days[day] = DaySize(at, size, database, filestore)
    return [days[day] for day in sorted(days)]


def is_busy(instance_id: int) -> bool:
    """Whether a backup of the instance waits or runs, so that its page looks again soon."""
    query = sa.select(Task.id).where(
        Task.instance_id == instance_id,
        Task.status.in_(ACTIVE_STATUSES),
        Task.type.in_([TaskType.BACKUP, TaskType.FAN_OUT]),
    )
    return db.session.scalar(query.limit(1)) is not None
