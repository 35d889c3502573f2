"""Fan-out: the databases of «all» are discovered when a slot is due, and each gets its Run, once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.core.errors import InvalidInput, SourceError
from webapp.core.naming import check_database_name
from webapp.core.status import ErrorCode, TaskStatus
from webapp.engine.sources.registry import build_source
from webapp.services.execution import Outcome, execute
from webapp.services.instance_plans import secrets_of, source_plan
from webapp.services.reporting import TaskReporter
from webapp.services.runs import add_run
from webapp.store.db import db, release
from webapp.store.models import FanOut, Job, Run, Slot, Task

MOST_DATABASES = 1000


def fan_out(task_id: int, *, clock: Callable[[], datetime]) -> None:
    """Execute a FanOut task: discover the databases, then make one Run for each, once."""
    execute(task_id, lambda i, reporter: _fan_out(i, reporter, clock), clock=clock, on_failure=record_fan_out_failure)


def _fan_out(task_id: int, reporter: TaskReporter, clock: Callable[[], datetime]) -> Outcome:
    task = db.session.get_one(FanOut, task_id)
    job = task.job
    if job is None or job.deleted_at is not None or job.instance.deleted_at is not None:
        raise InvalidInput("The job of this task no longer exists.")
    plan = source_plan(job.instance)
    reporter.hide(*secrets_of(plan))
    source = build_source(plan)
    job_id, slot_id, triggered_by = job.id, task.slot_id, task.triggered_by
    release()
    reporter.step("discover", "Find databases")
    names = _usable(source.list_databases(), reporter)
    reporter.log(f"{len(names)} found: {', '.join(names)}" if names else "None found.")
    if not names:
        reporter.warn(ErrorCode.NO_DATABASES, "The instance lists no databases, so there was nothing to back up.")
    outcome = Outcome(values={"details": {"databases": names}})

    def store(session: Session) -> None:
        live = session.get_one(Job, job_id, populate_existing=True)
        slot = session.get(Slot, slot_id) if slot_id is not None else None
        for name in names:
            if not _has_run(session, slot_id, name):
                run = add_run(live, name, triggered_by=triggered_by, now=clock(), slot=slot)
                session.flush()
                outcome.ring.append(run.id)

    outcome.store = store
    return outcome


def _usable(names: list[str], reporter: TaskReporter) -> list[str]:
    """The names that a database can have, each once. Raises SourceError when there are more than anybody has."""
    if len(names) > MOST_DATABASES:
        raise SourceError(
            f"The server lists {len(names):,} databases; Holdfast backs up at most {MOST_DATABASES:,} with one job.",
            hint="Name the databases in the job, and look what answers at this address.",
            code=ErrorCode.INVALID_CONFIGURATION,
            permanent=True,
        )
    usable = []
    for name in dict.fromkeys(names):
        try:
            usable.append(check_database_name(name))
        except InvalidInput as error:
            reporter.warn(ErrorCode.INVALID_CONFIGURATION, f"{name[:80]!r} is left out. {error.message}")
    return usable


def _has_run(session: Session, slot_id: int | None, database: str) -> bool:
    if slot_id is None:
        return False
    return session.scalar(sa.select(Run.id).where(Run.slot_id == slot_id, Run.database_name == database)) is not None


def record_fan_out_failure(session: Session, task: Task) -> None:
    """A slot whose databases could not be found is a failed run in the history, not a silence. In the settling transaction."""
    assert isinstance(task, FanOut)
    if task.job is None or task.error_code is ErrorCode.CANCELLED:
        return
    slot = session.get(Slot, task.slot_id) if task.slot_id is not None else None
    assert task.completed_at is not None
    run = add_run(task.job, "*", triggered_by=task.triggered_by, now=task.completed_at, slot=slot)
    run.status = TaskStatus.FAILED
    run.error_code, run.error_message, run.hint = task.error_code, task.error_message, task.hint
    run.started_at, run.completed_at = task.started_at, task.completed_at
