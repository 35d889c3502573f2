"""A tree beside its list: what is missing, what is more, what is otherwise, and whether contents are those of the digests."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field

from webapp.engine.disk import disk_error
from webapp.engine.report import Reporter
from webapp.engine.snapshots.digests import digest_of
from webapp.engine.snapshots.records import NOTHING, noted_of, read_records, sorted_tree

_SHOWN = 5
_STEP = 1000


@dataclass(slots=True)
class Paths:
    """How many, and the first few of them as they may be shown."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, path: bytes) -> None:
        """One more."""
        self.count += 1
        if len(self.first) < _SHOWN:
            self.first.append(shown(path))


@dataclass(slots=True)
class Comparison:
    """What a comparison of a tree with its list found. ``read_bytes``: contents that were read and are right."""

    entries: int = 0
    files: int = 0
    read_bytes: int = 0
    missing: Paths = field(default_factory=Paths)
    extra: Paths = field(default_factory=Paths)
    altered: Paths = field(default_factory=Paths)
    damaged: Paths = field(default_factory=Paths)


def compare_tree(
    tree: str, list_path: str, *, digest: str | None, reporter: Reporter, total_bytes: int | None = None
) -> Comparison:
    """Compare every entry; with ``digest`` ("xxh128", "md5") also every file's content, read from the disk itself.

    The inode is not compared, so that a copy of the snapshot elsewhere is as good. Raises StoreError, TaskStopped.
    """
    work = _Work(os.fsencode(tree), digest, reporter, total_bytes)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="holdfast-") as scratch,
            sorted_tree(tree, reporter, scratch=scratch) as found,
        ):
            work.merge(found, read_records(list_path))
    except OSError as error:
        raise disk_error(error, f"look at the files in {tree}") from error
    return work.comparison


def shown(path: bytes) -> str:
    """A path for people: what cannot be printed is spelt out."""
    text = path.decode("utf-8", "backslashreplace")
    return "/" + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _Work:
    def __init__(self, tree: bytes, digest: str | None, reporter: Reporter, total_bytes: int | None) -> None:
        self.comparison = Comparison()
        self._tree = tree
        self._digest = digest
        self._reporter = reporter
        self._total_bytes = total_bytes

    def merge(self, found: Iterator[bytes], listed: Iterator[bytes]) -> None:
        listed_head, listed_path = _next(listed)
        for record in found:
            head, _, path = record.partition(b" ")[2].partition(b"/")
            while listed_path is not None and listed_path < path:
                self.comparison.missing.add(listed_path)
                listed_head, listed_path = _next(listed)
            if listed_path == path:
                self._compare(path, head, listed_head)
                listed_head, listed_path = _next(listed)
            else:
                self.comparison.extra.add(path)
        while listed_path is not None:
            self.comparison.missing.add(listed_path)
            listed_head, listed_path = _next(listed)

    def _compare(self, path: bytes, head: bytes, listed: bytes) -> None:
        comparison = self.comparison
        comparison.entries += 1
        if comparison.entries % _STEP == 0:
            self._reporter.check()
            self._tell()
        fields = listed.split(b" ")
        absolute = self._tree + b"/" + path
        if len(fields) != 9 or not _same(head.split(b" "), fields) or noted_of(absolute) != fields[7]:
            comparison.altered.add(path)
        elif fields[8] != NOTHING:
            comparison.files += 1
            if self._digest is not None:
                self._read(absolute, path, fields)

    def _read(self, absolute: bytes, path: bytes, fields: list[bytes]) -> None:
        """A file that the disk does not give back is as bad as one that is not what it was."""
        try:
            right = digest_of(absolute, self._digest or "", self._reporter, from_disk=True) == fields[8]
        except OSError:
            right = False
        if right:
            self.comparison.read_bytes += int(fields[4])
        else:
            self.comparison.damaged.add(path)

    def _tell(self) -> None:
        if self._digest is None:
            self._reporter.progress(self.comparison.entries, unit="files")
        else:
            self._reporter.progress(self.comparison.read_bytes, self._total_bytes)


def _next(listed: Iterator[bytes]) -> tuple[bytes, bytes | None]:
    record = next(listed, None)
    if record is None:
        return b"", None
    head, _, path = record.partition(b"/")
    return head, path


def _same(found: list[bytes], listed: list[bytes]) -> bool:
    """Type, time, a file's size; and, when nothing else is noted of them, mode and owner are what is listed."""
    kind, mode, uid, gid, size, mtime = found[:6]
    if kind != listed[0] or mtime != listed[5] or (kind == b"f" and size != listed[4]):
        return False
    return listed[7] != NOTHING or [mode, uid, gid] == listed[1:4]
