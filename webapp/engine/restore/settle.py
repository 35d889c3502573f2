"""After a kill: what is the target now? Finish or undo, and say which."""

from __future__ import annotations

from webapp.core.restore_plans import RestorePlan, RestoreResult
from webapp.engine.report import Reporter


def settle(plan: RestorePlan, reporter: Reporter) -> RestoreResult:
    """Look at the target with ``plan.journal``; finish what was past the point of no return, undo all else. Idempotent.

    ``plan`` is the one of the attempt that was killed (same fence and names) with its journal. The outcome is UNTOUCHED,
    CREATED or REPLACED. Raises HoldfastError when the target cannot be reached to look; call it again later.
    """
    raise NotImplementedError
