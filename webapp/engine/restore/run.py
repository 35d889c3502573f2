"""A restore: dispatched by its target."""

from __future__ import annotations

from webapp.core.restore_plans import RestorePlan, RestoreResult
from webapp.core.status import RestoreTarget
from webapp.engine.report import Reporter
from webapp.engine.restore import database_target, files, odoo, table
from webapp.engine.restore.journal import Journal


def run(plan: RestorePlan, journal: Journal, reporter: Reporter) -> RestoreResult:
    """Restore, whole or not at all. ``journal`` is given the whole state (replace, do not merge) before every change.

    The archive is verified first. Raises HoldfastError when the target is as it was before; when it could not be put
    right, ``settle`` raises too, and is to be called again later.
    """
    if plan.target in (RestoreTarget.NEW_DATABASE, RestoreTarget.REPLACE):
        return database_target.run(plan, journal, reporter)
    if plan.target is RestoreTarget.ODOO:
        return odoo.run(plan, journal, reporter)
    if plan.target is RestoreTarget.TABLE:
        return table.run(plan, journal, reporter)
    return files.run(plan, journal, reporter)
