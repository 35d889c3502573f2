"""Backups."""

from __future__ import annotations

from webapp.services import backups
from webapp.tasks.clock import utc_now


def execute_run(run_id: int) -> None:
    """Execute one Run."""
    backups.execute_run(run_id, clock=utc_now)
