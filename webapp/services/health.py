"""Health: database, migrations, Redis, scheduler, workers, disk. Asked by /readyz, the overview, the page head and ``doctor``."""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from webapp.core.reports import Check, CheckState
from webapp.core.status import QueueName
from webapp.core.text import plural
from webapp.engine.shelf import SENTINEL
from webapp.services.settings import get_settings
from webapp.services.wiring import wired
from webapp.store.db import db, writing
from webapp.store.models import Beat, Job
from webapp.store.revision import applied_revision, wanted_revision

# It beats every 10 s. With the 5 s for which a report is kept and the 15 s between two looks of the overview: told within 60 s.
SCHEDULER_IS_SILENT_AFTER = timedelta(seconds=35)
# Slots are settled every few seconds, whether workers are free or not.
OVERDUE_AFTER = timedelta(minutes=2)
NEEDED_QUEUES = (QueueName.BACKUPS.value, QueueName.DEFAULT.value)
FORGOTTEN_AFTER = timedelta(days=1)
KEPT_SECONDS = 5
_RESTART = "Start Holdfast again (make run), or the process alone: see Procfile."


@dataclass(frozen=True, slots=True)
class HealthReport:
    """Every question and its answer, in the order in which to mend them."""

    at: datetime
    checks: tuple[Check, ...]

    @property
    def ready(self) -> bool:
        """Whether backups can run: no check failed."""
        return not self.problems

    @property
    def problems(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.state is CheckState.FAILED)

    @property
    def warnings(self) -> tuple[Check, ...]:
        """The checks that warn."""
        return tuple(check for check in self.checks if check.state is CheckState.WARNING)

    @property
    def line(self) -> str:
        """One sentence for the foot of a page."""
        if self.problems:
            return self.problems[0].detail
        if self.warnings:
            return self.warnings[0].detail
        return "Everything that Holdfast needs is running."


def check(now: datetime) -> HealthReport:
    """Ask everything now. Never raises for an outage: that is an answer."""
    database = _check_database()
    if database.state is CheckState.FAILED:
        return HealthReport(now, (database, *_check_queue(now), _check_disk(Path(wired().archive_directory), 0)))
    return HealthReport(
        now,
        (
            database,
            _check_migrations(),
            *_check_queue(now),
            _check_scheduler(now),
            _check_calendar(now),
            _check_disk(wired().archive_directory, get_settings().reserve_bytes),
        ),
    )


