"""Restores, executed: look, safety backup, restore; and after a kill, settle what was begun.

The journal is what makes a kill harmless: before every step that changes the target the engine hands it here, and it is
on the disk, under our lease, before the step is made. From then on the outcome is *unknown* until the engine says
otherwise, and a restore whose outcome is unknown is taken up again until it is known (``Restore.must_settle``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from webapp.core.errors import HoldfastError, TaskStopped
from webapp.core.restore_plans import RestorePlan, RestoreResult, TargetReport
from webapp.core.status import ErrorCode, RestoreOutcome, RestoreTarget
from webapp.engine.report import Reporter
from webapp.engine.restore.checks import look_at_target
from webapp.engine.restore.journal import Journal
from webapp.engine.restore.run import run
from webapp.engine.restore.settle import settle
from webapp.services.execution import Outcome, execute
from webapp.services.reporting import TaskReporter, lease_lost_stop
from webapp.services.restore_checks import refusal_in, tell
from webapp.services.restore_endings import record_ended, record_started, result_values, store_result
from webapp.services.restore_planning import Names, names_of, new_names, plan_of_restore, secrets_in
from webapp.services.safety_backups import await_safety_backup
from webapp.store.claims import update_held
from webapp.store.db import db, release, writing
from webapp.store.models import Restore

logger = logging.getLogger(__name__)

SETTLING_ATTEMPTS = 8
UNTOUCHED = "The target is as it was before."


@dataclass(frozen=True, slots=True)
class RestoreEngine:
    """The engine's three doors; tests hand in others."""

    look: Callable[[RestorePlan, Reporter], TargetReport] = look_at_target
    run: Callable[[RestorePlan, Journal, Reporter], RestoreResult] = run
    settle: Callable[[RestorePlan, Reporter], RestoreResult] = settle


ENGINE = RestoreEngine()


def execute_restore(restore_id: int, *, clock: Callable[[], datetime], engine: RestoreEngine = ENGINE) -> None:
    """Execute one Restore: it ends with the target as it was or replaced whole, and says which."""
    execute(
        restore_id,
        lambda i, reporter: _Execution(i, reporter, clock, engine).work(),
        clock=clock,
        on_failure=record_ended,
    )


