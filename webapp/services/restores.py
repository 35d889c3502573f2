"""Restores, asked for: a check of the target first, then the restore itself, by whoever typed the right name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from webapp.core.actors import Actor
from webapp.core.errors import Conflict, HoldfastError, InvalidInput, NotFound
from webapp.core.reports import Check, CheckState
from webapp.core.restore_plans import RestoreOptions, TargetFacts
from webapp.core.status import RestoreTarget, Role, TaskStatus, TaskType
from webapp.services import audit
from webapp.services.restore_choices import RestoreChoices, TargetInstance, choices_for
from webapp.services.restore_rules import CheckedWish, RestoreWish, check_wish, refusal_of, restore_root
from webapp.services.restore_tasks import NewRestore, add_restore, target_words
from webapp.services.tasks import add, ring
from webapp.store.db import db, writing
from webapp.store.models import Restore, RestoreCheck

__all__ = [
    "RestoreChoices",
    "RestoreFilter",
    "RestoreWish",
    "TargetInstance",
    "choices_for",
    "get_check",
    "get_restore",
    "list_restores",
    "request_check",
    "request_restore",
]

CHECK_COUNTS_FOR = timedelta(minutes=15)
CHECK_SECONDS = 600
FILE_TARGETS = (RestoreTarget.ATTACHMENT, RestoreTarget.TABLE)


@dataclass(frozen=True, slots=True)
class RestoreFilter:
    """Which restores to list; newest first."""

    instance_id: int | None = None
    archive_id: int | None = None
    status: TaskStatus | None = None
    offset: int = 0
    limit: int = 50


def get_check(check_id: int) -> RestoreCheck:
    """The check. Raises NotFound."""
    found = db.session.get(RestoreCheck, check_id, populate_existing=True)
    if found is None:
        raise NotFound(f"There is no restore check {check_id}.")
    return found


def get_restore(restore_id: int) -> Restore:
    """The restore. Raises NotFound."""
    found = db.session.get(Restore, restore_id, populate_existing=True)
    if found is None:
        raise NotFound(f"There is no restore {restore_id}.")
    return found


def list_restores(wanted: RestoreFilter) -> tuple[Sequence[Restore], int]:
    """One page of restores, newest first, and how many there are in all."""
    query = sa.select(Restore)
    if wanted.instance_id is not None:
        query = query.where(Restore.instance_id == wanted.instance_id)
    if wanted.archive_id is not None:
        query = query.where(Restore.archive_id == wanted.archive_id)
    if wanted.status is not None:
        query = query.where(Restore.status == wanted.status)
    total = db.session.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0
    return db.session.scalars(query.order_by(Restore.id.desc()).offset(wanted.offset).limit(wanted.limit)).all(), total


def checks_of(check: RestoreCheck | Restore) -> list[Check]:
    """The answers, in the order they were asked."""
    return [Check.from_json(item) for item in check.checks]


def facts_of(check: RestoreCheck) -> TargetFacts:
    """What was found at the target."""
    return TargetFacts.from_json(check.facts)


def result_of(restore: Restore) -> dict[str, Any]:
    """Numbers and the sentence of a restore that succeeded (tables, rows, files, message, kept_name), else {}."""
    return dict(restore.details.get("result", {}))


def result_file(restore: Restore) -> str:
    """Absolute path of the file that an attachment or a table was written to. Raises NotFound when there is none."""
    path = str(result_of(restore).get("file") or _only_file(RestoreOptions.from_json(restore.options).directory))
    inside = os.path.realpath(path).startswith(restore_root() + os.sep)
    if restore.target not in FILE_TARGETS or not inside or not os.path.isfile(path):
        raise NotFound(f"There is no file of restore {restore.id} to download.")
    return path


def _only_file(directory: str) -> str:
    if not os.path.isdir(directory):
        return ""
    with os.scandir(directory) as entries:
        found = [entry.path for entry in entries if entry.is_file(follow_symlinks=False)]
    return found[0] if len(found) == 1 else ""


def request_check(wanted: RestoreWish, *, actor: Actor, now: datetime) -> RestoreCheck:
    """Ask a worker to look at the target; nothing is changed there. Raises NotFound, Conflict, InvalidInput."""
    _require_role(actor)
    with writing() as session:
        wish = check_wish(wanted, now)
        check = _new_check(wish, actor)
        add(check, now=now)
        session.flush()
        audit.record(
            actor,
            "restore.checked",
            subject_kind="archive",
            subject_id=wish.archive.id,
            subject_name=check.title,
            details={"check_id": check.id, "target": wish.target.value, "database": wish.database},
            now=now,
        )
    ring([check.id])
    return check


def _new_check(wish: CheckedWish, actor: Actor) -> RestoreCheck:
    words = target_words(wish.target, wish.instance.name if wish.instance else "", wish.database, wish.options)
    return RestoreCheck(
        type=TaskType.RESTORE_CHECK,
        title=f"Check before restoring to {words}"[:200],
        triggered_by=actor.triggered_by,
        instance_id=wish.instance.id if wish.instance else None,
        instance_name=wish.instance.name if wish.instance else "",
        archive_id=wish.archive.id,
        target=wish.target,
        target_database=wish.database,
        options=wish.options.as_json(),
        time_limit_seconds=CHECK_SECONDS,
    )


def request_restore(check_id: int, *, typed_name: str, actor: Actor, now: datetime) -> Restore:
    """Ask for the restore that was checked. The same check asked for twice starts one restore.

    Raises:
        NotFound: no such check.
        Conflict: it has not ended, did not pass, is older than 15 minutes, or the restore point cannot be restored.
        InvalidInput: a database is to be replaced, and the typed name is not its name.
    """
    _require_role(actor)
    with writing() as session:
        check = get_check(check_id)
        known = session.scalar(sa.select(Restore).where(Restore.check_id == check_id))
        if known is not None:
            return known
        _require_passed(check, now)
        if check.target is RestoreTarget.REPLACE and typed_name != check.target_database:
            raise InvalidInput(
                f"Type the name of the database that is replaced: {check.target_database}.", field="typed_name"
            )
        restore = add_restore(_wish_of(check, actor), now=now)
        session.flush()
        audit.record(
            actor,
            "restore.requested",
            subject_kind="restore",
            subject_id=restore.id,
            subject_name=restore.title,
            details={"archive_id": check.archive_id, "check_id": check.id, "options": check.options},
            now=now,
        )
    ring([restore.id])
    return restore


def why_not_startable(check: RestoreCheck, now: datetime) -> str:
    """Why the restore cannot be started from this check, "" when it can."""
    if not check.status.is_final:
        return "The check has not ended yet."
    failed = any(item["state"] == CheckState.FAILED.value for item in check.checks)
    if check.status is TaskStatus.FAILED or failed or not check.checks:
        return "The check did not pass."
    if check.completed_at is None or not timedelta() <= now - check.completed_at <= CHECK_COUNTS_FOR:
        return "The check is older than 15 minutes, so the target may have changed."
    return refusal_of(check.archive)


def _require_passed(check: RestoreCheck, now: datetime) -> None:
    why_not = why_not_startable(check, now)
    if why_not:
        raise Conflict(why_not, hint="Check the target again.")


def _wish_of(check: RestoreCheck, actor: Actor) -> NewRestore:
    identity = check.facts.get("identity") or {}
    return NewRestore(
        archive_id=check.archive_id,
        target=check.target,
        instance_id=check.instance_id,
        instance_name=check.instance_name,
        database=check.target_database,
        options=RestoreOptions.from_json(check.options),
        triggered_by=actor.triggered_by,
        check_id=check.id,
        identity=identity,
        safety_backup=check.target is RestoreTarget.REPLACE,
    )


def _require_role(actor: Actor) -> None:
    """Routes and the shell ask too; here it is asked whoever calls."""
    if not actor.can(Role.OPERATOR):
        raise HoldfastError("Only operators and admins restore.", hint="Ask an admin for the operator role.")
