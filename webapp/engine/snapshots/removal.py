"""Removal of trees: gone from their place in one step, then taken apart with the lowest priority; may be repeated at any time."""

from __future__ import annotations

from webapp.core.snapshot_plans import SnapshotPlace
from webapp.engine.report import Reporter


def remove(place: SnapshotPlace, reporter: Reporter) -> bool:
    """Remove a snapshot for good, and what an earlier removal of it left. False when there was nothing.

    Raises StoreError (also when the root is away), TaskStopped; then it is to be called again.
    """
    raise NotImplementedError


def remove_partial(root: str, directory: str, run_id: int, reporter: Reporter) -> bool:
    """Remove a dead run's unfinished tree. False when there was none. Raises StoreError, TaskStopped."""
    raise NotImplementedError


def finish_removals(root: str, directory: str, reporter: Reporter) -> int:
    """Remove what removals that were cut off have left; returns how many there were. Raises StoreError, TaskStopped."""
    raise NotImplementedError
