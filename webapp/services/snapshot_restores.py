"""Files of a snapshot put back, or somewhere else: first a dry run that a person looks at, then the same for real.

1. ``request_dry_run``: a worker asks rsync what would change; nothing does.
2. The person sees ``changes`` and ``counts``; ``preview_digest`` stands for what they saw.
3. ``confirm`` (the web door has asked for the password again): the same wish for real, when the digest is still that one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from webapp.core.actors import Actor
from webapp.core.status import SnapshotTarget
from webapp.store.models import SnapshotRestore


@dataclass(frozen=True, slots=True)
class FileRestoreWish:
    """What a person asks for.

    Attributes:
        paths: Absolute paths inside the snapshot; () is all of it.
        target_path: Absolute; files land at it + their path in the snapshot ("/" puts them back where they were).
        target_instance_id: The host, where the target is another one.
        delete_others: Also remove what the snapshot has not, below the chosen directories.
    """

    archive_id: int
    paths: tuple[str, ...]
    target: SnapshotTarget
    target_path: str
    target_instance_id: int | None = None
    delete_others: bool = False


def request_dry_run(wish: FileRestoreWish, *, actor: Actor, now: datetime) -> SnapshotRestore:
    """Ask a worker what the restore would change. Raises NotFound, InvalidInput (field named), Conflict."""
    raise NotImplementedError


def get_restore(restore_id: int) -> SnapshotRestore:
    """The restore or dry run. Raises NotFound."""
    raise NotImplementedError


def list_restores(archive_id: int) -> Sequence[SnapshotRestore]:
    """The snapshot's restores and dry runs, the newest first."""
    raise NotImplementedError


def find_confirmed(preview_id: int) -> SnapshotRestore | None:
    """The restore that came of a dry run."""
    raise NotImplementedError


def preview_digest(preview: SnapshotRestore) -> str:
    """What ``confirm`` wants back: stands for the wish and for all that the dry run said."""
    raise NotImplementedError


def why_not_confirmable(preview: SnapshotRestore, now: datetime) -> str:
    """Why the dry run cannot be confirmed (any more), as a sentence; "" when it can."""
    raise NotImplementedError


def confirm(preview_id: int, *, digest: str, actor: Actor, now: datetime) -> SnapshotRestore:
    """Do for real what the dry run showed. Raises NotFound, Conflict (changed, too old, failed, confirmed already)."""
    raise NotImplementedError


def execute_restore(task_id: int, *, clock: Callable[[], datetime]) -> None:
    """Execute a SnapshotRestore, dry or real."""
    raise NotImplementedError
