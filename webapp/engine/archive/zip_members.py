"""What the writer's threads do with one member: read, digest, deflate or store it. Nothing here touches the sink."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from webapp.engine.archive.channel import Channel
from webapp.engine.archive.compression import SAMPLE_BYTES, Deflater, Storer, crc32, pack, shrinks
from webapp.engine.archive.zip_format import DEFLATED, DosTime, Entry, local_header

# A file up to this size is packed as one piece in memory; a larger one flows through in blocks.
WHOLE_BYTES = 2 * 1024 * 1024
BLOCK_BYTES = 256 * 1024
# Packed blocks of one large file that may wait for their turn to be written.
WAITING_BLOCKS = 16


class MemberState(StrEnum):
    """What became of a member that was asked for."""

    WRITTEN = "written"
    MISSING = "missing"
    MISMATCH = "mismatch"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class MemberResult:
    """How one member fared.

    Attributes:
        size: Bytes read.
        packed: Bytes they take in the archive.
        sha1: Of the content, hex; None for a stream and where nothing was read.
        state: ``missing`` and ``unreadable`` members are not in the archive; a ``mismatch`` is, as the source has it.
        detail: Why, in words, when not written.
    """

    name: str
    size: int = 0
    packed: int = 0
    sha1: str | None = None
    state: MemberState = MemberState.WRITTEN
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One member to be packed: from ``data``, or from the file at ``path``."""

    name: str
    encoded: bytes
    path: str = ""
    data: bytes | None = None
    sha1: str | None = None


@dataclass(frozen=True, slots=True)
class Packed:
    """A member ready to be written: ``body`` is header and data; ``entry`` is None when there is nothing to write."""

    result: MemberResult
    entry: Entry | None = None
    body: bytes = b""


@dataclass(slots=True)
class LargeFile:
    """A file too large for one piece: its blocks come through ``blocks``, its numbers at the end in ``packed``."""

    wanted: Wanted
    blocks: Channel[bytes] = field(default_factory=lambda: Channel(WAITING_BLOCKS))
    packed: Packed | None = None


@dataclass(slots=True)
class StreamPacker:
    """Deflates what comes through ``inbox`` into ``outbox``; sizes and CRC are complete when ``run`` has returned."""

    inbox: Channel[bytes]
    outbox: deque[bytes] = field(default_factory=deque)
    crc: int = 0
    size: int = 0
    packed: int = 0

    def run(self) -> None:
        """Work until the inbox is finished; when this fails the inbox is closed, so that nobody waits for us."""
        try:
            deflater = Deflater()
            for block in self.inbox:
                self.crc = crc32(block, self.crc)
                self.size += len(block)
                self._give(deflater.feed(block))
            self._give(deflater.finish())
        finally:
            self.inbox.close()

    def _give(self, data: bytes) -> None:
        self.packed += len(data)
        if data:
            self.outbox.append(data)


def pack_batch(batch: list[Wanted], stamp: DosTime, stopped: Callable[[], bool]) -> list[Packed | LargeFile]:
    """Pack small members. A file that proves to be large is handed back unread, to be streamed."""
    done: list[Packed | LargeFile] = []
    for wanted in batch:
        if stopped():
            break
        done.append(_pack_one(wanted, stamp))
    return done


def stream_large(large: LargeFile) -> None:
    """Pack a large file block by block into its channel; always finishes the channel and sets ``packed``."""
    wanted = large.wanted
    sent = False

    def send(data: bytes) -> None:
        nonlocal sent
        sent = True
        large.blocks.put(data)

    try:
        with _opened(wanted.path) as descriptor:
            large.packed = _stream_descriptor(wanted, descriptor, send)
    except OSError as error:
        if sent:
            raise
        large.packed = Packed(_unread(wanted, error))
    finally:
        large.blocks.finish()


def _pack_one(wanted: Wanted, stamp: DosTime) -> Packed | LargeFile:
    data = wanted.data
    if data is None:
        try:
            data = _read_whole(wanted.path)
        except OSError as error:
            return Packed(_unread(wanted, error))
        if data is None:
            return LargeFile(wanted)
    digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    method, body = pack(data)
    entry = Entry(wanted.encoded, method, crc32(data), len(body), len(data), streamed=False)
    return Packed(_judged(wanted, entry, digest), entry, local_header(entry, stamp) + body)


def _stream_descriptor(wanted: Wanted, descriptor: int, send: Callable[[bytes], None]) -> Packed:
    packer = Deflater() if shrinks(_samples(descriptor)) else Storer()
    digest = hashlib.sha1(usedforsecurity=False)
    crc = size = packed = 0
    detail = ""
    while True:
        try:
            block = os.read(descriptor, BLOCK_BYTES)
        except OSError as error:
            # Its header is written already. What could be read is kept, and said to be wrong.
            detail = f"only {size} bytes could be read: {error.strerror}"
            break
        if not block:
            break
        digest.update(block)
        crc = crc32(block, crc)
        size += len(block)
        out = packer.feed(block)
        packed += len(out)
        send(out)
    out = packer.finish()
    packed += len(out)
    send(out)
    entry = Entry(wanted.encoded, DEFLATED, crc, packed, size, streamed=True)
    return Packed(_judged(wanted, entry, digest.hexdigest(), detail=detail), entry)


def _judged(wanted: Wanted, entry: Entry, sha1: str, *, detail: str = "") -> MemberResult:
    if not detail and wanted.sha1 is not None and sha1 != wanted.sha1:
        detail = f"its content has SHA-1 {sha1} instead of {wanted.sha1}"
    state = MemberState.MISMATCH if detail else MemberState.WRITTEN
    return MemberResult(wanted.name, entry.size, entry.packed, sha1, state, detail)


def _unread(wanted: Wanted, error: OSError) -> MemberResult:
    state = MemberState.MISSING if error.errno in (errno.ENOENT, errno.ENOTDIR) else MemberState.UNREADABLE
    return MemberResult(wanted.name, state=state, detail=error.strerror or str(error))


@contextmanager
def _opened(path: str) -> Iterator[int]:
    """A descriptor of a regular file. Links and devices are refused: what they lead to is not part of the source."""
    # O_NONBLOCK: opening a FIFO must not wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def _read_whole(path: str) -> bytes | None:
    """The file's content, or None when it is larger than one piece."""
    with _opened(path) as descriptor:
        # One byte more than it has, so that one read tells whether it grew; never room that is not needed.
        data = os.read(descriptor, min(os.fstat(descriptor).st_size, WHOLE_BYTES) + 1)
        if len(data) > WHOLE_BYTES:
            return None
        # One read gives all of a regular file unless a signal or a network file system cuts it short.
        while more := os.read(descriptor, BLOCK_BYTES) if data else b"":
            data += more
            if len(data) > WHOLE_BYTES:
                return None
        return data


def _samples(descriptor: int) -> Iterator[bytes]:
    size = os.fstat(descriptor).st_size
    for place in (0, size // 3, size * 2 // 3):
        yield os.pread(descriptor, SAMPLE_BYTES, place)
