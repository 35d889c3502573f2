"""Digests of files: from rsync's log where it has them, and by reading."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import Protocol

import xxhash

from webapp.engine.disk import disk_error
from webapp.engine.report import Reporter
from webapp.engine.snapshots.records import NOTHING

_CHUNK = 1024 * 1024
_REMEMBERED = 20_000


class _Hash(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


def digest_of(path: bytes, kind: str, reporter: Reporter, *, from_disk: bool = False) -> bytes:
    """The hex digest ("xxh128" or "md5") of a file's content; ``from_disk`` drops what memory holds of it first.

    A file that is not a plain one is not opened. Raises OSError, TaskStopped.
    """
    found: _Hash = xxhash.xxh3_128() if kind == "xxh128" else hashlib.md5(usedforsecurity=False)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if from_disk:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        while data := os.read(descriptor, _CHUNK):
            found.update(data)
            reporter.check()
    finally:
        os.close(descriptor)
    return found.hexdigest().encode()


class LoggedDigests:
    """Answers from a sorted log of digests, asked in the order of the paths. Keeps one record at a time."""

    def __init__(self, records: Iterator[bytes]) -> None:
        self._records = records
        self._path = b""
        self._record: tuple[bytes, bytes] | None = None
        self._advance()

    def find(self, path: bytes, size: bytes) -> bytes | None:
        """The digest logged last for ``path`` with ``size``, or None. Each path must come after the one asked before."""
        answer = None
        while self._record is not None and self._record[0] <= path:
            if self._record[0] == path:
                answer = self._record[1]
            self._advance()
        if answer is None:
            return None
        digest, _, logged_size = answer.partition(b" ")
        return digest if logged_size == size and len(digest) == 32 else None

    def _advance(self) -> None:
        record = next(self._records, None)
        if record is None:
            self._record = None
        else:
            head, _, path = record.partition(b"/")
            self._record = (path, head)


class Digester:
    """Digests of what is new in a tree: from the log, else by reading; a file of several names is read once."""

    def __init__(self, log: LoggedDigests, kind: str, reporter: Reporter) -> None:
        self.files = 0
        self.bytes = 0
        self._log = log
        self._kind = kind
        self._reporter = reporter
        self._by_inode: dict[bytes, bytes] = {}

    def digest(self, absolute: bytes, path: bytes, *, size: bytes, inode: bytes, links: int) -> bytes:
        """The file's digest in hex, b"-" when it vanished. Raises StoreError, TaskStopped."""
        found = self._log.find(path, size) or self._by_inode.get(inode)
        if found is None:
            try:
                found = digest_of(absolute, self._kind, self._reporter)
            except OSError as error:
                raise disk_error(error, f"read {os.fsdecode(absolute)!r}") from error
            self.files += 1
            self.bytes += int(size)
        if links > 1 and len(self._by_inode) < _REMEMBERED:
            self._by_inode[inode] = found
        return found


__all__ = ["NOTHING", "Digester", "LoggedDigests", "digest_of"]
