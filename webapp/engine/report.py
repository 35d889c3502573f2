"""Reporter: how the engine tells its progress, and how it learns that it must stop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from webapp.core.reports import Check, CheckState
from webapp.core.status import ErrorCode


class Reporter(Protocol):
    """The one small door out of the engine. All methods are cheap; the implementation coalesces writes.

    Any method may raise ``TaskStopped`` (cancelled, out of time, lease lost, shutdown): let it through, after cleaning up.
    Methods may be called from several threads.
    """

    def step(self, key: str, title: str, detail: str = "") -> None:
        """Begin a step; the step before it ends as completed (or warning, when it warned)."""

    def log(self, message: str, level: str = "info") -> None:
        """One log line. Levels: info, good, warning, error."""

    def warn(self, code: ErrorCode, message: str) -> None:
        """A warning: a log line, the step is marked, and the task ends at best completed_with_warnings."""

    def progress(self, done: int, total: int | None = None, unit: str = "bytes", message: str = "") -> None:
        """How far the step is. ``total`` None: unknown, then no percent is shown."""

    def check(self) -> None:
        """Raise ``TaskStopped`` if the task must end; call it in every loop that moves bytes."""

    def on_stop(self, action: Callable[[], None]) -> AbstractContextManager[None]:
        """While inside, ``action`` is called (from another thread) when the task must end: kill a process, close a socket."""


def tell_check(check: Check, line: str, reporter: Reporter, *, code: ErrorCode) -> None:
    """``line`` about a check, in the log: a warning of the task when the check warns, with ``code`` if it has none."""
    if check.state is CheckState.WARNING:
        reporter.warn(check.code or code, line)
    else:
        reporter.log(line, check.state.log_level)


class SilentReporter:
    """A Reporter that keeps what it is told in lists and never stops: for tests, bench and the shell."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.lines: list[tuple[str, str]] = []
        self.warnings: list[tuple[ErrorCode, str]] = []

    def step(self, key: str, title: str, detail: str = "") -> None:
        """Keep the key."""
        self.steps.append(key)

    def log(self, message: str, level: str = "info") -> None:
        """Keep the line."""
        self.lines.append((level, message))

    def warn(self, code: ErrorCode, message: str) -> None:
        """Keep the warning."""
        self.warnings.append((code, message))
        self.log(message, "warning")

    def progress(self, done: int, total: int | None = None, unit: str = "bytes", message: str = "") -> None:
        """Nothing to keep."""

    def check(self) -> None:
        """Never stops."""

    def on_stop(self, action: Callable[[], None]) -> AbstractContextManager[None]:
        """Never stops, so the action is never called."""
        return nullcontext()
