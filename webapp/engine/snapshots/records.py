"""Records of a list of files: how one is written and read, and a tree as a sorted stream of them in bounded memory."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from webapp.core.errors import ArchiveError, StoreError
from webapp.core.status import ErrorCode
from webapp.engine.disk import disk_error
from webapp.engine.endings import ProcessFailed
from webapp.engine.process import clean_environment, stream
from webapp.engine.report import Reporter
from webapp.engine.snapshots.places import XATTR

# What is between the first space and the first "/" ends in a space, so that it is a prefix of the list's own.
FIND_FORMAT = "%n %y %m %U %G %s %T@ %i /%P\\0"
# Nothing before the path has a "/": what follows the first one is the path, to its end.
_BY_PATH = ("-z", "-s", "-t/", "-k2", "-S", "32M", "--parallel=2")
_CHUNK = 256 * 1024
LONGEST_RECORD = 1024 * 1024  # A path of the host has 4,096 bytes at most.
_HEAD = re.compile(rb"[a-zA-Z?] [0-7]+ \d+ \d+ \d+ -?\d+\.\d+ \d+ (-|[0-7]+;\d+,\d+;\d+:\d+) (-|[0-9a-f]{32})")
_NOTE = re.compile(rb"[0-7]{1,7} \d{1,10},\d{1,10} \d{1,10}:\d{1,10}")
NOTHING = b"-"


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


def parse_record(record: bytes) -> Entry:
    """The entry a list's record (without its NUL) holds. Raises ArchiveError(corrupt)."""
    head, slash, path = record.partition(b"/")
    if not slash or not path or not _HEAD.fullmatch(head):
        raise ArchiveError("The snapshot's list of files has a record that is none.", code=ErrorCode.CORRUPT)
    kind, mode, uid, gid, size, mtime, inode, noted, digest = head.split(b" ")
    return Entry(kind, mode, uid, gid, int(size), mtime, inode, noted, digest, path)


def split_records(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Each record without its NUL; what follows the last NUL is left out. Raises ArchiveError for one that is no path's."""
    rest = b""
    for chunk in chunks:
        records = (rest + chunk).split(b"\0")
        rest = records.pop()
        if len(rest) > LONGEST_RECORD:
            raise ArchiveError("The snapshot's list of files has a record that is none.", code=ErrorCode.CORRUPT)
        yield from records


def read_records(path: str, *, reporter: Reporter | None = None) -> Iterator[bytes]:
    """Each record of a list or a log, unread. A missing file has none. Raises StoreError."""
    return split_records(_read_chunks(path, reporter))


@contextmanager
def sorted_tree(tree: str, reporter: Reporter, *, scratch: str) -> Iterator[Iterator[bytes]]:
    """Every entry of a tree by its path's bytes: ``<links> <type> <mode> <uid> <gid> <size> <mtime> <inode> /<path>``.

    ``links`` is how many names the file has; the rest is as in a list. ``scratch`` is a directory for what does not fit in
    memory. Raises StoreError, TaskStopped.
    """
    find = ["find", tree, "-mindepth", "1", "-printf", FIND_FORMAT]
    try:
        with (
            stream(find, env=clean_environment(), reporter=reporter) as found,
            _sorted(found, reporter, scratch) as records,
        ):
            yield records
    except ProcessFailed as error:
        raise _tree_failed(tree, error) from error


@contextmanager
def sorted_log(path: str, reporter: Reporter, *, scratch: str) -> Iterator[Iterator[bytes]]:
    """The whole records of a log of digests by path; those of one path in their order of arrival. Raises StoreError."""
    if not os.path.exists(path):
        yield iter(())
        return
    with _sorted(_whole_records(_read_chunks(path, None)), reporter, scratch) as records:
        yield records
        for _ in records:  # What the tree no longer has; whoever leaves a program before its end loses its exit code.
            pass


def noted_of(path: bytes) -> bytes:
    """What is noted of a file's true type, mode and owner, as a list has it. Raises StoreError."""
    try:
        note = os.getxattr(path, XATTR, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return NOTHING
        raise disk_error(error, f"read the attributes of {os.fsdecode(path)!r}") from error
    return note.replace(b" ", b";") if _NOTE.fullmatch(note) else b"?"


def _whole_records(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        end = chunk.rfind(b"\0") + 1
        if end:
            yield rest + chunk[:end]
            rest = b""
        rest += chunk[end:]


@contextmanager
def _sorted(records: Iterable[bytes], reporter: Reporter, scratch: str) -> Iterator[Iterator[bytes]]:
    argv = ["sort", *_BY_PATH, "-T", scratch]
    try:
        with stream(argv, env=clean_environment(), reporter=reporter, stdin=records) as chunks:
            yield split_records(chunks)
    except ProcessFailed as error:
        if error.program != "sort":
            raise
        raise _tree_failed(scratch, error) from error


def _tree_failed(tree: str, error: ProcessFailed) -> StoreError:
    full = "No space left" in error.stderr_tail
    return StoreError(
        f"Could not list the files in {tree}: {error.message}",
        hint=error.stderr_tail[-500:],
        code=ErrorCode.DISK_FULL if full else ErrorCode.STORE_ERROR,
    )


def _read_chunks(path: str, reporter: Reporter | None) -> Iterator[bytes]:
    try:
        with open(path, "rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                if reporter is not None:
                    reporter.check()
                yield chunk
    except FileNotFoundError:
        return
    except OSError as error:
        raise disk_error(error, f"read {path}") from error
