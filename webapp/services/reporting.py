"""How a running task tells its progress, keeps its lease and learns that it must stop.

The engine calls the methods from its own threads; they only touch memory. One background thread writes what has gathered,
at most once a second, renews the lease, and looks whether a person cancelled or the time limit passed. If the lease cannot be
renewed in time (the row was settled by the sweeper, or the database is away), the task is told to stop: it is nobody's now.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.core.errors import TaskStopped
from webapp.core.redact import redact
from webapp.core.status import ErrorCode, StepStatus
from webapp.core.text import strip_controls
from webapp.store.claims import Holder, update_held
from webapp.store.db import bound_to_app, db, release, writing
from webapp.store.models import Task, TaskLog, TaskStep

logger = logging.getLogger(__name__)

WRITE_SECONDS = 1.0
LONGEST_LINE = 4000
MOST_LINES = 20_000


@dataclass(slots=True)
class _Step:
    position: int
    key: str
    title: str
    detail: str
    started_at: datetime
    first_line: int
    status: StepStatus = StepStatus.RUNNING
    completed_at: datetime | None = None


@dataclass(slots=True)
class _Gathered:
    """What was reported since the last write."""

    lines: list[tuple[int, datetime, str, str]] = field(default_factory=list)
    steps: dict[int, _Step] = field(default_factory=dict)
    progress: dict[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.lines or self.steps or self.progress)


@dataclass(frozen=True, slots=True)
class Limits:
    """Numbers of one execution."""

    lease_seconds: int
    heartbeat_seconds: int
    time_limit_seconds: int


class TaskReporter:
    """The Reporter of a running task; a context manager around its body."""

    def __init__(
        self, holder: Holder, limits: Limits, *, clock: Callable[[], datetime], secrets: tuple[str, ...] = ()
    ) -> None:
        self.holder = holder
        self.warnings: list[dict[str, str]] = []
        self._limits = limits
        self._clock = clock
        self._secrets = list(secrets)
        self._gathered = _Gathered()
        self._in_flight = _Gathered()
        self._lock = threading.RLock()
        self._step: _Step | None = None
        self._stop: TaskStopped | None = None
        self._actions: dict[int, Callable[[], None]] = {}
        self._done = threading.Event()
        self._began = time.monotonic()
        self._renewed = time.monotonic()
        self._lines = self._first_line()
        self._positions = self._first_position()
        self._thread = threading.Thread(target=bound_to_app(self._keep), name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._done.set()
        self._thread.join()
        self._end_step(StepStatus.FAILED if error is not None else None)

    # What the engine calls

    def hide(self, *secrets: str) -> None:
        """Remove these from everything reported from now on."""
        self._secrets.extend(s for s in secrets if s)

    def clean(self, text: str) -> str:
        """The text as it may be stored and shown: without control characters and hidden secrets, of bounded length."""
        return redact(strip_controls(text), self._secrets)[:LONGEST_LINE]

    def step(self, key: str, title: str, detail: str = "") -> None:
        """See engine.report.Reporter."""
        self.check()
        with self._lock:
            self._end_step(None)
            self._positions += 1
            self._step = _Step(self._positions, key, title[:120], detail[:255], self._clock(), self._lines + 1)
            self._gathered.steps[self._positions] = self._step
            self._gathered.progress.update(progress_message=title[:255], progress_percent=None)
            self.log(title, "head")

    def log(self, message: str, level: str = "info") -> None:
        """See engine.report.Reporter."""
        with self._lock:
            if self._lines >= MOST_LINES:
                return
            self._lines += 1
            text = self.clean(message)
            if self._lines == MOST_LINES:
                text, level = "The log is full; later lines are not kept.", "warning"
            self._gathered.lines.append((self._lines, self._clock(), level, text))

    def warn(self, code: ErrorCode, message: str) -> None:
        """See engine.report.Reporter."""
        with self._lock:
            clean = self.clean(message)
            self.warnings.append({"code": code.value, "message": clean})
            if self._step is not None:
                self._step.status = StepStatus.WARNING
                self._gathered.steps[self._step.position] = self._step
            self.log(message, "warning")

    def progress(self, done: int, total: int | None = None, unit: str = "bytes", message: str = "") -> None:
        """See engine.report.Reporter."""
        self.check()
        percent = min(99, done * 100 // total) if total else None
        with self._lock:
            self._gathered.progress["progress_percent"] = percent
            if message:
                self._gathered.progress["progress_message"] = message  # cleaned when written: this is called often

    def check(self) -> None:
        """See engine.report.Reporter."""
        if self._stop is not None:
            raise self._stop

    @contextmanager
    def on_stop(self, action: Callable[[], None]) -> Iterator[None]:
        """See engine.report.Reporter."""
        with self._lock:
            self._actions[id(action)] = action
        if self._stop is not None:
            action()
        try:
            yield
        finally:
            with self._lock:
                self._actions.pop(id(action), None)

    def stop(self, reason: TaskStopped) -> None:
        """Tell the task to end; the first reason counts."""
        with self._lock:
            if self._stop is not None:
                return
            self._stop = reason
            actions = list(self._actions.values())
        for action in actions:
            action()

    @property
    def stopped(self) -> TaskStopped | None:
        """Why the task was told to end, or None."""
        return self._stop

    # The background thread

    def _keep(self) -> None:
        try:
            while not self._done.wait(WRITE_SECONDS):
                self._beat()
                if time.monotonic() - self._began > self._limits.time_limit_seconds:
                    self.stop(time_limit_stop(self._limits.time_limit_seconds))
        finally:
            if not self._done.is_set():  # The thread dies: nobody renews the lease or watches the time any more.
                self.stop(lease_lost_stop())

    def _beat(self) -> None:
        waited = time.monotonic() - self._renewed
        try:
            if self._cancelled():
                self.stop(TaskStopped("Cancelled.", code=ErrorCode.CANCELLED))
            alive = self._write_beat(waited)
        except sa.exc.DBAPIError as error:
            logger.warning("heartbeat of task %s failed: %s", self.holder.task_id, error.orig)
            self._put_back()
            alive = waited < self._limits.lease_seconds
        finally:
            release()
        if not alive:
            self.stop(lease_lost_stop())

    def _write_beat(self, waited: float) -> bool:
        if not self._gathered and waited < self._limits.heartbeat_seconds:
            return True
        with writing() as session:
            alive = self.write_gathered(session)
        if alive:
            self._renewed = time.monotonic()
        return alive

    def _put_back(self) -> None:
        """What could not be written is gathered again, before what came since."""
        with self._lock:
            lost, now = self._in_flight, self._gathered
            now.lines[:0] = lost.lines
            now.steps = {**lost.steps, **now.steps}
            now.progress = {**lost.progress, **now.progress}
            self._in_flight = _Gathered()

    def _cancelled(self) -> bool:
        found = db.session.scalar(sa.select(Task.cancel_requested_at).where(Task.id == self.holder.task_id))
        return found is not None

    def write_gathered(self, session: Session, **values: Any) -> bool:
        """Write all that gathered, with other values of the task, if we still hold it; the lease is renewed."""
        with self._lock:
            gathered, self._gathered = self._gathered, _Gathered()
            self._in_flight = gathered
        lease = self._clock() + timedelta(seconds=self._limits.lease_seconds)
        progress = dict(gathered.progress)
        if "progress_message" in progress:
            progress["progress_message"] = self.clean(progress["progress_message"])[:255]
        if not update_held(session, self.holder, {"lease_until": lease, **progress, **values}):
            return False
        for n, at, level, message in gathered.lines:
            session.add(TaskLog(task_id=self.holder.task_id, n=n, at=at, level=level, message=message))
        for step in gathered.steps.values():
            self._write_step(session, step)
        return True

    def _write_step(self, session: Session, step: _Step) -> None:
        row = session.scalar(
            sa.select(TaskStep).where(TaskStep.task_id == self.holder.task_id, TaskStep.position == step.position)
        )
        if row is None:
            row = TaskStep(task_id=self.holder.task_id, position=step.position, key=step.key, title=step.title)
            session.add(row)
        row.detail, row.status = step.detail, step.status
        row.started_at, row.completed_at, row.first_line = step.started_at, step.completed_at, step.first_line

    def _end_step(self, status: StepStatus | None) -> None:
        if self._step is None:
            return
        if status is not None:
            self._step.status = status
        elif self._step.status is StepStatus.RUNNING:
            self._step.status = StepStatus.COMPLETED
        self._step.completed_at = self._clock()
        self._gathered.steps[self._step.position] = self._step
        self._step = None

    def _first_line(self) -> int:
        found = db.session.scalar(sa.select(sa.func.max(TaskLog.n)).where(TaskLog.task_id == self.holder.task_id))
        return found or 0

    def _first_position(self) -> int:
        query = sa.select(sa.func.max(TaskStep.position)).where(TaskStep.task_id == self.holder.task_id)
        return db.session.scalar(query) or 0


def time_limit_stop(seconds: int) -> TaskStopped:
    """The task ran longer than it may."""
    return TaskStopped(
        f"Stopped after {seconds // 60} minutes, the time limit.",
        hint="Raise the job's time limit, or back up fewer things at once.",
        code=ErrorCode.TIMEOUT,
    )


def lease_lost_stop() -> TaskStopped:
    """Another process settled the task, or the lease could not be renewed."""
    return TaskStopped(
        "The lease on this task was lost, so its result no longer counts.",
        hint="Look whether the database was unreachable or the machine was suspended.",
        code=ErrorCode.LEASE_LOST,
    )
