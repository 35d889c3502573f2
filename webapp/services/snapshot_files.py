"""What is in a snapshot: browsed, searched, compared with another one, handed out. Nothing here changes a tree.

Paths are absolute, as on the host ("/etc/hosts"), and are taken and given as text with surrogate escapes for bytes that are not
UTF-8 (``os.fsdecode``). No transaction is open while the disk is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import BinaryIO

from webapp.core.actors import Actor
from webapp.core.errors import InvalidInput
from webapp.core.path_text import storable_path
from webapp.core.snapshot_plans import SnapshotPlace
from webapp.engine.snapshots import differences, streams, tree
from webapp.engine.snapshots import search as names
from webapp.engine.snapshots.differences import Differences
from webapp.engine.snapshots.search import Found
from webapp.engine.snapshots.tree import Listing
from webapp.services import audit
from webapp.services.snapshot_places import get_stored, place_of
from webapp.store.db import db, writing

MOST_RECORDED_PATHS = 50


def browse(archive_id: int, path: str = "/", *, offset: int = 0, limit: int = 200) -> Listing:
    """One page of a directory of the snapshot. Raises NotFound (snapshot not stored, path not in it, no directory)."""
    return tree.list_directory(_place(archive_id), path, offset=offset, limit=limit)


def search(archive_id: int, text: str, *, limit: int = 200) -> Sequence[Found]:
    """Files whose path holds the text (or matches it as a pattern with * and ?), in the order of the list. Raises NotFound."""
    return names.search(_place(archive_id), text, limit)


def compare(old_id: int, new_id: int, *, first: int = 200) -> Differences:
    """What the new one has, has not or has otherwise than the old one: counts of all, and the first of each kind.

    Raises NotFound, InvalidInput for snapshots of two hosts.
    """
    old, new = get_stored(old_id), get_stored(new_id)
    if old.archive.instance_id != new.archive.instance_id or old.archive.instance_name != new.archive.instance_name:
        raise InvalidInput("These snapshots are of two hosts.", hint="Compare snapshots of one host.")
    places = place_of(old), place_of(new)
    _end_reading()
    return differences.compare(*places, first=first)


def open_file(archive_id: int, path: str, *, actor: Actor, now: datetime) -> tuple[BinaryIO, int]:
    """A regular file of the snapshot, open for reading, and its size; who took it goes into the audit log. Raises NotFound."""
    found = tree.open_file(_place(archive_id), path)
    try:
        _record(archive_id, [path], "file", actor, now)
    except BaseException:
        found[0].close()
        raise
    return found


def tar_stream(archive_id: int, paths: Sequence[str], *, actor: Actor, now: datetime) -> Iterator[bytes]:
    """Files and folders of the snapshot as a tar, with their real owners and modes; goes into the audit log. Raises NotFound."""
    stream = streams.tar_stream(_place(archive_id), paths)
    _record(archive_id, paths, "tar", actor, now)
    return stream


def zip_stream(archive_id: int, paths: Sequence[str], *, actor: Actor, now: datetime) -> Iterator[bytes]:
    """The same as a zip, for people whose computer opens no tar."""
    stream = streams.zip_stream(_place(archive_id), paths)
    _record(archive_id, paths, "zip", actor, now)
    return stream


def _place(archive_id: int) -> SnapshotPlace:
    place = place_of(get_stored(archive_id))
    _end_reading()
    return place


def _end_reading() -> None:
    """No transaction is open while the disk is asked; the rows that a page has already read stay at hand."""
    db.session.commit()


def _record(archive_id: int, paths: Sequence[str], form: str, actor: Actor, now: datetime) -> None:
    with writing():
        archive = get_stored(archive_id).archive
        shown = [storable_path(path) for path in paths]
        audit.record(
            actor,
            "snapshot.downloaded",
            subject_kind="archive",
            subject_id=archive_id,
            subject_name=f"{archive.instance_name} / {archive.taken_at:%Y-%m-%d %H:%M}",
            details={"paths": shown[:MOST_RECORDED_PATHS], "count": len(shown), "as": form},
            now=now,
        )
