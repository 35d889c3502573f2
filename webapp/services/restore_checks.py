"""Restore checks: a worker looks at the target and says what it found; nothing is changed there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from webapp.core.errors import HoldfastError
from webapp.core.reports import Check, CheckState, find_failure
from webapp.core.restore_plans import RestoreOptions, RestorePlan, TargetReport
from webapp.core.status import ErrorCode, RestoreTarget
from webapp.engine.report import Reporter, tell_check
from webapp.engine.restore.checks import look_at_target
from webapp.services.execution import Outcome, execute
from webapp.services.reporting import TaskReporter
from webapp.services.restore_planning import plan_of_check, secrets_in
from webapp.services.restore_rules import is_odoo_archive
from webapp.store.db import db, release
from webapp.store.models import RestoreCheck

Look = Callable[[RestorePlan, Reporter], TargetReport]


def execute_check(task_id: int, *, clock: Callable[[], datetime], look: Look = look_at_target) -> None:
    """Execute a RestoreCheck."""
    execute(task_id, lambda i, reporter: _check(i, reporter, clock, look), clock=clock)


def _check(task_id: int, reporter: TaskReporter, clock: Callable[[], datetime], look: Look) -> Outcome:
    check = db.session.get_one(RestoreCheck, task_id, populate_existing=True)
    plan = plan_of_check(check, clock())
    reporter.hide(*secrets_in(plan))
    own = find_copy_warning(check)
    release()
    reporter.step("look", "Look at the target")
    report = look(plan, reporter)
    if own is not None:
        report = replace(report, checks=(*report.checks, own))
    tell(report, reporter)
    values: dict[str, Any] = {
        "checks": [one.as_json() for one in report.checks],
        "facts": report.facts.as_json(),
    }
    return Outcome(values=values, error=refusal_in(report))


def find_copy_warning(check: RestoreCheck) -> Check | None:
    """A word about a copy that would act like production, or about production that would be made harmless."""
    archive, options = check.archive, RestoreOptions.from_json(check.options)
    if not check.target.is_database or not is_odoo_archive(archive):
        return None
    itself = (archive.instance_id, archive.database_name) == (check.instance_id, check.target_database)
    if check.target is RestoreTarget.REPLACE and itself:
        detail = "The database itself is replaced, and would come back with mails and scheduled actions switched off."
        hint = "Take «neutralise» away, unless that is what you want."
        wrong = options.neutralise
    else:
        detail = "This copy would send mails and run scheduled actions and payments as the original does."
        hint = "Choose «neutralise», unless this database takes the original's place."
        wrong = not options.neutralise
    if not wrong:
        return None
    return Check(key="copy", title="Harmless copy", state=CheckState.WARNING, detail=detail, hint=hint)


def tell(report: TargetReport, reporter: TaskReporter) -> TargetReport:
    """The answers, in the log."""
    for check in report.checks:
        line = f"{check.title}: {check.detail or check.state.value}"
        tell_check(check, line, reporter, code=ErrorCode.INVALID_CONFIGURATION)
    return report


def refusal_in(report: TargetReport) -> HoldfastError | None:
    """The first answer that forbids the restore, as an error; None when it may begin."""
    if report.allowed:
        return None
    unseen = HoldfastError("The target could not be looked at.", code=ErrorCode.INTERNAL, permanent=True)
    return find_failure(report.checks, code=ErrorCode.RESTORE_FAILED) or unseen
