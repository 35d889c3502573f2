"""Kept databases: what a replaced database was, under its new name, until a person or a timer removes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.core.actors import HOLDFAST, Actor
from webapp.core.errors import Conflict, HoldfastError, InvalidInput, NotFound
from webapp.core.plans import PostgresPlan
from webapp.core.restore_plans import TargetIdentity
from webapp.core.status import Role, TaskType
from webapp.engine.report import Reporter
from webapp.engine.restore.kept import remove_kept
from webapp.services import audit
from webapp.services.execution import Outcome, execute
from webapp.services.instance_plans import secrets_of
from webapp.services.reporting import TaskReporter
from webapp.services.restore_planning import server_plan
from webapp.services.tasks import add, find_active, find_newest, ring
from webapp.store.db import db, release, writing
from webapp.store.models import KeptDatabase, KeptRemoval, Task

TIME_LIMIT_SECONDS = 3600
TIMER_WAITS_AFTER_FAILURE = timedelta(days=1)
MOST_AT_ONCE = 20

Remove = Callable[[PostgresPlan, str, TargetIdentity, str, Reporter], None]


def list_kept(*, with_removed: bool = False) -> Sequence[KeptDatabase]:
    """Kept databases, the newest first; those that were removed only when asked for."""
    query = sa.select(KeptDatabase).order_by(KeptDatabase.created_at.desc(), KeptDatabase.id.desc())
    if not with_removed:
        query = query.where(KeptDatabase.removed_at.is_(None))
    return db.session.scalars(query).all()


def get_kept(kept_id: int) -> KeptDatabase:
    """The kept database. Raises NotFound."""
    found = db.session.get(KeptDatabase, kept_id, populate_existing=True)
    if found is None:
        raise NotFound(f"There is no kept database {kept_id}.")
    return found


def find_removal(kept_id: int) -> KeptRemoval | None:
    """The newest removal of it, whatever its state; None when nobody asked for one."""
    return find_newest(KeptRemoval, KeptRemoval.kept_id == kept_id)


def request_removal(kept_id: int, *, typed_name: str, actor: Actor, now: datetime) -> KeptRemoval:
    """Ask a worker to remove it for good; the typed name is the name that it is kept under.

    An active removal is answered, not doubled. Raises NotFound, InvalidInput (another name), Conflict (gone already).
    """
    if not actor.can(Role.OPERATOR):
        raise HoldfastError("Only operators and admins remove databases.", hint="Ask an admin for the operator role.")
    with writing() as session:
        kept = get_kept(kept_id)
        if kept.removed_at is not None:
            raise Conflict(f"{kept.kept_name} was removed already.")
        if typed_name != kept.kept_name:
            raise InvalidInput(f"Type the name of the database that is removed: {kept.kept_name}.", field="typed_name")
        task = find_active(KeptRemoval, KeptRemoval.kept_id == kept_id) or _add_removal(session, kept, actor, now)
    ring([task.id])
    return task


def request_due_removals(now: datetime) -> int:
    """Ask for the removal of every kept database whose time has come. How many. Only asks: a worker removes."""
    query = (
        sa.select(KeptDatabase.id)
        .where(KeptDatabase.removed_at.is_(None), KeptDatabase.remove_after <= now)
        .order_by(KeptDatabase.id)
        .limit(MOST_AT_ONCE)
    )
    due = list(db.session.scalars(query))
    release()
    asked = []
    for kept_id in due:
        with writing() as session:
            kept = get_kept(kept_id)
            if kept.removed_at is None and find_active(KeptRemoval, KeptRemoval.kept_id == kept_id) is None:
                asked.append(_add_removal(session, kept, HOLDFAST, now).id)
    ring(asked)
    return len(asked)


def set_removal_time(kept_id: int, remove_after: datetime | None, *, actor: Actor, now: datetime) -> KeptDatabase:
    """Keep it longer or shorter; None keeps it until a person removes it. Raises NotFound, Conflict, InvalidInput."""
    if remove_after is not None and remove_after <= now:
        raise InvalidInput("That time has passed.", field="remove_after", hint="Choose a later time, or remove it now.")
    with writing():
        kept = get_kept(kept_id)
        if kept.removed_at is not None:
            raise Conflict(f"{kept.kept_name} was removed already.")
        kept.remove_after = remove_after
        _record(actor, "kept_database.rescheduled", kept, {"remove_after": remove_after}, now)
    return kept


def execute_removal(task_id: int, *, clock: Callable[[], datetime], remove: Remove = remove_kept) -> None:
    """Execute a KeptRemoval. Removing what is gone already is fine, so it may be repeated."""
    execute(
        task_id,
        lambda i, reporter: _remove(i, reporter, clock, remove),
        clock=clock,
        on_failure=record_removal_failure,
    )


def _remove(task_id: int, reporter: TaskReporter, clock: Callable[[], datetime], remove: Remove) -> Outcome:
    task = db.session.get_one(KeptRemoval, task_id, populate_existing=True)
    kept = task.kept
    if kept.removed_at is not None:
        return Outcome()
    identity = TargetIdentity.from_json(kept.identity)
    if identity is None:
        raise InvalidInput("It is not known which database that was.", hint="Remove it by hand.")
    server = server_plan(task.instance)
    reporter.hide(*secrets_of(server))
    kept_id, name, files, by = kept.id, kept.kept_name, kept.filestore_path, task.triggered_by
    release()
    reporter.step("remove", "Remove", name)
    remove(server, name, identity, files, reporter)

    def store(session: Session) -> None:
        removed = session.get_one(KeptDatabase, kept_id)
        removed.removed_at, removed.removed_by, removed.remove_error = clock(), by[:100], ""
        _record(by, "kept_database.removed", removed, {}, clock())

    return Outcome(store=store, irrevocable=True)


def record_removal_failure(session: Session, task: Task) -> None:
    """In the transaction that settles a removal as failed: why, and when the timer tries again."""
    removal = session.get(KeptRemoval, task.id)
    if removal is None or removal.completed_at is None:
        return
    removal.kept.remove_error = removal.error_message
    if removal.kept.remove_after is not None:
        removal.kept.remove_after = removal.completed_at + TIMER_WAITS_AFTER_FAILURE


def _add_removal(session: Session, kept: KeptDatabase, actor: Actor, now: datetime) -> KeptRemoval:
    task = KeptRemoval(
        type=TaskType.KEPT_REMOVAL,
        title=f"{kept.instance_name}: remove {kept.kept_name}"[:200],
        triggered_by="timer" if actor is HOLDFAST else actor.triggered_by,
        instance_id=kept.instance_id,
        instance_name=kept.instance_name,
        kept_id=kept.id,
        max_attempts=3,
        retry_delay_seconds=60,
        time_limit_seconds=TIME_LIMIT_SECONDS,
    )
    add(task, now=now)
    session.flush()
    _record(actor, "kept_database.removal_requested", kept, {"task_id": task.id}, now)
    return task


def _record(actor: Actor | str, event: str, kept: KeptDatabase, details: dict[str, object], now: datetime) -> None:
    audit.record(
        actor,
        event,
        subject_kind="kept_database",
        subject_id=kept.id,
        subject_name=f"{kept.instance_name} / {kept.kept_name}",
        details=details,
        now=now,
    )
