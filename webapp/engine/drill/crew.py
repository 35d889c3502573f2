"""The crew: several sessions of one database, each with a thread, to which rows and statements are dealt."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import psycopg

from webapp.engine.archive.channel import Channel, ChannelClosed
from webapp.engine.drill.cluster import Connection
from webapp.engine.drill.dump_reader import CopyBlock

WAITING_PIECES = 4
# What lies ready for a server while our threads wait for their turn; the kernel grants what it allows.
SEND_BUFFER_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Work:
    """A statement that may run beside others.

    Attributes:
        table: Only one exclusive work runs on a table at a time, or any number of others.
        weight: The heaviest begin first.
        take: Called with the cursor, on the thread that ran it.
    """

    text: bytes
    table: str
    exclusive: bool
    weight: int = 0
    take: Callable[[psycopg.Cursor[tuple[Any, ...]]], None] | None = None


class WorkFailed(Exception):
    """A statement failed; ``error`` says why."""

    def __init__(self, statement: bytes, error: psycopg.Error) -> None:
        super().__init__(str(error))
        self.statement = statement
        self.error = error


class RowLoader:
    """Takes pieces of COPY blocks for one session and loads them on a thread of its own."""

    def __init__(self, session: Connection) -> None:
        self._session = session
        with socket.fromfd(session.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._channel: Channel[tuple[CopyBlock, bytes]] = Channel(WAITING_PIECES)
        self._taken = self._loaded = 0
        self.rows: dict[str, int] = {}
        self.failure: WorkFailed | None = None
        self._thread = threading.Thread(target=self._run, name="load rows", daemon=True)
        self._thread.start()

    @property
    def waiting_bytes(self) -> int:
        """What was put and is not loaded."""
        return self._taken - self._loaded

    def put(self, block: CopyBlock, data: bytes) -> None:
        """Hand over a piece, waiting for room. Raises WorkFailed."""
        self._taken += len(data)
        try:
            self._channel.put((block, data))
        except ChannelClosed:
            self.finish()

    def finish(self) -> None:
        """Nothing more comes; wait until all is loaded. Raises WorkFailed."""
        self._channel.finish()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def abandon(self) -> None:
        """Give up what is not loaded yet."""
        self._channel.close()
        self._thread.join()

    def _run(self) -> None:
        current: CopyBlock | None = None
        try:
            with ExitStack() as stack:
                cursor = stack.enter_context(self._session.cursor())
                copying = ExitStack()
                stack.push(copying.__exit__)
                copy: psycopg.Copy | None = None
                for block, data in self._channel:
                    if block is not current or copy is None:
                        self._end(copying, cursor, current)
                        current = block
                        copy = copying.enter_context(cursor.copy(block.statement))
                    copy.write(data)
                    self._loaded += len(data)
                self._end(copying, cursor, current)
        except psycopg.Error as error:
            self.failure = WorkFailed(current.statement if current else b"", error)
        except ChannelClosed:
            pass
        finally:
            self._channel.close()

    def _end(self, copying: ExitStack, cursor: psycopg.Cursor[tuple[object, ...]], block: CopyBlock | None) -> None:
        if block is not None:
            copying.close()
            self.rows[block.header.table] = self.rows.get(block.header.table, 0) + max(0, cursor.rowcount)


@dataclass(slots=True)
class _Board:
    """Which works wait, and which tables are being worked on."""

    waiting: list[Work]
    busy: dict[str, int] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    failure: WorkFailed | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self) -> Work | None:
        """The heaviest work that may begin, waiting for one; None when there is none left."""
        with self.changed:
            while self.waiting and self.failure is None:
                for place, work in enumerate(self.waiting):
                    if self._may_begin(work):
                        del self.waiting[place]
                        self.busy[work.table] = self.busy.get(work.table, 0) + 1
                        if work.exclusive:
                            self.closed.add(work.table)
                        return work
                self.changed.wait()
            return None

    def done(self, work: Work, failure: WorkFailed | None) -> None:
        """The work has ended."""
        with self.changed:
            self.busy[work.table] -= 1
            self.closed.discard(work.table)
            self.failure = self.failure or failure
            self.changed.notify_all()

    def work_off(self, session: Connection) -> None:
        """Do works on the session until none is left."""
        while (work := self.take()) is not None:
            failure = None
            try:
                cursor = session.execute(work.text)
                if work.take is not None:
                    work.take(cursor)
            except psycopg.Error as error:
                failure = WorkFailed(work.text, error)
            self.done(work, failure)

    def _may_begin(self, work: Work) -> bool:
        if work.table in self.closed:
            return False
        return not (work.exclusive and self.busy.get(work.table))


def run_works(sessions: Sequence[Connection], works: Sequence[Work], check: Callable[[], None]) -> None:
    """Run all works on the sessions, the heaviest first. Raises WorkFailed for the first that fails, what ``check`` raises."""
    if not works:
        return
    board = _Board(sorted(works, key=lambda work: -work.weight))
    threads = [threading.Thread(target=board.work_off, args=(one,), name="load works", daemon=True) for one in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check()
    if board.failure is not None:
        raise board.failure
