"""Snapshots of hosts: found, listed, and the word of a person that far fewer files are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from webapp.core.actors import Actor
from webapp.store.models import SnapshotRecord


@dataclass(frozen=True, slots=True)
class SnapshotFilter:
    """Which snapshots to list. ``with_gone`` adds those in the trash, deleted and missing ones."""

    instance_id: int | None = None
    job_id: int | None = None
    with_gone: bool = False
    offset: int = 0
    limit: int = 50


@dataclass(frozen=True, slots=True)
class RootFacts:
    """The backup root of a host. ``problem`` is why nothing can be written there now, with ``hint``; "" when all is well.

    ``free_bytes`` and ``total_bytes`` are of its disk, None when it cannot be looked at.
    """

    root: str
    free_bytes: int | None
    total_bytes: int | None
    problem: str = ""
    hint: str = ""


def list_snapshots(wanted: SnapshotFilter) -> tuple[Sequence[SnapshotRecord], int]:
    """One page of snapshots, the newest first, with their archives loaded; and how many there are in all."""
    raise NotImplementedError


def get_snapshot(archive_id: int) -> SnapshotRecord:
    """The snapshot, by its restore point's id (``.archive`` is the restore point). Raises NotFound."""
    raise NotImplementedError


def find_of_run(run_id: int) -> SnapshotRecord | None:
    """The snapshot that a run made, whatever its state."""
    raise NotImplementedError


def newest_of(instance_id: int, job_id: int | None = None) -> SnapshotRecord | None:
    """The newest stored snapshot of the host (and job)."""
    raise NotImplementedError


def find_before(record: SnapshotRecord) -> SnapshotRecord | None:
    """The newest stored snapshot of the same host and paths that is older: what «what changed» compares with."""
    raise NotImplementedError


def root_facts(instance_id: int) -> RootFacts:
    """How it stands with the place where the host's snapshots go. Raises NotFound. Looks at the disk, writes nothing."""
    raise NotImplementedError


def can_accept_shrink(run_id: int) -> bool:
    """Whether the run was stopped as SOURCE_EMPTIED in a way that a person may accept, and nobody has since."""
    raise NotImplementedError


def accept_shrink(run_id: int, *, actor: Actor, now: datetime) -> None:
    """A person says that the host really has so few files: the next snapshot of it passes once.

    Raises NotFound, Conflict when the run did not end as SOURCE_EMPTIED or its host is gone.
    """
    raise NotImplementedError
