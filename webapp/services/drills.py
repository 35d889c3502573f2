"""Restore drills: asked for by a person or by a job's policy, held by a worker, kept with their archive.

What a drill found is true in the same transaction that settles its task. A failed drill takes its archive out of what counts
(``Archive.drill_status`` is *failed*, whatever its verification said); a drill that could not be held says nothing about it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.core.actors import Actor
from webapp.core.errors import Conflict, HoldfastError, NotFound
from webapp.core.reports import Check, CheckState
from webapp.core.restore_plans import DrillPlan, DrillReport, OwnQuestion
from webapp.core.status import (
    ArchiveState,
    ErrorCode,
    TaskStatus,
    TaskType,
    VerificationStatus,
)
from webapp.core.text import format_duration
from webapp.engine.drill import run as engine_drill
from webapp.engine.drill.cluster import sweep
from webapp.services import audit
from webapp.services.archives import file_path, get_archive, read_manifest
from webapp.services.execution import Outcome, execute
from webapp.services.reporting import TaskReporter
from webapp.services.tasks import add, find_active, find_newest, ring
from webapp.services.wiring import wired
from webapp.store.db import db, release, writing
from webapp.store.models import Archive, Drill, Job

logger = logging.getLogger(__name__)

TIME_LIMIT_SECONDS = 6 * 3600


@dataclass(frozen=True, slots=True)
class DrillFilter:
    """Which drills to list; None means any. Newest first."""

    archive_id: int | None = None
    instance_id: int | None = None
    status: TaskStatus | None = None
    offset: int = 0
    limit: int = 50


@dataclass(frozen=True, slots=True)
class DrillFacts:
    """The newest restore drill of an instance, as overview and instance page say it: «restore-tested 8 h ago, 9 min»."""

    instance_id: int
    archive_id: int
    database: str
    drilled_at: datetime
    seconds: float | None
    passed: bool


# Asking


def request_drill(archive_id: int, *, actor: Actor, now: datetime) -> Drill:
    """Ask a worker for a drill of the archive; one on its way is answered instead. Raises NotFound, Conflict."""
    with writing() as session:
        archive = get_archive(archive_id)
        if archive.state is not ArchiveState.STORED:
            raise Conflict(
                f"Restore point {archive_id} cannot be drilled: it is {archive.state.value}.",
                hint="Only restore points that lie in the store can be restored for practice.",
            )
        file_path(archive)
        active = find_active_drill(archive_id)
        if active is not None:
            return active
        drill = add_drill(session, archive, triggered_by=actor.triggered_by, now=now)
        session.flush()
        audit.record(
            actor,
            "archive.drilled",
            subject_kind="archive",
            subject_id=archive.id,
            subject_name=f"{archive.instance_name} / {archive.database_name}",
            details={"task_id": drill.id},
            now=now,
        )
    ring([drill.id])
    return drill


def add_drill(session: Session, archive: Archive, *, triggered_by: str, now: datetime) -> Drill:
    """A pending drill inside the caller's ``writing()``; ring its id after the commit."""
    drill = Drill(
        type=TaskType.DRILL,
        title=f"{archive.instance_name} / {archive.database_name}: restore drill of restore point {archive.id}"[:200],
        triggered_by=triggered_by,
        instance_id=archive.instance_id,
        instance_name=archive.instance_name,
        archive_id=archive.id,
        max_attempts=2,
        retry_delay_seconds=600,
        time_limit_seconds=TIME_LIMIT_SECONDS,
    )
    add(drill, now=now)
    return drill


# Looking


def get_drill(drill_id: int) -> Drill:
    """The drill. Raises NotFound."""
    drill = db.session.get(Drill, drill_id, populate_existing=True)
    if drill is None:
        raise NotFound(f"There is no restore drill {drill_id}.")
    return drill


def find_active_drill(archive_id: int) -> Drill | None:
    """The archive's drill that waits or runs."""
    return find_active(Drill, Drill.archive_id == archive_id)


def latest_drill(archive_id: int) -> Drill | None:
    """The archive's newest drill, whatever its state."""
    return find_newest(Drill, Drill.archive_id == archive_id)


def list_drills(wanted: DrillFilter) -> tuple[Sequence[Drill], int]:
    """One page of drills, newest first, and how many there are in all."""
    query = sa.select(Drill)
    if wanted.archive_id is not None:
        query = query.where(Drill.archive_id == wanted.archive_id)
    if wanted.instance_id is not None:
        query = query.where(Drill.instance_id == wanted.instance_id)
    if wanted.status is not None:
        query = query.where(Drill.status == wanted.status)
    total = db.session.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0
    return db.session.scalars(query.order_by(Drill.id.desc()).offset(wanted.offset).limit(wanted.limit)).all(), total


