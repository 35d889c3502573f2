"""One snapshot of a host, from the first question to a promoted tree."""

from __future__ import annotations

from webapp.core.snapshot_plans import SnapshotPlan, SnapshotResult
from webapp.engine.report import Reporter


def take(plan: SnapshotPlan, reporter: Reporter) -> SnapshotResult:
    """Pull, list, guard, verify and promote one snapshot.

    Raises SourceError, StoreError, ArchiveError or TaskStopped; then nothing was promoted, and what came stays in
    ``.partial/<run>`` for the next attempt.
    """
    raise NotImplementedError
