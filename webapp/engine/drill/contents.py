"""Reading an archive once for a drill: its digest, its members, its attachments, and the dump that is handed to the loader."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from webapp.core.errors import ArchiveError
from webapp.core.restore_plans import DrillPlan
from webapp.core.status import ArchiveFormat
from webapp.engine.archive.attachments import PREFIX, AttachmentLedger
from webapp.engine.archive.channel import Channel, ChannelClosed
from webapp.engine.archive.digest import file_digest
from webapp.engine.archive.zip_check import MemberTotals, check_members
from webapp.engine.archive.zip_reader import Member, ZipArchive, open_zip
from webapp.engine.disk import disk_error
from webapp.engine.evidence import DUMP_NAME, Evidence
from webapp.engine.process import ProcessFailed, clean_environment, stream
from webapp.engine.report import Reporter

WAITING_CHUNKS = 8
FEED_BYTES = 1024 * 1024


class Contents:
    """An archive being read from beginning to end, the dump as fast as the loader takes it. A context manager.

    Every byte is read twice at most: once for the digest of the whole, once unpacked.
    """

    def __init__(self, plan: DrillPlan, reporter: Reporter) -> None:
        self.ledger = AttachmentLedger()
        self._plan = plan
        self._reporter = reporter
        self._channel: Channel[bytes] = Channel(WAITING_CHUNKS)
        self._left = False
        self._fault: BaseException | None = None
        self._stack = ExitStack()
        self._archive: ZipArchive | None = None
        self._members: Future[MemberTotals] | None = None

    def __enter__(self) -> Self:
        try:
            descriptor = os.open(self._plan.archive_path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise disk_error(error, "open the archive") from error
        self._descriptor = descriptor
        self._stack.callback(os.close, descriptor)
        if self._plan.archive_format is ArchiveFormat.ZIP:
            try:
                self._archive = self._stack.enter_context(open_zip(self._plan.archive_path))
            except ArchiveError as error:
                self._fault = error
                self._channel.finish()
        pool = self._stack.enter_context(ThreadPoolExecutor(2, thread_name_prefix="contents"))
        self._stack.callback(self._leave)
        self._digest = pool.submit(file_digest, descriptor, self._reporter)
        if self._archive is not None:
            self._members = pool.submit(self._unpack, self._archive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def dump(self) -> Iterator[bytes]:
        """The plain dump in pieces. Raises ArchiveError where the archive is damaged, before its end is believed."""
        if self._plan.archive_format is ArchiveFormat.CUSTOM:
            raise AssertionError("a custom dump is unpacked by pg_restore")
        yield from self._channel
        if self._fault is not None:
            raise self._fault

    def packed_dump(self, argv: list[str]) -> Iterator[bytes]:
        """The plain dump as pg_restore, which reads its standard input, unpacks it. Raises ArchiveError."""
        try:
            with stream(argv, env=clean_environment(), reporter=self._reporter, stdin=self._file()) as chunks:
                yield from chunks
        except ProcessFailed as error:
            said = error.stderr_tail.splitlines()[-1:] or [error.message]
            raise ArchiveError(f"pg_restore could not read the archive to its end: {said[0]}") from error

    def give_up_dump(self) -> None:
        """The loader takes no more of it; everything is still read to its end."""
        self._channel.close()

    def evidence(self) -> Evidence:
        """What was read, once all is read."""
        found = Evidence(damage=self._fault if isinstance(self._fault, ArchiveError) else None)
        try:
            if self._members is not None:
                totals = self._members.result()
                found.members, found.plain_bytes = totals.members, totals.plain_bytes
        except ArchiveError as error:
            found.damage = error
        found.size_bytes, found.sha256 = self._digest.result()
        if self._archive is not None and found.damage is None:
            found.attachments = self.ledger.compare(self._archive.name_keys)
        return found

    def _leave(self) -> None:
        self._left = True
        self._channel.close()

    def _file(self) -> Iterator[bytes]:
        place = 0
        while block := os.pread(self._descriptor, FEED_BYTES, place):
            place += len(block)
            yield block

    def _unpack(self, archive: ZipArchive) -> MemberTotals:
        try:
            return check_members(archive, self._visit, threads=self._plan.jobs, reporter=self._reporter)
        except BaseException as error:
            self._fault = self._fault or error
            raise
        finally:
            self._channel.finish()

    def _visit(self, member: Member, chunks: Iterator[bytes]) -> None:
        if self._left:
            raise ChannelClosed
        if member.name == DUMP_NAME:
            self._hand_over(chunks)
        elif self._plan.manifest.has_filestore and member.raw_name.startswith(PREFIX):
            self.ledger.take_file(member.raw_name, chunks)

    def _hand_over(self, chunks: Iterator[bytes]) -> None:
        try:
            for chunk in chunks:
                self._channel.put(chunk)
        except ChannelClosed:
            return
        except BaseException as error:
            self._fault = error
            raise
        finally:
            self._channel.finish()