class _Execution:
    """One attempt."""

    def __init__(
        self, restore_id: int, reporter: TaskReporter, clock: Callable[[], datetime], engine: RestoreEngine
    ) -> None:
        self.restore_id = restore_id
        self.reporter = reporter
        self.clock = clock
        self.engine = engine

    def work(self) -> Outcome:
        """Go on where the row says we are."""
        restore = self._restore()
        names = names_of(restore)
        if restore.must_settle and names is not None:
            return self._take_up(restore, names)
        if restore.details.get("looks_first") and not restore.identity:
            self._look(restore)
            restore = self._restore()
        pause = await_safety_backup(restore, self.reporter, self.clock)
        if pause is not None:
            release()
            return pause
        return self._restore_now(restore)

    def _restore(self) -> Restore:
        return db.session.get_one(Restore, self.restore_id, populate_existing=True)

    def _look(self, restore: Restore) -> None:
        """The check of a restore that nobody checked before: what is replaced, and whether it may be."""
        plan = plan_of_restore(restore, new_names(restore.target_database, restore.id, restore.fence, self.clock()))
        self.reporter.hide(*secrets_in(plan))
        release()
        self.reporter.step("look", "Look at the target")
        report = self.engine.look(plan, self.reporter)
        identity = report.facts.identity
        if identity is not None and identity.database_oid is None:  # the first refresh: nothing to replace yet
            plan = replace(plan, target=RestoreTarget.NEW_DATABASE)
            report = self.engine.look(plan, self.reporter)
        refusal = refusal_in(tell(report, self.reporter))
        if refusal is not None:
            raise refusal
        stored = {} if report.facts.identity is None else report.facts.identity.as_json()
        self._write({"identity": stored, "target": plan.target})

    def _restore_now(self, restore: Restore) -> Outcome:
        names = new_names(restore.target_database, restore.id, restore.fence, self.clock())
        plan = plan_of_restore(restore, names)
        self.reporter.hide(*secrets_in(plan))
        release()
        self._write({}, record_started)
        try:
            result = self.engine.run(plan, lambda entry: self._journal(entry, names), self.reporter)
        except HoldfastError as error:
            return self._after(error)
        return self._succeeded(result)

    def _journal(self, entry: Mapping[str, Any], names: Names) -> None:
        """Durable and under our lease, or the step that it announces is not made."""
        self.reporter.check()
        attempts = self._restore().attempt + SETTLING_ATTEMPTS
        release()
        self._write(
            {"journal": dict(entry), "outcome": RestoreOutcome.UNKNOWN},
            lambda _, restore: _begin_changing(restore, names, attempts),
        )

    def _after(self, error: HoldfastError) -> Outcome:
        """The engine gave up: what is the target now? A lost lease leaves the question to whoever comes after."""
        restore = self._restore()
        names = names_of(restore)
        if error.code is ErrorCode.LEASE_LOST or not restore.must_settle or names is None:
            release()
            error.permanent = True
            raise error
        self.reporter.log(error.message, "error")
        plan = plan_of_restore(restore, names)
        release()
        try:
            result = self.engine.settle(plan, _Deaf(self.reporter))
        except HoldfastError as unsettled:  # the next attempt looks again; why it was given up stays the reason
            self.reporter.log(unsettled.message, "error")
            raise error from unsettled
        if result.outcome in (RestoreOutcome.CREATED, RestoreOutcome.REPLACED):
            return self._succeeded(result)
        self._write({"journal": {}, "outcome": result.outcome, "max_attempts": restore.attempt + 1})
        self.reporter.log("The target is as it was before.", "good")
        if isinstance(error, TaskStopped):
            raise error
        return self._failed(error)

    def _take_up(self, restore: Restore, names: Names) -> Outcome:
        """An attempt before this one changed the target and could not say what it left."""
        before = HoldfastError(
            restore.error_message or "The worker stopped without a word while it restored.",
            hint=restore.hint,
            code=restore.error_code or ErrorCode.WORKER_LOST,
            permanent=True,
        )
        plan = plan_of_restore(restore, names)
        self.reporter.hide(*secrets_in(plan))
        release()
        self.reporter.step("settle", "Look at the target", "What was begun there is finished or undone")
        result = self.engine.settle(plan, self.reporter)
        if result.outcome in (RestoreOutcome.CREATED, RestoreOutcome.REPLACED):
            self.reporter.log("The target was replaced whole before the worker was lost.", "good")
            return self._succeeded(result)
        return self._failed(before)

    def _succeeded(self, result: RestoreResult) -> Outcome:
        self.reporter.log(result.message or "Restored.", "good")
        return Outcome(
            values=result_values(self._restore(), result),
            store=lambda session: store_result(session, self.restore_id, result, self.clock()),
            irrevocable=True,
        )

    def _failed(self, error: HoldfastError) -> Outcome:
        message = f"{error.message} {UNTOUCHED}"
        return Outcome(
            values={"outcome": RestoreOutcome.UNTOUCHED, "journal": {}},
            error=HoldfastError(message, hint=error.hint, code=error.code, permanent=True),
            store=lambda session: record_ended(session, session.get_one(Restore, self.restore_id)),
            irrevocable=True,
        )

    def _write(self, values: dict[str, Any], also: Callable[[Session, Restore], None] | None = None) -> None:
        """Columns of the restore, written while the lease is ours. Raises TaskStopped (lease_lost)."""
        with writing() as session:
            held = update_held(session, self.reporter.holder, {"owner": self.reporter.holder.owner})
            if held:
                restore = self._restore()
                for name, value in values.items():
                    setattr(restore, name, value)
                if also is not None:
                    also(session, restore)
        release()
        if not held:
            stop = lease_lost_stop()
            self.reporter.stop(stop)
            raise stop


def _begin_changing(restore: Restore, names: Names, attempts: int) -> None:
    restore.details = {**restore.details, "names": names.as_json()}
    restore.max_attempts = max(restore.max_attempts, attempts)


class _Deaf:
    """The reporter of a restore that was told to stop: the target is put in order first."""

    def __init__(self, reporter: TaskReporter) -> None:
        self._reporter = reporter

    def step(self, key: str, title: str, detail: str = "") -> None:
        """A line in the log."""
        self._reporter.log(f"{title} {detail}".strip(), "head")

    def log(self, message: str, level: str = "info") -> None:
        """See engine.report.Reporter."""
        self._reporter.log(message, level)

    def warn(self, code: ErrorCode, message: str) -> None:
        """See engine.report.Reporter."""
        self._reporter.warn(code, message)

    def progress(self, done: int, total: int | None = None, unit: str = "bytes", message: str = "") -> None:
        """Nothing to tell."""

    def check(self) -> None:
        """Not now."""
        if self._reporter.stopped is not None and self._reporter.stopped.code is ErrorCode.LEASE_LOST:
            raise self._reporter.stopped

    def on_stop(self, action: Callable[[], None]) -> AbstractContextManager[None]:
        """Not now."""
        return nullcontext()
