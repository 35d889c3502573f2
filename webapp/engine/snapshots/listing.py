"""The list of a snapshot's tree: written in one streaming pass beside its base's, in memory that does not grow with it."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO

from webapp.engine.disk import disk_error
from webapp.engine.report import Reporter
from webapp.engine.snapshots.digests import Digester, LoggedDigests
from webapp.engine.snapshots.emptied import Emptied, EmptiedDirectories
from webapp.engine.snapshots.records import (
    NOTHING,
    Entry,
    noted_of,
    parse_record,
    read_records,
    sorted_log,
    sorted_tree,
)

__all__ = ["BaseList", "Emptied", "Entry", "ListTotals", "file_sha256", "is_other", "read_list", "write_list"]

_SAMPLE = 256
_TOGETHER = 2000
_LAST = b"\xff" * 70_000  # Comes after every path.


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


@dataclass(frozen=True, slots=True)
class BaseList:
    """The list of the snapshot whose unchanged files are shared.

    ``digest`` is the kind of its digests, "" for the new list's own: another kind is not carried over. ``sha256`` is what the
    file must be, "" when nobody knows: one that is damaged is left aside, with a line in the log.
    """

    path: str
    digest: str = ""
    sha256: str = ""


def write_list(
    tree: str,
    base: BaseList | None,
    digests_log: str,
    target: str,
    *,
    digest: str,
    watched: Sequence[str] = (),
    reporter: Reporter,
) -> ListTotals:
    """Write the list of ``tree`` to the file ``target`` (replacing one that is there), in the order of the paths' bytes.

    Digests come from ``digests_log`` (records ``<digest> <size>/<path>`` and a NUL, as ``transfer.pull`` writes them; the last
    of a path counts; a record without its NUL is ignored), are carried over from the base's list where inode, size and
    time are equal, and are computed here for the rest. ``digest`` is the log's kind, "xxh128" or "md5". ``watched`` are
    directories to look at for ``emptied`` at any depth. Raises StoreError, TaskStopped.
    """
    scratch = os.path.dirname(target)
    emptied = EmptiedDirectories(os.fsencode(tree), [os.fsencode(path) for path in watched])
    records = _open_base(base, reporter)
    try:
        with ExitStack() as stack:
            out = _ListFile(stack.enter_context(open(target, "wb", buffering=0, opener=_private)))
            log = LoggedDigests(stack.enter_context(sorted_log(digests_log, reporter, scratch=scratch)))
            found = stack.enter_context(sorted_tree(tree, reporter, scratch=scratch))
            work = _Work(os.fsencode(tree), Digester(log, digest, reporter), emptied, reporter)
            work.merge(found, records, out, carry=base is None or base.digest in ("", digest))
            out.flush()
    except OSError as error:
        raise disk_error(error, "write the snapshot's list of files") from error
    return work.totals(out)


def read_list(path: str, *, reporter: Reporter | None = None) -> Iterator[Entry]:
    """Every record of the list, in its order. Raises ArchiveError(corrupt) for one that is not a record, StoreError."""
    return map(parse_record, read_records(path, reporter=reporter))


def file_sha256(path: str) -> str:
    """SHA-256 of a file, "" for one that is missing. Raises StoreError."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise disk_error(error, f"read {path}") from error


def is_other(noted: bytes) -> bool:
    """Whether the note of an entry that is a file on disk says that it is truly a symlink, a device, a socket or a fifo."""
    # In octal as stat has it: 100644 is a file, 10644 a fifo, 120777 a symlink.
    return noted != NOTHING and not (noted.startswith(b"10") and noted[6:7] == b";")


def _open_base(base: BaseList | None, reporter: Reporter) -> Iterator[bytes]:
    if base is None:
        return iter(())
    if base.sha256 and file_sha256(base.path) != base.sha256:
        reporter.log(f"{base.path} is damaged or gone, so every file of this snapshot is read and digested.", "warning")
        return iter(())
    return read_records(base.path)


class _ListFile:
    """Writes records in large pieces and digests them on the way."""

    def __init__(self, file: BinaryIO) -> None:
        self.sha256 = hashlib.sha256()
        self.size = 0
        self.records: list[bytes] = []
        self._file = file

    def flush(self) -> None:
        """All records given so far are written."""
        if self.records:
            self.records.append(b"")
            data = b"\0".join(self.records)
            self.sha256.update(data)
            self.size += len(data)
            self.records.clear()
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) or 0 :]


