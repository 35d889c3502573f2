"""Two doors without pages: the worker, which does what the queue says, and the scheduler, which fills it from the calendar."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import configure_mappers

from webapp.assembly import bare_app
from webapp.core.errors import HoldfastError
from webapp.engine.memory import keep_memory_small
from webapp.queue.connection import connect
from webapp.queue.layout import ALL_QUEUES
from webapp.queue.schedule import TaskScheduler, keep_moving
from webapp.queue.workers import TaskWorker
from webapp.services import drill_policies, health, schedule, self_backups, snapshot_reads, sweeper
from webapp.services.store import set_up_store
from webapp.settings import Settings
from webapp.store.db import db, forget_connections_after_fork, release
from webapp.store.migrate import attach_migrations, check_migrated

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 15
BEAT_SECONDS = 10


def run_worker(settings: Settings, queues: Sequence[str] = ALL_QUEUES, *, burst: bool = False) -> None:
    """Do tasks until SIGTERM or SIGINT. A running task is told to stop; both end within seconds.

    Raises:
        DatabaseNotReady: the database is not migrated.
        QueueDown: Redis cannot be reached at the start.
    """
    keep_memory_small()
    app = _prepare(settings)
    process = _process("worker", {"queues": [str(name) for name in queues]})
    worker = TaskWorker(
        [str(name) for name in queues], connection=connect(settings.redis_url, patient=True), name=process.name
    )
    pulse = _Pulse(app, process)
    worker.around_fork = pulse.held
    worker.in_horse = forget_connections_after_fork
    configure_mappers()
    gc.collect()
    gc.freeze()  # what is loaded now is shared with every child
    with app.app_context(), pulse:
        logger.info("worker %s listens to %s", process.name, ", ".join(worker.queue_names()))
        worker.start(burst=burst)
    logger.info("worker %s ended", process.name)


def run_scheduler(settings: Settings) -> None:
    """Reconcile and sweep until SIGTERM or SIGINT, whether Redis answers or not.

    Raises:
        DatabaseNotReady: the database is not migrated.
    """
    app = _prepare(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    scheduler = TaskScheduler(connect(settings.redis_url))
    with app.app_context(), _Pulse(app, _process("scheduler", {})):
        logger.info("scheduler compares calendar and queue every %s s", settings.reconcile_seconds)
        keep_moving(scheduler, _Tick(), stop, tick_seconds=settings.reconcile_seconds)
    logger.info("scheduler ended")


class _Tick:
    """Brings the calendar and the queue together; now and then clears up after dead workers."""

    def __init__(self) -> None:
        self._swept_at: datetime | None = None

    def __call__(self) -> None:
        now = datetime.now(UTC)
        self._safely(lambda: sweeper.settle_dead(now), "settling tasks of dead workers")
        self._safely(lambda: schedule.reconcile(now), "reconciling")
        self._safely(lambda: self_backups.request_due(now), "asking for a self-backup")
        if self._swept_at is None or not 0 <= (now - self._swept_at).total_seconds() < SWEEP_SECONDS:
            self._safely(lambda: sweeper.sweep(now), "sweeping")
            self._safely(lambda: drill_policies.request_due_drills(now), "asking for restore drills")
            self._safely(lambda: snapshot_reads.request_due_reads(now), "asking for snapshots to be read again")
            self._swept_at = now

    def _safely(self, action: Callable[[], object], name: str) -> None:
        try:
            action()
        except (SQLAlchemyError, OSError, HoldfastError, LookupError, ValueError):
            # A scheduler that ends of one bad row or one full disk would end again at every start.
            db.session.rollback()
            logger.exception("%s failed; it is tried again in a moment", name)
        finally:
            release()


@dataclass(frozen=True, slots=True)
class _Process:
    """This process, by a name that no other has."""

    name: str
    kind: str
    started_at: datetime
    details: dict[str, object]


class _Pulse:
    """Beats from a thread while the block runs, and signs off at its end.

    The thread keeps no database connection between two beats, and ``held()`` waits for a beat to end: SQLite forbids
    carrying a connection across a fork, and a child must not inherit a lock that the thread holds.
    """

    def __init__(self, app: Flask, process: _Process) -> None:
        self._app = app
        self._process = process
        self._busy = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="beats", daemon=True)

    def __enter__(self) -> None:
        self._beat()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(timeout=5)
        self._with_database(lambda: health.end_beat(self._process.name))

    @contextmanager
    def held(self) -> Iterator[None]:
        """No beat happens meanwhile."""
        with self._busy:
            yield

    def _beat_on(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            self._beat()

    def _beat(self) -> None:
        one = self._process
        now = datetime.now(UTC)
        self._with_database(
            lambda: health.record_beat(one.kind, one.name, started_at=one.started_at, now=now, details=one.details)
        )

    def _with_database(self, action: Callable[[], None]) -> None:
        with self._busy, self._app.app_context():
            try:
                action()
            except SQLAlchemyError as error:
                logger.warning("the beat could not be written (%s)", type(error).__name__)
            finally:
                release()
                db.engine.dispose()


def _prepare(settings: Settings) -> Flask:
    app = bare_app(settings)
    attach_migrations(app)
    with app.app_context():
        check_migrated()
        set_up_store()
        release()
        db.engine.dispose()
    return app


def name_prefix(kind: str) -> str:
    """How the names of this machine's processes of a kind begin."""
    host = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in socket.gethostname())
    return f"{host[:60]}-{kind}-"


def _process(kind: str, details: dict[str, object]) -> _Process:
    return _Process(f"{name_prefix(kind)}{os.getpid()}", kind, datetime.now(UTC), {"pid": os.getpid(), **details})
