"""Kills inside one process: an exception that nothing of ours catches, at the n-th statement, commit, rename or unlink.

Right after a commit is the same moment as right before the next of these: nothing that lasts happens in between.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

DEADLY = frozenset({"os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"})


class Killed(BaseException):
    """The process is gone, as far as the code knows."""


class Killer:
    """Counts down on one thread while it is armed."""

    def __init__(self) -> None:
        self._left: int | None = None
        self._thread = 0
        self._engines: list[Engine] = []
        self._connections: list[sqlite3.Connection] = []
        self._hooked = False

    def attach(self, engine: Engine) -> None:
        """Watch an engine, and the interpreter's file operations; once each."""
        if engine not in self._engines:
            self._engines.append(engine)
            event.listen(engine, "before_cursor_execute", self._count)
            event.listen(engine, "commit", self._count)
            event.listen(engine, "connect", lambda raw, _record: self._connections.append(raw))
            engine.dispose()
        if not self._hooked:
            self._hooked = True
            sys.addaudithook(self._on_audit)  # cannot be removed; it only looks while armed

    def arm(self, after: int | None) -> None:
        """Strike at the ``after``-th deadly moment of this thread; None never."""
        self._left, self._thread = after, threading.get_ident()

    def disarm(self) -> None:
        """Let everybody live."""
        self._left = None

    def bury(self) -> None:
        """What the system does with a dead process: its connections are closed, and what they had begun is rolled back."""
        for raw in self._connections:
            raw.close()
        self._connections.clear()
        for engine in self._engines:
            engine.dispose(close=False)

    def _on_audit(self, name: str, _arguments: tuple[Any, ...]) -> None:
        if self._left is not None and name in DEADLY:
            self._count()

    def _count(self, *_arguments: Any) -> None:
        if self._left is None or threading.get_ident() != self._thread:
            return
        self._left -= 1
        if self._left <= 0:
            self._left = None
            raise Killed


KILLER = Killer()
