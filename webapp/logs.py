"""One log line shape for all processes: time, level, room, message; the task's id bound while one is worked on."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from webapp.core.redact import redact
from webapp.core.text import strip_controls

_task: ContextVar[str] = ContextVar("task", default="")


class _Shape(logging.Formatter):
    """UTC, one line each, controls and known secret shapes removed."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s%(task)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        """The finished line."""
        bound = _task.get()
        record.task = f" [{bound}]" if bound else ""
        return redact(strip_controls(super().format(record)), ())


def set_up(level: str) -> None:
    """Send all logging to standard error in our shape."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Shape())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in ("alembic.runtime.migration", "rq.worker"):
        logging.getLogger(chatty).setLevel(max(root.level, logging.WARNING))


@contextmanager
def bound_task(name: str) -> Iterator[None]:
    """Log lines inside carry this task's name, e.g. "run-418"."""
    token = _task.set(name)
    try:
        yield
    finally:
        _task.reset(token)
