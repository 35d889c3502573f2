"""The list of a snapshot's tree: written in one streaming pass beside its base's, in memory that does not grow with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from webapp.engine.report import Reporter


class Entry(NamedTuple):
    """One record of a list: ``<type> <mode> <uid> <gid> <size> <mtime> <inode> <noted> <digest>/<path>`` and a NUL.

    All but ``noted`` is as it lies on disk: ``type`` is b"f" or b"d", ``mode`` octal digits, ``mtime`` as find's %T@.
    ``noted`` is what rsync noted in the attribute ``user.rsync.%stat``, its spaces as ";" (b"120777;0,0;0:0"), b"-" for none:
    then the entry is what it looks like. ``digest`` is hex, b"-" for none. ``path`` is relative to the tree.
    """

    type: bytes
    mode: bytes
    uid: bytes
    gid: bytes
    size: int
    mtime: bytes
    inode: bytes
    noted: bytes
    digest: bytes
    path: bytes


class Emptied(NamedTuple):
    """A directory that held ``base_files`` files in the base and holds none now; ``path`` is relative to the tree."""

    path: bytes
    base_files: int


@dataclass(frozen=True, slots=True)
class ListTotals:
    """What ``write_list`` counted: the manifest's counts, and what the guard asks.

    ``base_files``: files and others in the base's list, 0 without one. ``emptied``: directories at most three levels deep, and
    the watched ones, that held 10 or more in the base and hold none now; the first hundred. ``new_sample``: up to 256 of the
    new files, chosen at random. ``digested_bytes``: what had to be read here, since rsync's digests did not have it.
    """

    list_sha256: str
    list_bytes: int
    file_count: int
    directory_count: int
    other_count: int
    total_bytes: int
    new_files: int
    new_bytes: int
    gone_files: int
    base_files: int
    digested_files: int
    digested_bytes: int
    emptied: tuple[Emptied, ...] = ()
    new_sample: tuple[Entry, ...] = ()


def write_list(
    tree: str,
    base_list: str | None,
    digests_log: str,
    target: str,
    *,
    digest: str,
    base_digest: str = "",
    watched: Sequence[str] = (),
    reporter: Reporter,
) -> ListTotals:
    """Write the list of ``tree`` to the file ``target`` (replacing one that is there), in the order of the paths' bytes.

    Digests come from ``digests_log`` (records ``<digest> <size>/<path>`` and a NUL, as ``transfer.pull`` writes them; the last
    of a path counts; a record without its NUL is ignored), are carried over from ``base_list`` where inode, size and
    time are equal, and are computed here for the rest. ``digest`` is the log's kind ("xxh128" or "md5"), ``base_digest`` the base's ("" for
    the same); digests of another kind are not carried. ``watched`` are directories to look at for ``emptied`` at any depth.
    Raises StoreError, TaskStopped.
    """
    raise NotImplementedError


def read_list(path: str, *, reporter: Reporter | None = None) -> Iterator[Entry]:
    """Every record of the list, in its order. Raises ArchiveError(corrupt) for one that is not a record, StoreError."""
    raise NotImplementedError
