"""Retention."""

from __future__ import annotations

from webapp.services import retention
from webapp.tasks.clock import utc_now


def apply_retention(task_id: int) -> None:
    """Apply a job's retention policy to one database."""
    retention.execute_retention(task_id, clock=utc_now)
