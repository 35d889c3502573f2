"""A snapshot proved again: its manifest, its list and its tree, and at the level *complete* every file of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from webapp.core.errors import ArchiveError, Conflict, NotFound
from webapp.core.reports import VerificationReport
from webapp.core.status import SnapshotLayout, VerificationLevel
from webapp.engine.snapshots.found import read_manifest
from webapp.engine.snapshots.verification import verify
from webapp.services.reporting import TaskReporter
from webapp.services.snapshot_places import get_record, get_stored, is_tree_there, place_of
from webapp.store.db import release

TIME_LIMIT_SECONDS = 24 * 3600


def require_verifiable(archive_id: int) -> None:
    """Raises NotFound (not stored, or its tree is not there), Conflict (there is nothing to compare it with), StoreError."""
    record = get_stored(archive_id)
    if record.layout is SnapshotLayout.PLAIN:
        raise Conflict(
            f"Snapshot {archive_id} was made by something else, so no list says what it must hold.",
            hint="Compare it with its host instead, or look into it.",
        )
    if not is_tree_there(archive_id):
        raise NotFound(
            f"The tree of snapshot {archive_id} is not below its backup root.",
            hint="Look whether the disk is mounted, and whether somebody removed the directory.",
        )


def read_again(archive_id: int, level: VerificationLevel, reporter: TaskReporter) -> VerificationReport:
    """Every check of the level. Ends the database session first. Raises NotFound, Conflict, StoreError, TaskStopped."""
    require_verifiable(archive_id)
    record = get_stored(archive_id)
    place, manifest, listed = place_of(record), record.archive.manifest_sha256, record.list_sha256
    release()
    return verify(place, manifest, listed, level, reporter)


def manifest_data(archive_id: int) -> Mapping[str, Any]:
    """The manifest beside the tree as JSON. Raises NotFound, ArchiveError when it is not as it was written, StoreError."""
    record = get_stored(archive_id)
    require_verifiable(archive_id)
    manifest, digest, problem = read_manifest(place_of(record))
    if manifest is None or digest != record.archive.manifest_sha256:
        raise ArchiveError(
            f"The manifest of snapshot {archive_id} is not as it was written: {problem or 'it was changed'}.",
            hint="The tree itself may be whole: verify the snapshot, or compare it with its host.",
        )
    return manifest.as_json()


def note_read(archive_id: int, report: VerificationReport, now: datetime) -> None:
    """When it was last read from beginning to end, inside the caller's ``writing()``."""
    if report.level is VerificationLevel.COMPLETE:
        get_record(archive_id).read_at = now
