"""What stays of a restore: its result on the row, the replaced database among the kept ones, and lines in the audit log."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from webapp.core.restore_plans import RestoreOptions, RestoreResult
from webapp.core.status import RestoreOutcome
from webapp.services import audit
from webapp.store.models import KeptDatabase, Restore, RestoreCheck, Task


def result_values(restore: Restore, result: RestoreResult) -> dict[str, Any]:
    """Columns of a restore that succeeded. ``details["result"]`` has the numbers and the sentence for people."""
    numbers = {
        "tables": result.tables,
        "rows": result.rows,
        "files": result.files,
        "message": result.message,
        "kept_name": result.kept_name,
        "file": result.file_path,
    }
    return {
        "outcome": result.outcome,
        "checks": [check.as_json() for check in result.checks],
        "details": {**restore.details, "result": numbers},
    }


def store_result(session: Session, restore_id: int, result: RestoreResult, now: datetime) -> None:
    """In the transaction that settles the restore: the kept database, and the record."""
    restore = session.get_one(Restore, restore_id)
    if result.kept_name:
        _add_kept(session, restore, result, now)
    _record(restore, result.outcome, now, "restore.completed")


def _add_kept(session: Session, restore: Restore, result: RestoreResult, now: datetime) -> None:
    days = RestoreOptions.from_json(restore.options).keep_days
    remove_after = now + timedelta(days=days) if days else None
    if restore.details.get("remove_kept_at_once"):
        remove_after = now
    session.add(
        KeptDatabase(
            restore_id=restore.id,
            instance_id=restore.instance_id,
            instance_name=restore.instance_name,
            database_name=restore.target_database,
            kept_name=result.kept_name,
            identity=result.kept_identity.as_json() if result.kept_identity is not None else dict(restore.identity),
            filestore_path=result.kept_filestore,
            size_bytes=_replaced_bytes(session, restore),
            created_at=now,
            remove_after=remove_after,
        )
    )


def _replaced_bytes(session: Session, restore: Restore) -> int | None:
    check = session.get(RestoreCheck, restore.check_id) if restore.check_id is not None else None
    found = check.facts.get("database_bytes") if check is not None else None
    return int(found) if found is not None else None


def record_started(session: Session, restore: Restore) -> None:
    """The worker begins to restore (nothing is changed yet)."""
    moment = restore.started_at
    assert moment is not None  # it is claimed
    _record(restore, restore.outcome, moment, "restore.started")


def record_ended(session: Session, task: Task) -> None:
    """In the transaction that settles a restore as failed."""
    restore = session.get(Restore, task.id)
    if restore is not None and restore.completed_at is not None:
        _record(restore, restore.outcome, restore.completed_at, "restore.failed")


def _record(restore: Restore, outcome: RestoreOutcome, now: datetime, event: str) -> None:
    audit.record(
        restore.triggered_by,
        event,
        subject_kind="restore",
        subject_id=restore.id,
        subject_name=restore.title,
        details={
            "archive_id": restore.archive_id,
            "target": restore.target.value,
            "outcome": outcome.value,
            "error_code": restore.error_code.value if restore.error_code else "",
        },
        now=now,
    )
