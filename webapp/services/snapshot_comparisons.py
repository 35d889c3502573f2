"""A sample of a snapshot compared with what its host has now, by checksum. Changes nothing on either side."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from webapp.core.actors import Actor
from webapp.store.models import SnapshotComparison


def request_comparison(archive_id: int, *, actor: Actor, now: datetime) -> SnapshotComparison:
    """Ask a worker to compare; an active one is answered, not doubled. ``checks`` has the answers when it has ended.

    Raises NotFound, Conflict when the host was deleted.
    """
    raise NotImplementedError


def newest_comparison(archive_id: int) -> SnapshotComparison | None:
    """The newest one, whatever its state."""
    raise NotImplementedError


def execute_comparison(task_id: int, *, clock: Callable[[], datetime]) -> None:
    """Execute a SnapshotComparison."""
    raise NotImplementedError
