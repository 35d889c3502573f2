"""Backups."""

from __future__ import annotations

from webapp.services import runs
from webapp.tasks.clock import utc_now


def execute_run(run_id: int) -> None:
    """Execute one Run."""
    runs.execute_run(run_id, clock=utc_now)
