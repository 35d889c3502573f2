"""Verifications of stored archives."""

from __future__ import annotations

from webapp.services import archives
from webapp.tasks.clock import utc_now


def verify_archive(task_id: int) -> None:
    """Prove a stored archive again."""
    archives.execute_verification(task_id, clock=utc_now)
