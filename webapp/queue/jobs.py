"""What an entry in RQ is for us: a task type and the id of a task, as JSON; nothing else can be run.

Whoever can write to Redis could otherwise run code: RQ imports whatever function, callback or pickle an entry names.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from redis import Redis
from rq.job import Job, JobStatus
from rq.serializers import DefaultSerializer, JSONSerializer

from webapp.core.status import TaskType

TASK_FUNCTIONS: Mapping[str, str] = {
    TaskType.BACKUP: "webapp.tasks.runs.execute_run",
    TaskType.FAN_OUT: "webapp.tasks.jobs.fan_out",
    TaskType.CONNECTION_TEST: "webapp.tasks.instances.test_connection",
    TaskType.VERIFICATION: "webapp.tasks.archives.verify_archive",
    TaskType.RETENTION: "webapp.tasks.retention.apply_retention",
    TaskType.RESTORE_CHECK: "webapp.tasks.restores.check_restore",
    TaskType.RESTORE: "webapp.tasks.restores.restore",
    TaskType.KEPT_REMOVAL: "webapp.tasks.restores.remove_kept",
    TaskType.DRILL: "webapp.tasks.drills.drill",
    TaskType.SELF_BACKUP: "webapp.tasks.self_backups.back_up_self",
    TaskType.SNAPSHOT_DISCOVERY: "webapp.tasks.snapshots.discover",
    TaskType.SNAPSHOT_REMOVAL: "webapp.tasks.snapshots.remove",
    TaskType.SNAPSHOT_COMPARISON: "webapp.tasks.snapshots.compare",
    TaskType.SNAPSHOT_RESTORE: "webapp.tasks.snapshots.restore",
}

NO_TIME_LIMIT = -1  # a task's time limit is kept by our own watchdog, which also ends its child processes
RESULT_SECONDS = 300
FAILURE_SECONDS = 24 * 3600
LARGEST_DATA_BYTES = 4096
DESCRIPTION_CHARACTERS = 200


class RefusedEntry(ValueError):
    """An entry that we did not write."""


class RqJob(Job):
    """An entry in a queue. Reading one never imports or unpickles anything; ``func`` knows listed functions only."""

    functions: ClassVar[Mapping[str, str]] = TASK_FUNCTIONS

    def __init__(self, id: str | None = None, connection: Redis | None = None, serializer: object = None) -> None:
        super().__init__(id, connection=connection, serializer=JSONSerializer)

    def restore(self, raw_data: Mapping[bytes, bytes]) -> Any:
        """As RQ does, but a payload too large to be ours is refused before it is unpacked."""
        if len(raw_data.get(b"data", b"")) > LARGEST_DATA_BYTES:
            raise RefusedEntry("an entry in the queue is too large")
        return super().restore(raw_data)

    @property
    def func(self) -> Callable[[int], None]:
        """The listed function of the task type. Raises RefusedEntry for anything else."""
        path = self.functions.get(str(self.func_name))
        if path is None or self.instance is not None or self.kwargs or not _is_one_id(self.args):
            raise RefusedEntry("an entry in the queue names no task of ours")
        return resolve(path)

    @property
    def success_callback(self) -> None:
        """None: callbacks are never imported."""

    @property
    def failure_callback(self) -> None:
        """None: callbacks are never imported."""

    @property
    def stopped_callback(self) -> None:
        """None: callbacks are never imported."""

    def send_webhooks(self, status: str | JobStatus, *, exc_string: str | None = None) -> None:
        """Nothing: an entry may not make us call addresses."""


def new_job(
    connection: Redis, *, queue: str, task_type: str, task_id: int, queue_task_id: str, description: str
) -> RqJob:
    """An entry, not stored yet. Raises ValueError for an unknown task type or an id that RQ does not allow."""
    job = RqJob.create(
        TaskType(task_type).value,
        args=[task_id],
        connection=connection,
        id=queue_task_id,
        origin=queue,
        description=description[:DESCRIPTION_CHARACTERS],
        timeout=NO_TIME_LIMIT,
        result_ttl=RESULT_SECONDS,
        failure_ttl=FAILURE_SECONDS,
        status=JobStatus.QUEUED,
    )
    assert isinstance(job, RqJob)
    return job


def resolve(path: str) -> Callable[[int], None]:
    """The function at a dotted path. Raises ImportError or AttributeError."""
    module, name = path.rsplit(".", 1)
    function: Callable[[int], None] = getattr(importlib.import_module(module), name)
    return function


def forbid_pickle() -> None:
    """From now on RQ's default serializer reads and writes JSON in this process.

    RQ falls back to its default in places that no subclass reaches (an execution fetching its job, for one).
    """
    DefaultSerializer.dumps = JSONSerializer.dumps
    DefaultSerializer.loads = JSONSerializer.loads


def _is_one_id(args: object) -> bool:
    return isinstance(args, list | tuple) and len(args) == 1 and type(args[0]) is int and args[0] > 0
