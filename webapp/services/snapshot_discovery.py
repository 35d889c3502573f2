"""Discovery: snapshots of a host that lie on disk and are in no table are taken into SQL. Only reads there; safe to repeat."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from webapp.core.actors import Actor
from webapp.store.models import SnapshotDiscovery


def request_discovery(instance_id: int, *, backup_root: str = "", actor: Actor, now: datetime) -> SnapshotDiscovery:
    """Ask a worker to look; an active one is answered, not doubled. ``backup_root`` "" is the host's own root.

    When it has ended ``task.details`` has "found", "added", "known" (counts), "problems" (sentences) and "archive_ids".
    Raises NotFound, InvalidInput (no host; a root that is no absolute path).
    """
    raise NotImplementedError


def newest_discovery(instance_id: int) -> SnapshotDiscovery | None:
    """The newest one, whatever its state."""
    raise NotImplementedError


def execute_discovery(task_id: int, *, clock: Callable[[], datetime]) -> None:
    """Execute a SnapshotDiscovery."""
    raise NotImplementedError
