"""Jobs that mean all databases."""

from __future__ import annotations

from webapp.services import fan_out as service
from webapp.tasks.clock import utc_now


def fan_out(task_id: int) -> None:
    """Find the databases and make one Run for each."""
    service.fan_out(task_id, clock=utc_now)
