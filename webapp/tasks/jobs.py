"""Jobs that mean all databases."""

from __future__ import annotations

from webapp.services import runs
from webapp.tasks.clock import utc_now


def fan_out(task_id: int) -> None:
    """Find the databases and make one Run for each."""
    runs.fan_out(task_id, clock=utc_now)
