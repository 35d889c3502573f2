"""Hosts' snapshots: found on disk, removed, compared with their host, put back."""

from __future__ import annotations

from webapp.services import snapshot_comparisons, snapshot_discovery, snapshot_removals, snapshot_restores
from webapp.tasks.clock import utc_now


def discover(task_id: int) -> None:
    """Task function."""
    snapshot_discovery.execute_discovery(task_id, clock=utc_now)


def remove(task_id: int) -> None:
    """Task function."""
    snapshot_removals.execute_removal(task_id, clock=utc_now)


def compare(task_id: int) -> None:
    """Task function."""
    snapshot_comparisons.execute_comparison(task_id, clock=utc_now)


def restore(task_id: int) -> None:
    """Task function."""
    snapshot_restores.execute_restore(task_id, clock=utc_now)
