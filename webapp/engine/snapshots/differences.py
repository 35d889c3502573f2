"""What one snapshot has, has not, or has otherwise than another one of the same host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from webapp.core.snapshot_plans import SnapshotPlace
from webapp.engine.snapshots.tree import Kind


class ChangeKind(StrEnum):
    """What became of a name. Attributes: the same content with another mode, owner or time."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    ATTRIBUTES = "attributes"


@dataclass(frozen=True, slots=True)
class Change:
    """One name that differs. ``old_bytes`` and ``new_bytes`` are of files' contents; ``detail`` says what else is new."""

    change: ChangeKind
    path: str
    kind: Kind
    old_bytes: int = 0
    new_bytes: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Differences:
    """The first changes of each kind in the order of the paths' bytes, and the counts of all.

    ``added_bytes``: contents of added files; ``removed_bytes``: of removed ones; ``changed_bytes``: new contents of changed ones.
    ``by_content`` is False where a snapshot has no digests, so that size and time had to do.
    """

    added: tuple[Change, ...]
    removed: tuple[Change, ...]
    changed: tuple[Change, ...]
    attributes: tuple[Change, ...]
    counts: Mapping[ChangeKind, int]
    unchanged: int
    added_bytes: int
    removed_bytes: int
    changed_bytes: int
    by_content: bool


def compare(old: SnapshotPlace, new: SnapshotPlace, *, first: int = 200) -> Differences:
    """Compare two snapshots in one pass over both lists. Raises NotFound, ArchiveError for a list that is damaged."""
    raise NotImplementedError
