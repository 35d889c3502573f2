"""Names looked for in a snapshot: through its list where it has one, else through the tree."""

from __future__ import annotations

from collections.abc import Sequence

from webapp.core.snapshot_plans import SnapshotPlace
from webapp.engine.snapshots.tree import Node

Found = Node


def search(place: SnapshotPlace, text: str, limit: int = 200) -> Sequence[Found]:
    """The first names whose path holds the text, or matches it where it has * or ?, small and large letters alike.

    In the order of the paths' bytes. Raises NotFound when the snapshot is not on disk.
    """
    raise NotImplementedError
