"""A restore: dispatched by its target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from webapp.core.restore_plans import RestorePlan, RestoreResult
from webapp.engine.report import Reporter

Journal = Callable[[Mapping[str, Any]], None]


def run(plan: RestorePlan, journal: Journal, reporter: Reporter) -> RestoreResult:
    """Restore, whole or not at all. ``journal`` is given the whole state (replace, do not merge) before every change.

    Raises HoldfastError when the target is as it was before (or could not be put back: then ``settle`` raises too).
    """
    raise NotImplementedError
