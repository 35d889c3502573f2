"""What lies on disk: snapshots found by looking, for discovery and for whoever has lost the database. Only reads."""

from __future__ import annotations

from webapp.core.snapshot_plans import FoundSnapshot, SnapshotPlace


def list_found(root: str, directory: str) -> list[FoundSnapshot]:
    """Every snapshot below ``<root>/<directory>``, the oldest first: ours, and trees whose name holds a time (plain).

    A plain one may lie one level deeper (scheduled/2026-11-22T02:15:00); its name is then both parts. A marker is not asked for:
    a root that another tool made has none. Raises StoreError when the root or the directory cannot be read.
    """
    raise NotImplementedError


def find_promoted(root: str, directory: str, run_id: int, fence: int) -> FoundSnapshot | None:
    """The snapshot that exactly this run and fence promoted, or None. Raises StoreError when the root is away."""
    raise NotImplementedError


def exists(place: SnapshotPlace) -> bool:
    """Whether the snapshot's tree is there. Raises StoreError when its root is away, so that False means missing."""
    raise NotImplementedError
