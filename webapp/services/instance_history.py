"""What one instance's page tells of its past: a strip for each job, the run history, the sizes of its backups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from webapp.core.cron import describe, parse
from webapp.core.status import ACTIVE_STATUSES, ErrorCode, TaskStatus, TaskType
from webapp.services.jobs import list_jobs
from webapp.services.strips import RunMark, list_job_marks, summarise
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
        return summarise(self.marks)


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
    marks = list_job_marks([job.id for job in jobs])
    return [JobRow(job, describe(parse(job.cron)), marks[job.id]) for job in jobs]


def job_row(job: Job) -> JobRow:
    """One job with its strip."""
    return JobRow(job, describe(parse(job.cron)), list_job_marks([job.id])[job.id])


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
        sa.select(
            sa.func.max(Run.started_at, type_=Run.started_at.type),
            sa.func.max(Run.size_bytes),
            sa.func.max(Run.database_bytes),
            sa.func.max(Run.filestore_bytes),
        )
        .where(
            Run.instance_id == instance_id,
            Run.size_bytes.is_not(None),
            Run.started_at > now - timedelta(days=CHART_DAYS),
            Run.status.in_([TaskStatus.COMPLETED, TaskStatus.COMPLETED_WITH_WARNINGS]),
        )
        .group_by(sa.func.date(Run.started_at))
        .order_by(sa.func.date(Run.started_at))
    )
    return [
        DaySize(at, size, database, filestore)
        for at, size, database, filestore in db.session.execute(query)
        if at is not None and size is not None
    ]


def is_busy(instance_id: int) -> bool:
    """Whether a backup of the instance waits or runs, so that its page looks again soon."""
    query = sa.select(Task.id).where(
        Task.instance_id == instance_id,
        Task.status.in_(ACTIVE_STATUSES),
        Task.type.in_([TaskType.BACKUP, TaskType.FAN_OUT]),
    )
    return db.session.scalar(query.limit(1)) is not None
