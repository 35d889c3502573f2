"""Removal of trees: a task of its own, since a large tree takes a while, and nobody else shall wait for it or feel it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from webapp.store.models import SnapshotRemoval


def request_removal(archive_id: int, *, now: datetime) -> SnapshotRemoval | None:
    """Ask a worker to remove the tree of a snapshot that is marked as deleting; an active one is answered.

    None when it is not being deleted, or a removal failed a short while ago. Safe to repeat.
    """
    raise NotImplementedError


def newest_removal(archive_id: int) -> SnapshotRemoval | None:
    """The newest one, whatever its state."""
    raise NotImplementedError


def execute_removal(task_id: int, *, clock: Callable[[], datetime]) -> None:
    """Execute a SnapshotRemoval. Removing what is gone already is fine, so it may be repeated."""
    raise NotImplementedError
