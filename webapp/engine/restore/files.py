"""Targets on this machine's disk: the filestore, one attachment, or all of an archive, in a directory."""

from __future__ import annotations

from webapp.core.restore_plans import RestorePlan, RestoreResult, TargetReport
from webapp.engine.report import Reporter
from webapp.engine.restore.journal import Journal


def check(plan: RestorePlan, reporter: Reporter) -> TargetReport:
    """See ``checks.look_at_target``."""
    raise NotImplementedError


def run(plan: RestorePlan, journal: Journal, reporter: Reporter) -> RestoreResult:
    """See ``run.run``."""
    raise NotImplementedError


def settle(plan: RestorePlan, reporter: Reporter) -> RestoreResult:
    """See ``settle.settle``."""
    raise NotImplementedError
