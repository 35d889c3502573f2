"""A restore drill from its first step to its last answer."""

from __future__ import annotations

from webapp.core.errors import HoldfastError
from webapp.core.restore_plans import DrillPlan, DrillReport
from webapp.core.status import ErrorCode
from webapp.engine.report import Reporter


def run(plan: DrillPlan, reporter: Reporter) -> DrillReport:
    """Restore the archive into a throw-away cluster, ask, and tell. Raises HoldfastError(drill_impossible), TaskStopped."""
    raise HoldfastError("Restore drills are not built yet.", code=ErrorCode.DRILL_IMPOSSIBLE, permanent=True)
