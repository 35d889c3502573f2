"""Self-backups."""

from __future__ import annotations

from webapp.services import self_backups
from webapp.tasks.clock import utc_now


def back_up_self(task_id: int) -> None:
    """Copy Holdfast's own database, with its keys sealed, into the archive store."""
    self_backups.execute_self_backup(task_id, clock=utc_now)
