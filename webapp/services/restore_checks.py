"""Restore checks: a worker looks at the target and says what it found; nothing is changed there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from webapp.core.errors import HoldfastError
from webapp.core.reports import Check, CheckState
from webapp.core.restore_plans import RestorePlan, TargetReport
from webapp.core.status import ErrorCode
from webapp.engine.report import Reporter
from webapp.engine.restore.checks import look_at_target
from webapp.services.execution import Outcome, execute
from webapp.services.reporting import TaskReporter
from webapp.services.restore_planning import plan_of_check, secrets_in
from webapp.store.db import db, release
from webapp.store.models import RestoreCheck

Look = Callable[[RestorePlan, Reporter], TargetReport]
_LEVELS = {CheckState.PASSED: "good", CheckState.FAILED: "error", CheckState.SKIPPED: "info"}


def execute_check(task_id: int, *, clock: Callable[[], datetime], look: Look = look_at_target) -> None:
    """Execute a RestoreCheck."""
    execute(task_id, lambda i, reporter: _check(i, reporter, clock, look), clock=clock)


def _check(task_id: int, reporter: TaskReporter, clock: Callable[[], datetime], look: Look) -> Outcome:
    check = db.session.get_one(RestoreCheck, task_id, populate_existing=True)
    plan = plan_of_check(check, clock())
    reporter.hide(*secrets_in(plan))
    release()
    report = look_and_tell(plan, reporter, look)
    values: dict[str, Any] = {
        "checks": [one.as_json() for one in report.checks],
        "facts": report.facts.as_json(),
    }
    return Outcome(values=values, error=refusal_in(report))


def look_and_tell(plan: RestorePlan, reporter: TaskReporter, look: Look) -> TargetReport:
    """Look at the target, and write the answers into the log."""
    reporter.step("look", "Look at the target")
    report = look(plan, reporter)
    for check in report.checks:
        line = f"{check.title}: {check.detail or check.state.value}"
        if check.state is CheckState.WARNING:
            reporter.warn(check.code or ErrorCode.INVALID_CONFIGURATION, line)
        else:
            reporter.log(line, _LEVELS[check.state])
    return report


def refusal_in(report: TargetReport) -> HoldfastError | None:
    """The first answer that forbids the restore, as an error; None when it may begin."""
    if report.allowed:
        return None
    failed: Check | None = next((one for one in report.checks if one.state is CheckState.FAILED), None)
    if failed is None:
        return HoldfastError("The target could not be looked at.", code=ErrorCode.INTERNAL, permanent=True)
    return HoldfastError(
        f"{failed.title}: {failed.detail or 'failed'}",
        hint=failed.hint,
        code=failed.code or ErrorCode.RESTORE_FAILED,
        permanent=True,
    )
