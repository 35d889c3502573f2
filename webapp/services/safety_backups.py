"""Safety backups: before a database is replaced, what it holds becomes a verified restore point."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from webapp.core.errors import HoldfastError, InvalidInput
from webapp.core.status import (
    ArchiveFormat,
    ArchiveState,
    Content,
    ErrorCode,
    FilestoreKind,
    InstanceKind,
    RestoreTarget,
    TaskStatus,
    TaskType,
    VerificationLevel,
    VerificationStatus,
)
from webapp.services.archives import archive_of_run
from webapp.services.execution import Outcome, Pause
from webapp.services.reporting import TaskReporter
from webapp.services.restore_tasks import SAFETY
from webapp.services.tasks import add
from webapp.store.db import db
from webapp.store.models import Instance, Job, Restore, Run

LOOK_AGAIN = timedelta(seconds=30)
TIME_LIMIT_SECONDS = 12 * 3600
ATTEMPTS = 2


def await_safety_backup(restore: Restore, reporter: TaskReporter, clock: Callable[[], datetime]) -> Outcome | None:
    """None when the restore may go on, else the pause in which its safety backup is made.

    Raises HoldfastError (safety_backup_failed) when it failed: nothing was touched then.
    """
    if restore.target is not RestoreTarget.REPLACE or not restore.details.get("safety_backup"):
        return None
    run = db.session.get(Run, restore.safety_run_id, populate_existing=True) if restore.safety_run_id else None
    if run is None:
        return _ask(restore, reporter, clock)
    if not run.status.is_final:
        return Outcome(pause=_pause(restore, clock))
    _require_good(run)
    reporter.log(f"The safety backup is run {run.id}; it is verified.", "good")
    return None


def _ask(restore: Restore, reporter: TaskReporter, clock: Callable[[], datetime]) -> Outcome:
    restore_id = restore.id
    outcome = Outcome(pause=_pause(restore, clock))
    reporter.step("safety", "Safety backup", f"{restore.instance_name} / {restore.target_database}")

    def store(session: Session) -> None:
        stored = session.get_one(Restore, restore_id)
        run = _add_run(session, stored, now=clock())
        session.flush()
        stored.safety_run_id = run.id
        outcome.ring.append(run.id)

    outcome.store = store
    return outcome


def _pause(restore: Restore, clock: Callable[[], datetime]) -> Pause:
    words = f"Waiting: safety backup of {restore.instance_name} / {restore.target_database}."
    return Pause(clock() + LOOK_AGAIN, words)


def _add_run(session: Session, restore: Restore, *, now: datetime) -> Run:
    """A run like any other. One for a refresh job belongs to that job, whose retention then applies to it."""
    instance = restore.instance
    if instance is None or instance.deleted_at is not None:
        raise InvalidInput("The instance of the database that would be replaced was deleted.")
    job = session.get(Job, restore.job_id) if restore.job_id is not None else None
    run = Run(
        type=TaskType.BACKUP,
        title=f"{instance.name} / {restore.target_database}: safety backup before restore {restore.id}"[:200],
        triggered_by=f"{SAFETY}{restore.id}",
        instance_id=instance.id,
        instance_name=instance.name,
        job_id=job.id if job is not None else None,
        job_name=job.name if job is not None else "Safety backup",
        database_name=restore.target_database,
        content=content_of(instance),
        format=ArchiveFormat.ZIP,
        verification_level=VerificationLevel.COMPLETE,
        exclusive=True,
        max_attempts=ATTEMPTS,
        retry_delay_seconds=60,
        time_limit_seconds=TIME_LIMIT_SECONDS,
        snapshot={"restore": restore.id},
    )
    add(run, now=now)
    return run


def content_of(instance: Instance) -> Content:
    """The most that a backup of the instance can hold."""
    has_files = instance.kind is InstanceKind.ODOO_HTTP or (
        instance.kind is InstanceKind.ODOO_POSTGRES and instance.filestore_kind is not FilestoreKind.NONE
    )
    return Content.DATABASE_AND_FILESTORE if has_files else Content.DATABASE


def _require_good(run: Run) -> None:
    archive = archive_of_run(run.id)
    good = (
        run.status is not TaskStatus.FAILED
        and run.verification_status is VerificationStatus.PASSED
        and archive is not None
        and archive.state is ArchiveState.STORED
    )
    if not good:
        why = run.error_message or "its archive is not in the store, or not verified."
        raise HoldfastError(
            f"The safety backup (run {run.id}) failed: {why} Nothing was touched.",
            hint="Mend the cause, then check the target and start the restore again.",
            code=ErrorCode.SAFETY_BACKUP_FAILED,
            permanent=True,
        )