class _Work:
    """The merge of a tree with its base's list, and what it counts."""

    def __init__(self, tree: bytes, digester: Digester, emptied: EmptiedDirectories, reporter: Reporter) -> None:
        self._tree = tree
        self._digester = digester
        self._emptied = emptied
        self._reporter = reporter
        self._base: Iterator[bytes] = iter(())
        self._base_head = b""
        self._base_path = _LAST
        self.base_files = self.gone_files = 0
        self.files = self.directories = self.others = self.total_bytes = 0
        self.new_files = 0
        self.new_bytes = 0.0
        self.sample: list[bytes] = []

    def merge(self, found: Iterator[bytes], base: Iterator[bytes], out: _ListFile, *, carry: bool) -> None:
        """Every entry of the tree gets its record; whatever the base has and the tree has not is counted as gone."""
        self._base = base
        self._advance()
        records = out.records
        for record in found:
            links, _, described = record.partition(b" ")
            head, _, path = described.partition(b"/")
            while self._base_path < path:
                self._gone()
            shared = self._base_path == path and self._base_head.startswith(head)
            if shared and carry:
                self._count(self._base_head)
                records.append(self._base_head + b"/" + path)
            else:
                records.append(self._describe(head, path, links=int(links), shared=shared))
            if self._base_path == path:
                self._pass(head)
            if len(records) >= _TOGETHER:
                out.flush()
                self._reporter.progress(self.files, unit="files")
                self._reporter.check()
        while self._base_path != _LAST:
            self._gone()

    def totals(self, out: _ListFile) -> ListTotals:
        """What was counted."""
        return ListTotals(
            list_sha256=out.sha256.hexdigest(),
            list_bytes=out.size,
            file_count=self.files,
            directory_count=self.directories,
            other_count=self.others,
            total_bytes=self.total_bytes,
            new_files=self.new_files,
            new_bytes=round(self.new_bytes),
            gone_files=self.gone_files,
            base_files=self.base_files,
            digested_files=self._digester.files,
            digested_bytes=self._digester.bytes,
            emptied=self._emptied.finish(),
            new_sample=tuple(map(parse_record, self.sample)),
        )

    def _describe(self, head: bytes, path: bytes, *, links: int, shared: bool) -> bytes:
        """The record of an entry whose base is not the same file; ``shared``: it is, but its digest is of another kind."""
        absolute = self._tree + b"/" + path
        digest = NOTHING
        if head.startswith(b"f"):
            _, _, _, _, size, _, inode, _ = head.split(b" ")
            digest = self._digester.digest(absolute, path, size=size, inode=inode, links=links)
        described = head + noted_of(absolute) + b" " + digest
        self._count(described)
        record = described + b"/" + path
        if digest != NOTHING and not shared:
            self._new(record, size=int(size), links=links)
        return record

    def _new(self, record: bytes, *, size: int, links: int) -> None:
        self.new_files += 1
        self.new_bytes += size / links  # All names of a new file are in this tree: together they count once.
        if len(self.sample) < _SAMPLE:
            self.sample.append(record)
        elif (place := int(random.random() * self.new_files)) < _SAMPLE:  # noqa: S311 - a sample, not a secret
            self.sample[place] = record

    def _count(self, head: bytes) -> None:
        if head.startswith(b"d"):
            self.directories += 1
            return
        _, _, _, _, size, _, _, noted, _ = head.split(b" ")
        self.total_bytes += int(size)
        if noted != NOTHING and is_other(noted):
            self.others += 1
        else:
            self.files += 1

    def _gone(self) -> None:
        """The base's record has no counterpart."""
        if not self._base_head.startswith(b"d"):
            self.base_files += 1
            self.gone_files += 1
            self._emptied.gone(self._base_path)
        self._advance()

    def _pass(self, head: bytes) -> None:
        """The base's record has a counterpart with ``head``: gone all the same when a directory took a file's place."""
        if head.startswith(b"d"):
            if not self._base_head.startswith(b"d"):
                self._gone()
                return
        elif not self._base_head.startswith(b"d"):
            self.base_files += 1
        self._advance()

    def _advance(self) -> None:
        record = next(self._base, None)
        if record is None:
            self._base_head, self._base_path = b"", _LAST
        else:
            self._base_head, _, self._base_path = record.partition(b"/")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