class _Kept:
    """The last report of this process, so that pages do not ask Redis each time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.report: HealthReport | None = None
        self.asked_by: object = None


_kept = _Kept()


def glance(now: datetime) -> HealthReport:
    """As ``check``, but up to 5 seconds old: for the head of every page."""
    wiring = wired()
    report = _kept.report if _kept.asked_by is wiring else None
    if report and abs((now - report.at).total_seconds()) < KEPT_SECONDS:
        return report
    # While one asks (a Redis that does not answer costs seconds), the others go on with what was known.
    if not _kept.lock.acquire(blocking=report is None) and report:
        return report
    try:
        _kept.report, _kept.asked_by = check(now), wiring
        return _kept.report
    finally:
        _kept.lock.release()


def record_beat(
    kind: str, name: str, *, started_at: datetime, now: datetime, details: dict[str, Any] | None = None
) -> None:
    """A sign of life of a "scheduler" or "worker" process; at least every 20 seconds. Old ones of dead processes go."""
    with writing() as session:
        session.merge(Beat(name=name, kind=kind, started_at=started_at, at=now, details=details or {}))
        session.execute(sa.delete(Beat).where(Beat.at < now - FORGOTTEN_AFTER))


def end_beat(name: str) -> None:
    """The process ended as it should."""
    with writing() as session:
        session.execute(sa.delete(Beat).where(Beat.name == name))


def newest_beat(kind: str, name_prefix: str = "") -> datetime | None:
    """The last sign of life of any process of a kind, or of those whose name begins so."""
    query = sa.select(sa.func.max(Beat.at, type_=Beat.at.type))
    return db.session.scalar(query.where(Beat.kind == kind, Beat.name.startswith(name_prefix, autoescape=True)))


def _check_database() -> Check:
    try:
        db.session.execute(sa.text("SELECT 1"))
    except SQLAlchemyError:
        db.session.rollback()
        return _failed(
            "database", "Database", "The database does not answer.", "Check DATABASE_URL, the server and the disk."
        )
    return _passed("database", "Database", db.engine.dialect.name)


def _check_migrations() -> Check:
    applied, wanted = applied_revision(), wanted_revision()
    if applied != wanted:
        detail = f"The database is at migration {applied or 'none'}, the program needs {wanted}."
        return _failed("migrations", "Migrations", detail, "Run holdfast migrate, then start again.")
    return _passed("migrations", "Migrations", str(applied))


def _check_queue(now: datetime) -> tuple[Check, ...]:
    look = wired().look_at_queue
    if look is None:
        return (Check("redis", "Redis", CheckState.SKIPPED, "Nobody watches the queue here."),)
    report = look(now)
    if not report.reachable:
        return (_failed("redis", "Redis", report.error, report.hint),)
    alive = len(report.workers_alive)
    if alive == 0:
        detail = "No worker is running, so nothing is backed up."
        return (_passed("redis", "Redis", "reachable"), _failed("workers", "Workers", detail, _RESTART))
    heard = {name for worker in report.workers_alive for name in worker.queues}
    if unheard := [name for name in NEEDED_QUEUES if name not in heard]:
        detail = f"No running worker listens to the queue {' or '.join(unheard)}, so what waits there is not done."
        return (_passed("redis", "Redis", "reachable"), _failed("workers", "Workers", detail, _RESTART))
    waiting = sum(queue.waiting for queue in report.queues)
    return (
        _passed("redis", "Redis", "reachable"),
        _passed("workers", "Workers", f"{alive} running, {waiting} waiting"),
    )


def _check_scheduler(now: datetime) -> Check:
    last = newest_beat("scheduler")
    if last is None or now - last > SCHEDULER_IS_SILENT_AFTER:
        since = f"since {last:%d %b %H:%M} UTC" if last else "and has never been seen"
        detail = f"The scheduler is not running {since}, so no job starts by itself."
        return _failed("scheduler", "Scheduler", detail, _RESTART)
    return _passed("scheduler", "Scheduler", f"seen {max(0, int((now - last).total_seconds()))} s ago")


def _check_calendar(now: datetime) -> Check:
    """A scheduler may beat and yet get nowhere: what counts is that no job is overdue."""
    query = sa.select(sa.func.count(), sa.func.min(Job.next_slot_at, type_=Job.next_slot_at.type))
    late = query.where(Job.next_slot_at < now - OVERDUE_AFTER, Job.enabled.is_(True), Job.deleted_at.is_(None))
    count, since = db.session.execute(late).one()
    if count:
        detail = f"{count} {plural(count, 'job is', 'jobs are')} overdue, the first since {since:%d %b %H:%M} UTC."
        return _failed(
            "calendar", "Calendar", detail, "The scheduler's log says why. If it stands still, start it again."
        )
    return _passed("calendar", "Calendar", "no job is overdue")


def _check_disk(directory: Path, reserve_bytes: int) -> Check:
    if not (directory / SENTINEL).exists():
        detail = f"The archive directory {directory} is not the store: its marker {SENTINEL} is missing."
        return _failed("disk", "Archive disk", detail, "Mount its disk, or check HOLDFAST_ARCHIVE_DIR.")
    try:
        free = shutil.disk_usage(directory).free
    except OSError as error:
        detail = f"The archive directory {directory} cannot be read: {error.strerror}."
        return _failed("disk", "Archive disk", detail, "Mount it, or check HOLDFAST_ARCHIVE_DIR and its permissions.")
    said = f"{free / 1e9:.1f} GB free"
    if free <= reserve_bytes:
        detail = f"The archive disk is full: {said}, and {reserve_bytes / 1e9:.1f} GB must remain."
        return _failed("disk", "Archive disk", detail, "Free some space, or lower the reserve in Settings.")
    if free <= 2 * reserve_bytes:
        return Check("disk", "Archive disk", CheckState.WARNING, f"The archive disk is nearly full: {said}.", said)
    return _passed("disk", "Archive disk", said)


def _passed(key: str, title: str, value: str) -> Check:
    return Check(key, title, CheckState.PASSED, value=value)


def _failed(key: str, title: str, detail: str, hint: str) -> Check:
    return Check(key, title, CheckState.FAILED, detail=detail, hint=hint)
