"""Restores, the checks before them, and kept databases whose time has come."""

from __future__ import annotations

from webapp.services import kept_databases, restore_checks, restore_runs
from webapp.tasks.clock import utc_now


def check_restore(task_id: int) -> None:
    """Look at the target of a restore, changing nothing there."""
    restore_checks.execute_check(task_id, clock=utc_now)


def restore(task_id: int) -> None:
    """Execute one Restore."""
    restore_runs.execute_restore(task_id, clock=utc_now)


def remove_kept(task_id: int) -> None:
    """Remove a kept database for good."""
    kept_databases.execute_removal(task_id, clock=utc_now)
