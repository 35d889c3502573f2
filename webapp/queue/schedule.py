"""Entries for later: the only file that says rq_scheduler.

rq-scheduler's own cron and intervals are not used: it evaluates them in the machine's time zone, fires them again and
again in a DST gap and may lose one between two commands. Here it holds single entries until their time; ours are the
lock (with its owner), JSON, one atomic move, and a loop that outlives Redis.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from datetime import datetime

from redis import Redis
from rq.exceptions import NoSuchJobError
from rq.job import Job, JobStatus
from rq_scheduler.scheduler import Scheduler

from webapp.core.errors import QueueDown
from webapp.queue import bell
from webapp.queue.connection import errors_as_queue_down
from webapp.queue.jobs import RqJob

logger = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 1.0
LOCK_SECONDS = 15
BROKEN_ENTRY = (ValueError, TypeError, KeyError, AttributeError)

_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class TaskScheduler(Scheduler):
    """rq-scheduler with our entries."""

    def __init__(self, connection: Redis) -> None:
        name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        super().__init__(  # type: ignore[no-untyped-call]
            connection=connection, interval=LOOK_EVERY_SECONDS, job_class=RqJob, name=name
        )

    def enqueue_task_at(self, job: RqJob, at: datetime) -> None:
        """Keep the entry until ``at`` (aware UTC). An entry that waits or runs already is left as it is."""
        if bell.live(self.connection, [job.id]) and job.id not in self:
            return
        job._status = JobStatus.SCHEDULED
        with self.connection.pipeline() as pipe:
            pipe.delete(job.key)
            job.save(pipeline=pipe)
            pipe.zadd(self.scheduled_jobs_key, {job.id: at.timestamp()})
            pipe.execute()

    def acquire_lock(self) -> bool:
        """Whether this scheduler may move entries now. The lock names its owner and ends by itself."""
        self._lock_acquired = bool(self.connection.set(self.scheduler_lock_key, self.name, ex=LOCK_SECONDS, nx=True))
        return self._lock_acquired

    def remove_lock(self) -> None:
        """Give the lock back, if it is still ours."""
        if self._lock_acquired:
            self.connection.register_script(_RELEASE)(keys=[self.scheduler_lock_key], args=[self.name])
            self._lock_acquired = False

    def enqueue_job(self, job: Job) -> None:
        """Move one entry to its queue, as one step."""
        if not bell.push_once(self.connection, job):
            self.connection.zrem(self.scheduled_jobs_key, job.id)

    def move_due(self) -> int:
        """Move every entry whose time has come; a broken one is dropped. Returns how many moved.

        Raises:
            QueueDown: Redis is away; the next call goes on.
        """
        with errors_as_queue_down():
            if not self.acquire_lock():
                return 0
            try:
                return sum(self._move(entry.decode()) for entry in self._due_ids())
            finally:
                self.remove_lock()

    def _due_ids(self) -> list[bytes]:
        due: list[bytes] = self.connection.zrangebyscore(self.scheduled_jobs_key, 0, time.time())
        return due

    def _move(self, queue_task_id: str) -> int:
        try:
            job = RqJob.fetch(queue_task_id, connection=self.connection)
        except NoSuchJobError:
            reason = "it is empty"
        except BROKEN_ENTRY as error:
            reason = f"it cannot be read ({type(error).__name__})"
        else:
            self.enqueue_job(job)
            return 1
        logger.warning("Dropped the entry %r for later: %s. A pending task is pushed again.", queue_task_id, reason)
        self.connection.zrem(self.scheduled_jobs_key, queue_task_id)
        return 0


def keep_moving(
    scheduler: TaskScheduler, tick: Callable[[], None], stop: threading.Event, *, tick_seconds: float
) -> None:
    """Until ``stop``: move due entries each second; call ``tick`` every ``tick_seconds``, Redis or no Redis."""
    outage = _Outage()
    next_tick = time.monotonic()
    while not stop.is_set():
        if time.monotonic() >= next_tick:
            next_tick = time.monotonic() + tick_seconds
            tick()
        try:
            scheduler.move_due()
            outage.over()
        except QueueDown as error:
            outage.begins(error)
        stop.wait(min(LOOK_EVERY_SECONDS, max(0.05, next_tick - time.monotonic())))


class _Outage:
    """Says once that Redis is away, and once that it is back."""

    def __init__(self) -> None:
        self._since: float | None = None

    def begins(self, error: QueueDown) -> None:
        if self._since is None:
            self._since = time.monotonic()
            logger.warning("%s %s", error.message, error.hint)

    def over(self) -> None:
        if self._since is not None:
            logger.info("Redis answers again after %d s.", time.monotonic() - self._since)
            self._since = None
