"""The queue that services see: ``RqTaskQueue``. The only file that says rq.Queue."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from redis import Redis
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from webapp.queue import bell
from webapp.queue.connection import errors_as_queue_down
from webapp.queue.jobs import RqJob, new_job
from webapp.queue.schedule import BROKEN_ENTRY, TaskScheduler

logger = logging.getLogger(__name__)


class RqQueue(Queue):
    """A queue of our entries: JSON always; an entry that cannot be read is dropped instead of ending the worker."""

    job_class = RqJob

    def __init__(self, name: str = "default", **options: Any) -> None:
        options["serializer"] = JSONSerializer
        super().__init__(name, **options)

    @classmethod
    def _fetch_dequeued_job(  # type: ignore[override]  # RQ passes what follows by name
        cls, connection: Redis, queue_key: str, job_id: str, **options: Any
    ) -> tuple[Job, Queue] | None:
        try:
            return super()._fetch_dequeued_job(connection, queue_key, job_id, **options)
        except BROKEN_ENTRY as error:
            logger.warning("Dropped an entry of %s that cannot be read (%s).", queue_key, type(error).__name__)
            return None


class RqTaskQueue:
    """See services.wiring.TaskQueue. Every method raises QueueDown when Redis does not work; nothing is lost then."""

    def __init__(self, connection: Redis) -> None:
        self.connection = connection
        self._scheduler = TaskScheduler(connection)

    def push(self, *, queue: str, task_type: str, task_id: int, queue_task_id: str, description: str) -> None:
        """Ask a worker to do the task now; nothing happens while the same id waits or runs."""
        job = new_job(
            self.connection,
            queue=queue,
            task_type=task_type,
            task_id=task_id,
            queue_task_id=queue_task_id,
            description=description,
        )
        with errors_as_queue_down():
            bell.push_once(self.connection, job)

    def push_later(
        self, *, queue: str, task_type: str, task_id: int, queue_task_id: str, description: str, at: datetime
    ) -> None:
        """As ``push``, at a time (aware UTC), through rq-scheduler. Asking again moves the time."""
        job = new_job(
            self.connection,
            queue=queue,
            task_type=task_type,
            task_id=task_id,
            queue_task_id=queue_task_id,
            description=description,
        )
        with errors_as_queue_down():
            self._scheduler.enqueue_task_at(job, at)

    def known(self, queue_task_ids: list[str]) -> set[str]:
        """Those of the ids that wait, wait for later, or run now."""
        with errors_as_queue_down():
            return bell.live(self.connection, queue_task_ids)

    def drop(self, queue_task_id: str) -> None:
        """Forget a waiting entry; nothing happens when there is none, or when it runs."""
        with errors_as_queue_down():
            bell.drop(self.connection, queue_task_id)
