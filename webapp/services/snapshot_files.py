"""What is in a snapshot: browsed, searched, compared with another one, handed out. Nothing here changes a tree.

Paths are absolute, as on the host ("/etc/hosts"), and are taken and given as text with surrogate escapes for bytes that are not
UTF-8 (``os.fsdecode``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, BinaryIO

from webapp.core.actors import Actor

if TYPE_CHECKING:
    from webapp.engine.snapshots.differences import Differences
    from webapp.engine.snapshots.search import Found
    from webapp.engine.snapshots.tree import Listing


def browse(archive_id: int, path: str = "/", *, offset: int = 0, limit: int = 200) -> Listing:
    """One page of a directory of the snapshot. Raises NotFound (snapshot not stored, path not in it, no directory)."""
    raise NotImplementedError


def search(archive_id: int, text: str, *, limit: int = 200) -> Sequence[Found]:
    """Files whose path holds the text (or matches it as a pattern with * and ?), in the order of the list. Raises NotFound."""
    raise NotImplementedError


def compare(old_id: int, new_id: int, *, first: int = 200) -> Differences:
    """What the new one has, has not or has otherwise than the old one: counts of all, and the first of each kind.

    Raises NotFound, InvalidInput for snapshots of two hosts.
    """
    raise NotImplementedError


def open_file(archive_id: int, path: str, *, actor: Actor, now: datetime) -> tuple[BinaryIO, int]:
    """A regular file of the snapshot, open for reading, and its size; who took it goes into the audit log. Raises NotFound."""
    raise NotImplementedError


def tar_stream(archive_id: int, paths: Sequence[str], *, actor: Actor, now: datetime) -> Iterator[bytes]:
    """Files and folders of the snapshot as a tar, with their real owners and modes; goes into the audit log. Raises NotFound."""
    raise NotImplementedError


def zip_stream(archive_id: int, paths: Sequence[str], *, actor: Actor, now: datetime) -> Iterator[bytes]:
    """The same as a zip, for people whose computer opens no tar."""
    raise NotImplementedError
