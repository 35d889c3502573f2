"""ZipWriter: members packed in parallel, written in order, in bounded memory, front to back (never seeks).

The caller's thread is the writer's thread: it hands members to a pool and writes what is ready whenever enough is
under way. What is in flight is bounded by ``IN_FLIGHT_BYTES``, whatever the number and size of the members.
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import IO, Self

from webapp.core.errors import ArchiveError
from webapp.core.status import ErrorCode
from webapp.engine.archive.channel import Channel, ChannelClosed
from webapp.engine.archive.compression import rechunk
from webapp.engine.archive.zip_format import (
    DEFLATED,
    Entry,
    central_header,
    descriptor_64,
    dos_time,
    end_records,
    local_header,
    name_fault,
)
from webapp.engine.archive.zip_members import (
    BLOCK_BYTES,
    WAITING_BLOCKS,
    WHOLE_BYTES,
    LargeFile,
    MemberResult,
    MemberState,
    Packed,
    StreamPacker,
    Wanted,
    pack_batch,
    stream_large,
)
from webapp.engine.report import Reporter
from webapp.engine.sources.base import Sink

__all__ = ["MemberResult", "MemberState", "ZipSummary", "ZipWriter"]

# Files are handed to a thread in batches, because a hand-over costs as much as packing a small file.
BATCH_MEMBERS = 32
BATCH_BYTES = 384 * 1024  # joined when it is written, which costs more where the C library maps it (engine/memory.py)
BATCHES_PER_THREAD = 4
IN_FLIGHT_BYTES = 32 * 1024 * 1024
# How many blocks of a stream may wait for the thread that deflates them.
STREAM_BLOCKS = 8
_DIRECTORY_BUFFER_BYTES = 256 * 1024
_COPY_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ZipSummary:
    """A closed archive in numbers: members, their bytes before and after packing."""

    members: int
    plain_bytes: int
    packed_bytes: int


@dataclass(slots=True)
class _Batch:
    future: Future[list[Packed | LargeFile]]
    held_bytes: int


@dataclass(slots=True)
class _Large:
    file: LargeFile
    future: Future[None]
    held_bytes: int = WAITING_BLOCKS * BLOCK_BYTES


def _ignore(result: MemberResult) -> None:
    """The default for ``on_result``."""


class ZipWriter:
    """Writes one zip archive to a sink. Use it as a context manager: without an error it closes, with one it aborts.

    Members come out in the order they were asked for; the same members and ``modified_at`` give the same bytes.

    Args:
        on_result: Called once for every queued member, on the caller's thread, in order.
        spool_directory: Where the central directory waits in an unlinked file; None: the system's place for such.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        threads: int = 2,
        modified_at: datetime,
        reporter: Reporter,
        on_result: Callable[[MemberResult], None] | None = None,
        spool_directory: str | None = None,
    ) -> None:
        self._sink = sink
        self._stamp = dos_time(modified_at)
        self._reporter = reporter
        self._on_result = on_result or _ignore
        self._directory = _Directory(spool_directory)
        self._threads = max(1, threads)
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="zip")
        self._gathering: list[Wanted] = []
        self._gathered_bytes = 0
        self._under_way: deque[_Batch | _Large] = deque()
        self._held_bytes = 0
        self._offset = 0
        self._stopped = False
        self._channel: Channel[bytes] | None = None
        self._members = 0
        self._plain_bytes = 0
        self._packed_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and not self._stopped:
                self.close()
        finally:
            self.abort()

    def add_stream(self, name: str, chunks: Iterable[bytes]) -> MemberResult:
        """Write one member of unknown size now: ``chunks`` are taken on this thread and deflated on another."""
        encoded = _checked_name(name)
        self.drain()
        self._put(local_header(Entry(encoded, DEFLATED, 0, 0, 0, streamed=True), self._stamp))
        packer = StreamPacker(Channel(STREAM_BLOCKS))
        self._channel = packer.inbox
        future = self._pool.submit(packer.run)
        try:
            for block in rechunk(chunks, BLOCK_BYTES):
                packer.inbox.put(block)
                self._put_waiting(packer.outbox)
        except ChannelClosed:
            future.result()  # Raises what went wrong over there.
            raise
        packer.inbox.finish()
        future.result()
        self._put_waiting(packer.outbox)
        entry = Entry(encoded, DEFLATED, packer.crc, packer.packed, packer.size, streamed=True)
        self._close_streamed(entry)
        return MemberResult(name, packer.size, packer.packed)

    def add_bytes(self, name: str, data: bytes, *, sha1: str | None = None) -> None:
        """Queue a member from memory; ``sha1`` (hex) is what its content should have."""
        self._queue(Wanted(name, _checked_name(name), data=data, sha1=sha1), len(data))

    def add_path(self, name: str, path: str, *, sha1: str | None = None) -> None:
        """Queue a member from a file; it is opened, read and digested later, on another thread."""
        wanted = Wanted(name, _checked_name(name), path, sha1=sha1)
        size = _size_hint(path)
        if size <= WHOLE_BYTES:
            self._queue(wanted, size)
            return
        self._submit()
        self._keep(self._stream_large(LargeFile(wanted)))
        self._write_ready()

    def drain(self) -> None:
        """Wait until everything queued is written."""
        self._submit()
        while self._under_way:
            self._write_first()

    def close(self) -> ZipSummary:
        """Write what is queued, the central directory and the end; nothing can be added afterwards."""
        self.drain()
        offset, size = self._offset, 0
        for piece in self._directory.pieces():
            size += len(piece)
            self._put(piece)
        self._put(end_records(self._members, size, offset))
        self.abort()
        return ZipSummary(self._members, self._plain_bytes, self._packed_bytes)

    def abort(self) -> None:
        """Stop the threads and give everything back. Writes nothing; may be called twice and after ``close``."""
        self._stopped = True
        if self._channel is not None:
            self._channel.close()
        for item in self._under_way:
            if isinstance(item, _Large):
                item.file.blocks.close()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._under_way.clear()
        self._directory.close()

    def _queue(self, wanted: Wanted, cost: int) -> None:
        if self._stopped:
            raise ArchiveError("The archive is closed; nothing can be added to it.", code=ErrorCode.INTERNAL)
        self._gathering.append(wanted)
        self._gathered_bytes += cost
        if self._gathered_bytes >= BATCH_BYTES or len(self._gathering) >= BATCH_MEMBERS:
            self._submit()
            self._write_ready()

    def _submit(self) -> None:
        if self._gathering:
            future = self._pool.submit(pack_batch, self._gathering, self._stamp, lambda: self._stopped)
            self._keep(_Batch(future, self._gathered_bytes))
            self._gathering, self._gathered_bytes = [], 0

    def _stream_large(self, file: LargeFile) -> _Large:
        return _Large(file, self._pool.submit(stream_large, file))

    def _keep(self, item: _Batch | _Large) -> None:
        self._under_way.append(item)
        self._held_bytes += item.held_bytes

    def _write_ready(self) -> None:
        """Write what is done, and wait for the first item while too much is under way."""
        while self._under_way:
            crowded = len(self._under_way) > BATCHES_PER_THREAD * self._threads or self._held_bytes > IN_FLIGHT_BYTES
            if not crowded and not self._under_way[0].future.done():
                return
            self._write_first()

    def _write_first(self) -> None:
        item = self._under_way.popleft()
        self._held_bytes -= item.held_bytes
        if isinstance(item, _Large):
            self._write_large(item)
            return
        waiting: list[bytes] = []
        offset = self._offset
        for packed in item.future.result():
            if isinstance(packed, LargeFile):  # It grew after its size was asked for.
                self._put(b"".join(waiting))
                waiting = []
                self._write_large(self._stream_large(packed))
                offset = self._offset
                continue
            if packed.entry is not None:
                self._list(packed.entry, offset)
                waiting.append(packed.body)
                offset += len(packed.body)
            self._on_result(packed.result)
        self._put(b"".join(waiting))

    def _write_large(self, large: _Large) -> None:
        file = large.file
        self._channel = file.blocks
        begun = False
        for block in file.blocks:
            if not begun:
                self._put(local_header(Entry(file.wanted.encoded, DEFLATED, 0, 0, 0, streamed=True), self._stamp))
                begun = True
            self._put(block)
        large.future.result()
        assert file.packed is not None  # stream_large sets it whenever it returns
        if file.packed.entry is not None:
            self._close_streamed(file.packed.entry)
        self._on_result(file.packed.result)

    def _close_streamed(self, entry: Entry) -> None:
        started_at = self._offset - entry.packed - len(local_header(entry, self._stamp))
        self._put(descriptor_64(entry))
        self._list(entry, started_at)

    def _list(self, entry: Entry, offset: int) -> None:
        self._directory.add(central_header(entry, offset, self._stamp))
        self._members += 1
        self._plain_bytes += entry.size
        self._packed_bytes += entry.packed

    def _put_waiting(self, outbox: deque[bytes]) -> None:
        while outbox:
            self._put(outbox.popleft())

    def _put(self, data: bytes) -> None:
        self._reporter.check()
        if data:
            self._sink.write(data)
            self._offset += len(data)


class _Directory:
    """The central directory on its way to the end of the file: on disk, because a million members take 100 MB."""

    def __init__(self, spool_directory: str | None) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(  # noqa: SIM115 - closed by close()
            dir=spool_directory, buffering=_DIRECTORY_BUFFER_BYTES
        )

    def add(self, record: bytes) -> None:
        self._file.write(record)

    def pieces(self) -> Iterable[bytes]:
        self._file.seek(0)
        while piece := self._file.read(_COPY_BYTES):
            yield piece

    def close(self) -> None:
        self._file.close()


def _checked_name(name: str) -> bytes:
    fault = name_fault(name)
    if fault:
        raise ArchiveError(f"{name[:200]!r} cannot be a name in an archive: {fault}.", code=ErrorCode.HOSTILE_ARCHIVE)
    return name.encode("utf-8", "surrogatepass")


def _size_hint(path: str) -> int:
    """The file's size now, 0 when it cannot be told: whoever opens it later finds out why."""
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0
