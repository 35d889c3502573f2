"""After a kill: what is the target now? Finish or undo, and say which."""

from __future__ import annotations

from webapp.core.restore_plans import RestorePlan, RestoreResult
from webapp.core.status import RestoreTarget
from webapp.engine.report import Reporter
from webapp.engine.restore import database_target, files, odoo, table
from webapp.engine.restore.trail import Trail


def settle(plan: RestorePlan, reporter: Reporter) -> RestoreResult:
    """Look at the target with ``plan.journal``; finish what was past the point of no return, undo all else. Idempotent.

    ``plan`` is the one of the attempt that was killed (same fence and names) with its journal. The outcome is UNTOUCHED,
    CREATED or REPLACED. Raises HoldfastError when the target cannot be reached to look; call it again later.
    """
    if plan.target in (RestoreTarget.NEW_DATABASE, RestoreTarget.REPLACE):
        return database_target.settle_trail(plan, Trail.from_json(plan.journal), reporter)
    if plan.target is RestoreTarget.ODOO:
        return odoo.settle(plan, reporter)
    if plan.target is RestoreTarget.TABLE:
        return table.settle(plan, reporter)
    return files.settle(plan, reporter)