def newest_drills(instance_ids: Iterable[int]) -> dict[int, DrillFacts]:
    """The newest drill that gave a verdict, for each instance that has one."""
    place = sa.func.row_number().over(partition_by=Archive.instance_id, order_by=Archive.drilled_at.desc())
    ranked = (
        sa.select(Archive.id.label("archive_id"), place.label("place"))
        .where(Archive.instance_id.in_(list(instance_ids)), Archive.drilled_at.is_not(None))
        .subquery()
    )
    query = sa.select(Archive).join(ranked, ranked.c.archive_id == Archive.id).where(ranked.c.place == 1)
    found: dict[int, DrillFacts] = {}
    for archive in db.session.scalars(query):
        if archive.instance_id is not None and archive.drilled_at is not None:
            found[archive.instance_id] = DrillFacts(
                archive.instance_id,
                archive.id,
                archive.database_name,
                archive.drilled_at,
                archive.drill_seconds,
                archive.drill_status is VerificationStatus.PASSED,
            )
    return found


def measured_restore_seconds(instance_id: int, database: str = "") -> float | None:
    """How long the newest passed drill of the instance (or of one database of it) took; None when none has passed."""
    query = sa.select(Archive.drill_seconds).where(
        Archive.instance_id == instance_id, Archive.drill_status == VerificationStatus.PASSED
    )
    if database:
        query = query.where(Archive.database_name == database)
    return db.session.scalar(query.order_by(Archive.drilled_at.desc()).limit(1))


# Holding


def execute_drill(task_id: int, *, clock: Callable[[], datetime]) -> None:
    """Execute a Drill task."""
    execute(task_id, lambda i, reporter: _hold(i, reporter, clock), clock=clock)


def _hold(task_id: int, reporter: TaskReporter, clock: Callable[[], datetime]) -> Outcome:
    drill = get_drill(task_id)
    archive_id = drill.archive_id
    plan = drill_plan(drill)
    release()
    report = engine_drill.run(plan, reporter)
    for check in report.checks:
        reporter.log(f"{check.title}: {check.detail or check.value or check.state.value}", check.state.log_level)

    def store(session: Session) -> None:
        record_drill(get_archive(archive_id), report, now=clock())

    values: dict[str, Any] = {
        "checks": [check.as_json() for check in report.checks],
        "seconds": round(report.seconds, 2),
        "facts": {**report.facts, "load_seconds": round(report.load_seconds, 2)},
    }
    return Outcome(values=values, store=store, error=_verdict(archive_id, report))


def drill_plan(drill: Drill) -> DrillPlan:
    """Everything the engine needs, as one frozen value. Raises NotFound, ArchiveError without a manifest."""
    archive = get_archive(drill.archive_id)
    job = db.session.get(Job, archive.job_id) if archive.job_id is not None else None
    # The row knows best what was written: archives that changed places took their manifests with them.
    manifest = replace(read_manifest(archive), size_bytes=archive.size_bytes, sha256=archive.sha256)
    return DrillPlan(
        task_id=drill.id,
        fence=drill.fence,
        archive_path=file_path(archive),
        archive_format=archive.format,
        manifest=manifest,
        directory=str(wired().drills),
        taken_at=archive.taken_at.isoformat(),
        questions=tuple(_questions_of(job)),
        boot_command=wired().drill_boot_command,
        jobs=wired().drill_jobs,
    )


def _questions_of(job: Job | None) -> Iterable[OwnQuestion]:
    for item in job.drill_checks if job is not None else ():
        if item.get("query", "").strip():
            yield OwnQuestion(item["query"], item.get("expected", ""))


def sweep_clusters() -> None:
    """Remove the throw-away clusters that killed drills left on this machine."""
    for name in sweep(str(wired().drills)):
        logger.warning("removed the cluster that a lost drill left: %s", name)


def record_drill(archive: Archive, report: DrillReport, *, now: datetime) -> None:
    """Keep a drill's answers with its archive."""
    archive.drill_status = VerificationStatus.PASSED if report.passed else VerificationStatus.FAILED
    archive.drilled_at = now
    archive.drill_seconds = round(report.seconds, 2)
    archive.drill_report = [check.as_json() for check in report.checks]


def _verdict(archive_id: int, report: DrillReport) -> HoldfastError | None:
    if report.passed:
        return None
    failed = [check for check in report.checks if check.state is CheckState.FAILED]
    first = failed[0] if failed else Check("drill", "Restore drill", CheckState.FAILED, "No question was asked.")
    return HoldfastError(
        f"The restore drill of restore point {archive_id} failed after {format_duration(report.seconds)}: "
        f"{first.title}: {first.detail}",
        hint=first.hint or "Do not rely on this restore point. Look at the drill's report, then run a new backup.",
        code=ErrorCode.DRILL_FAILED,
        permanent=True,
    )
