"""The look at a target before a restore: every question by itself, nothing changed."""

from __future__ import annotations

from webapp.core.restore_plans import RestorePlan, TargetReport
from webapp.engine.report import Reporter


def look_at_target(plan: RestorePlan, reporter: Reporter) -> TargetReport:
    """Connect, ask, change nothing. A failed check forbids the restore; a question that cannot be asked is a failed one.

    Raises TaskStopped only.
    """
    raise NotImplementedError
