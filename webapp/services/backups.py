"""Backups: a Run executed. A plan from rows, bytes through the engine, the result in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.core.errors import InvalidInput
from webapp.core.plans import BackupPlan, Previous
from webapp.core.reports import BackupResult
from webapp.core.status import ArchiveFormat, VerificationStatus
from webapp.engine import backup as engine_backup
from webapp.engine.sources.registry import build_source
from webapp.services.archives import add_archive, newest_verified
from webapp.services.drill_policies import drill_after_run
from webapp.services.execution import Outcome, execute
from webapp.services.instance_plans import secrets_of, source_plan
from webapp.services.reporting import TaskReporter
from webapp.services.retention import add_retention
from webapp.services.runs import get_run
from webapp.services.sentinel import watch
from webapp.services.settings import get_settings
from webapp.services.snapshot_runs import take_snapshot
from webapp.services.store import the_shelf
from webapp.services.wiring import wired
from webapp.store.db import db, release
from webapp.store.models import Archive, Instance, Run

_QUARANTINED = "The archive is kept in quarantine and does not count as a backup. Look at the report."


def execute_run(run_id: int, *, clock: Callable[[], datetime]) -> None:
    """Execute one backup: plan from rows, bytes through the engine, result in one transaction."""
    execute(run_id, lambda i, reporter: _back_up(i, reporter, clock), clock=clock)


def _back_up(run_id: int, reporter: TaskReporter, clock: Callable[[], datetime]) -> Outcome:
    run = get_run(run_id)
    if run.format is ArchiveFormat.SNAPSHOT:
        return take_snapshot(run_id, reporter, clock)
    plan = backup_plan(run, clock())
    reporter.hide(*secrets_of(plan.source))
    source = build_source(plan.source)
    release()
    result = engine_backup.run(plan, source, reporter)
    error = result.report.error(hint=_QUARANTINED) if result.report is not None else None
    outcome = Outcome(values=_run_values(result), error=error)

    def store(session: Session) -> None:
        stored = get_run(run_id)
        archive = add_archive(session, stored, result, now=clock())
        watch(session, stored, archive, clock())
        if not result.quarantined and stored.verification_status is VerificationStatus.PASSED:
            followers = (add_retention(session, stored, now=clock()), drill_after_run(session, archive, now=clock()))
            session.flush()
            outcome.ring += [task.id for task in followers if task is not None]

    def undo() -> None:
        # The sweeper may have adopted it while we stood still after the rename: then it counts, and stays.
        if not _is_recorded(result.relative_path):
            the_shelf().remove(result.relative_path)

    outcome.store, outcome.undo = store, undo
    return outcome


def _is_recorded(relative_path: str) -> bool:
    found = db.session.scalar(sa.select(Archive.id).where(Archive.relative_path == relative_path))
    release()
    return found is not None


def backup_plan(run: Run, now: datetime) -> BackupPlan:
    """Everything the engine needs, unsealed, as one frozen value."""
    instance = run.instance
    if instance is None or instance.deleted_at is not None:
        raise InvalidInput("The instance of this run was deleted.")
    previous = newest_verified(instance.id, run.database_name, run.content)
    return BackupPlan(
        run_id=run.id,
        fence=run.fence,
        attempt=run.attempt,
        instance_id=instance.id,
        instance_name=instance.name,
        instance_directory=instance_directory(instance),
        job_id=run.job_id,
        database=run.database_name,
        content=run.content,
        format=run.format,
        source=source_plan(instance),
        store_directory=str(wired().archive_directory),
        started_at=now,
        verification=run.verification_level,
        previous=_previous(previous),
        expected_bytes=previous.size_bytes if previous else 0,
        reserve_bytes=get_settings().reserve_bytes,
        compression_threads=wired().compression_threads,
        labels={"job": run.job_name, "instance": instance.name, "triggered_by": run.triggered_by},
    )


def instance_directory(instance: Instance) -> str:
    """The instance's folder in the store: its id, so that renaming moves nothing, and its slug for people."""
    return f"{instance.id}-{instance.slug}"


def _previous(archive: Archive | None) -> Previous | None:
    if archive is None:
        return None
    return Previous(archive.size_bytes, archive.row_total, archive.attachment_count, archive.taken_at)


def _run_values(result: BackupResult) -> dict[str, Any]:
    status = VerificationStatus.NOT_RUN
    if result.report is not None:
        status = VerificationStatus.PASSED if result.report.passed else VerificationStatus.FAILED
    return {
        "verification_status": status,
        "size_bytes": result.size_bytes,
        "database_bytes": result.facts.dump_bytes or None,
        "filestore_bytes": result.facts.filestore_bytes or None,
    }
