"""Unpack every member of an archive in parallel, to nowhere or to a visitor, and compare sizes and CRCs."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from webapp.engine.archive.zip_reader import Member, ZipArchive
from webapp.engine.report import Reporter

Visit = Callable[[Member, Iterator[bytes]], None]
"""Called on a thread of the pool for every member with its content; it may take all of it, some or none."""

BATCH_MEMBERS = 64
BATCH_BYTES = 1024 * 1024
BATCHES_PER_THREAD = 4


@dataclass(frozen=True, slots=True)
class MemberTotals:
    """What was unpacked."""

    members: int
    plain_bytes: int


def ignore_member(member: Member, chunks: Iterator[bytes]) -> None:
    """The visitor that looks at nothing."""


def check_members(
    archive: ZipArchive,
    visit: Visit = ignore_member,
    *,
    threads: int = 2,
    reporter: Reporter,
    wanted: Callable[[Member], bool] | None = None,
) -> MemberTotals:
    """Unpack everything once. Raises ArchiveError for the first member found damaged, and what ``visit`` raises.

    Whatever a visitor leaves of a member is unpacked all the same, so that no CRC goes unchecked. With ``wanted`` only the
    members for which it is true are looked at.
    """
    chosen = archive.members() if wanted is None else filter(wanted, archive.members())
    total = archive.plain_bytes if wanted is None else sum(m.size for m in archive.members() if wanted(m))
    work = _Work(archive, visit, reporter, total)
    under_way: deque[Future[None]] = deque()
    with ThreadPoolExecutor(max(1, threads), thread_name_prefix="unzip") as pool:
        try:
            for batch in _batches(chosen):
                under_way.append(pool.submit(work.unpack, batch))
                while len(under_way) > BATCHES_PER_THREAD * threads or (under_way and under_way[0].done()):
                    under_way.popleft().result()
            while under_way:
                under_way.popleft().result()
        except BaseException:
            work.stopped = True
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return MemberTotals(work.members, work.plain_bytes)


def _batches(members: Iterable[Member]) -> Iterator[list[Member]]:
    batch: list[Member] = []
    held = 0
    for member in members:
        batch.append(member)
        held += member.packed
        if held >= BATCH_BYTES or len(batch) >= BATCH_MEMBERS:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


@dataclass(slots=True)
class _Work:
    archive: ZipArchive
    visit: Visit
    reporter: Reporter
    total: int
    stopped: bool = False
    members: int = 0
    plain_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def unpack(self, batch: list[Member]) -> None:
        for member in batch:
            if self.stopped:
                return
            chunks = self._watched(member)
            self.visit(member, chunks)
            for _ in chunks:
                pass
        with self._lock:
            self.members += len(batch)

    def _watched(self, member: Member) -> Iterator[bytes]:
        for piece in self.archive.stream(member):
            self.reporter.check()
            if self.stopped:
                return
            yield piece
            with self._lock:
                self.plain_bytes += len(piece)
                done = self.plain_bytes
            self.reporter.progress(done, self.total)
