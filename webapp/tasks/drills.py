"""Restore drills."""

from __future__ import annotations

from webapp.services import drills
from webapp.tasks.clock import utc_now


def drill(task_id: int) -> None:
    """Restore an archive for practice and ask questions of it."""
    drills.execute_drill(task_id, clock=utc_now)
