"""Where snapshots lie: from an archive's row to its place on disk, and back. Beneath every service that touches a snapshot."""

from __future__ import annotations

import hashlib
import logging
import os

import sqlalchemy as sa

from webapp.core.errors import NotFound, StoreError
from webapp.core.path_text import path_bytes
from webapp.core.snapshot_plans import SnapshotPlace
from webapp.core.status import ArchiveFormat, ArchiveState, SnapshotLayout
from webapp.engine.snapshots.found import exists
from webapp.engine.snapshots.places import open_root
from webapp.services.hosts import backup_root_of
from webapp.store.db import db
from webapp.store.models import Archive, Host, SnapshotRecord

logger = logging.getLogger(__name__)

PREFIX = "snapshots/"
MOST_LOOKED_AT = 200
IN_STORE = (ArchiveState.STORED, ArchiveState.QUARANTINED)


def is_snapshot(archive: Archive) -> bool:
    """Whether the archive is a host's tree, and not a file in the archive store."""
    return archive.format is ArchiveFormat.SNAPSHOT


def place_of(record: SnapshotRecord) -> SnapshotPlace:
    """Where the snapshot lies."""
    return SnapshotPlace(record.root, record.directory, record.name, record.layout)


def get_record(archive_id: int) -> SnapshotRecord:
    """The snapshot's row. Raises NotFound, also for an archive that is no snapshot."""
    record = db.session.get(SnapshotRecord, archive_id, populate_existing=True)
    if record is None:
        raise NotFound(f"There is no snapshot {archive_id}.")
    return record


def get_stored(archive_id: int) -> SnapshotRecord:
    """The row of a snapshot whose tree should be there. Raises NotFound when it is deleted, in the trash or missing."""
    record = get_record(archive_id)
    if record.archive.state not in IN_STORE:
        raise NotFound(f"Snapshot {archive_id} is no longer stored ({record.archive.state.value}).")
    return record


def is_tree_there(archive_id: int) -> bool:
    """Whether the snapshot's tree lies in its place. Raises NotFound, and StoreError when its backup root is away."""
    return exists(place_of(get_record(archive_id)))


def relative_path_of(place: SnapshotPlace) -> str:
    """What stands in ``Archive.relative_path``: unique for every place on this machine, and never a path in the archive store."""
    root = hashlib.sha256(path_bytes(place.root)).hexdigest()[:8]
    return f"{PREFIX}{root}/{place.directory}/{place.name}"


def find_at(place: SnapshotPlace) -> SnapshotRecord | None:
    """The row of the snapshot at this place, whatever its state."""
    return db.session.scalar(
        sa.select(SnapshotRecord).where(
            SnapshotRecord.root == place.root,
            SnapshotRecord.directory == place.directory,
            SnapshotRecord.name == place.name,
        )
    )


def root_of(host: Host) -> str:
    """The host's backup root without links on the way, as the engine and the rows have it."""
    return os.path.realpath(backup_root_of(host))


def is_root_there(root: str) -> bool:
    """Whether the backup root carries its marker; logged when it does not."""
    try:
        open_root(root)
    except StoreError as error:
        logger.warning("%s", error.message)
        return False
    return True


def is_new_root(root: str) -> bool:
    """Whether a root without its marker may get one: no snapshot of ours was ever recorded there, else its disk is away.

    A root that another tool made, and whose snapshots were found, is new as long as one of these lies there.
    """
    query = sa.select(SnapshotRecord).where(SnapshotRecord.root == root)
    if db.session.scalar(query.where(SnapshotRecord.layout == SnapshotLayout.OURS).limit(1)) is not None:
        return False
    plain = db.session.scalars(query.limit(MOST_LOOKED_AT)).all()
    return not plain or any(os.path.isdir(place_of(record).path) for record in plain)
