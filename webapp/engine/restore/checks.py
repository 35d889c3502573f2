"""The look at a target before a restore: every question by itself, nothing changed."""

from __future__ import annotations

from webapp.core.restore_plans import RestorePlan, TargetReport
from webapp.core.status import RestoreTarget
from webapp.engine.report import Reporter
from webapp.engine.restore import database_look, files, odoo, table


def look_at_target(plan: RestorePlan, reporter: Reporter) -> TargetReport:
    """Connect, ask, change nothing. A failed check forbids the restore; a question that cannot be asked is a failed one.

    For databases ``facts.identity`` is what the restore's plan must carry. Raises TaskStopped only.
    """
    if plan.target in (RestoreTarget.NEW_DATABASE, RestoreTarget.REPLACE):
        return database_look.look(plan, reporter)
    if plan.target is RestoreTarget.ODOO:
        return odoo.check(plan, reporter)
    if plan.target is RestoreTarget.TABLE:
        return table.check(plan, reporter)
    return files.check(plan, reporter)
