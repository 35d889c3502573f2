"""The rows of restores: made by a person's request and by a refresh job in the same way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from webapp.core.restore_plans import RestoreOptions
from webapp.core.status import RestoreTarget, TaskType
from webapp.services.tasks import add
from webapp.store.models import Restore

TIME_LIMIT_SECONDS = 24 * 3600
ATTEMPTS = 2
SAFETY = "restore:"  # how ``triggered_by`` of a safety backup begins


@dataclass(frozen=True, slots=True)
class NewRestore:
    """A restore about to be asked for.

    Attributes:
        identity: The target's from its check; empty when the worker looks at the target first (a refresh).
        safety_backup: A backup of the database that will be replaced is made first.
        remove_kept_at_once: The replaced database is not kept for anybody.
    """

    archive_id: int
    target: RestoreTarget
    instance_id: int | None
    instance_name: str
    database: str
    options: RestoreOptions
    triggered_by: str
    check_id: int | None = None
    job_id: int | None = None
    slot_id: int | None = None
    identity: Mapping[str, Any] = field(default_factory=dict)
    safety_backup: bool = False
    remove_kept_at_once: bool = False


def add_restore(wanted: NewRestore, *, now: datetime) -> Restore:
    """A pending Restore in the session of the caller's ``writing()``; ring its id after the commit."""
    words = target_words(wanted.target, wanted.instance_name, wanted.database, wanted.options)
    restore = Restore(
        type=TaskType.RESTORE,
        title=f"Restore to {words}"[:200],
        triggered_by=wanted.triggered_by,
        instance_id=wanted.instance_id,
        instance_name=wanted.instance_name,
        archive_id=wanted.archive_id,
        check_id=wanted.check_id,
        job_id=wanted.job_id,
        slot_id=wanted.slot_id,
        target=wanted.target,
        target_database=wanted.database,
        options=wanted.options.as_json(),
        identity=dict(wanted.identity),
        max_attempts=ATTEMPTS,
        retry_delay_seconds=30,
        time_limit_seconds=TIME_LIMIT_SECONDS,
        details={
            "safety_backup": wanted.safety_backup,
            "remove_kept_at_once": wanted.remove_kept_at_once,
            "looks_first": not wanted.identity and wanted.check_id is None,
        },
    )
    add(restore, now=now)
    return restore


def target_words(target: RestoreTarget, instance_name: str, database: str, options: RestoreOptions) -> str:
    """Where it goes, as a title says it: "acme / prod", "table public.res_partner", "directory /srv/restored/x"."""
    if target is RestoreTarget.TABLE:
        return f"a file: table {options.piece}"
    if target is RestoreTarget.ATTACHMENT:
        return f"a file: attachment {options.piece}"
    if not instance_name:
        return f"directory {options.directory}"
    words = f"{instance_name} / {database}"
    return {RestoreTarget.REPLACE: f"{words} (replace)", RestoreTarget.FILESTORE: f"{words} (filestore)"}.get(
        target, words
    )
