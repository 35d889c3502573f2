"""The worker process: takes entries, runs each in a forked child (the work-horse), and ends both in seconds when asked.

What differs from RQ's own worker, and why (measured with rq 3.0):

- SIGTERM makes the running task end by an exception (``ShutDown``), so that it settles itself; RQ's would wait for it.
- The child dies with its parent (Linux); RQ's lives on as an orphan while another worker takes its entry for abandoned.
- An entry whose worker was killed is noticed after about 20 s; RQ's defaults need more than ten minutes.
- An outage of Redis ends neither the worker nor the task it works on.
- RQ's own scheduler is never started: its forked process would outlive a killed worker and swallow entries.
- No exception text goes to Redis: it could hold a secret.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import FrameType
from typing import Any, NoReturn

from redis import Redis
from redis.exceptions import RedisError
from rq import Worker, worker_registration
from rq.executions import Execution
from rq.job import Job
from rq.queue import Queue
from rq.registry import clean_registries
from rq.utils import now as rq_now

from webapp.core.errors import TaskStopped
from webapp.core.status import ErrorCode
from webapp.queue.bell import show_all_queues
from webapp.queue.connection import OUTAGE, errors_as_queue_down, stop_retrying
from webapp.queue.enqueue import RqQueue
from webapp.queue.jobs import RqJob, forbid_pickle, resolve
from webapp.queue.lifeline import die_with_parent

MONITORING_SECONDS = 5  # heartbeat of a worker at work
MAINTENANCE_SECONDS = 5
HEARTBEAT_SLACK_SECONDS = 15  # an entry is abandoned when its heartbeat is this late
WORKER_TTL_SECONDS = 25  # blocks for 10 s at a time (RQ takes 15 off), so that an idle worker cleans up in time
LONGEST_WAIT_SECONDS = 5.0
GRACE_SECONDS = 12.0


class ShutDown(TaskStopped):
    """Raised inside the running task when its worker was asked to stop."""

    code = ErrorCode.SHUTDOWN


class TaskWorker(Worker):
    """See the module docstring.

    Attributes:
        around_fork: Entered while the child is forked, so that no thread holds a lock that the child would inherit.
        in_horse: Called in the child before the task, e.g. to drop inherited connections.
        grace_seconds: A task that does not end by itself within this time after a SIGTERM is killed.
    """

    job_class: type[RqJob] = RqJob
    queue_class: type[Queue] = RqQueue
    max_connection_wait_time = LONGEST_WAIT_SECONDS
    log_result_lifespan = False
    grace_seconds = GRACE_SECONDS

    def __init__(self, queues: Sequence[str], *, connection: Redis, name: str, **options: Any) -> None:
        super().__init__(
            list(queues),
            name=name,
            connection=connection,
            job_monitoring_interval=MONITORING_SECONDS,
            maintenance_interval=MAINTENANCE_SECONDS,
            worker_ttl=WORKER_TTL_SECONDS,
            **options,
        )
        self.around_fork: Callable[[], AbstractContextManager[object]] = nullcontext
        self.in_horse: Callable[[], None] = _nothing

    def start(self, *, burst: bool = False) -> None:
        """Work until SIGTERM or SIGINT (``burst``: until the queues are empty).

        Raises:
            QueueDown: Redis is away at the start.
        """
        forbid_pickle()
        for path in self.job_class.functions.values():
            resolve(path)
        with errors_as_queue_down():
            show_all_queues(self.connection)
        self.work(burst=burst, logging_level=None)

    # The parent

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:
        """After how many seconds without a heartbeat the entry counts as abandoned."""
        return MONITORING_SECONDS + HEARTBEAT_SLACK_SECONDS

    def clean_registries(self) -> None:
        """As RQ's, without a log line every five seconds."""
        for queue in self.queues:
            if queue.acquire_maintenance_lock():
                clean_registries(queue, self._exc_handlers)
                worker_registration.clean_worker_registry(queue)
                queue.intermediate_queue.cleanup(self, queue)
                queue.release_maintenance_lock()
        self.last_cleaned_at = rq_now()  # type: ignore[assignment]

    def clean_group_registries(self) -> None:
        """Nothing: there are no groups."""

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Fork while no other thread of ours works."""
        with self.around_fork():
            super().fork_work_horse(job, queue)

    def monitor_work_horse(self, job: Job, queue: Queue, execution: Execution) -> None:
        """Wait for the child; an outage of Redis is no reason to leave it."""
        if self._stop_requested:  # asked to stop between the decision to fork and the fork
            self.handle_warm_shutdown_request()
        while True:
            try:
                super().monitor_work_horse(job, queue, execution)
            except OUTAGE as error:
                self.log.warning("Redis is away while %s runs (%s).", job.id, type(error).__name__)
            if not self.horse_pid:
                self.executions.pop(execution.id, None)
                return

    def handle_warm_shutdown_request(self) -> None:
        """Tell the running task to end; kill it when it does not."""
        if not self.horse_pid:
            return
        self.log.info("Worker %s: telling the running task to end", self.name)
        os.kill(self.horse_pid, signal.SIGTERM)
        timer = threading.Timer(self.grace_seconds, self._kill_horse_that_stays)
        timer.daemon = True
        timer.start()

    def _kill_horse_that_stays(self) -> None:
        if self.horse_pid:
            self.log.warning("Worker %s: the task did not end within %s s; killing it", self.name, self.grace_seconds)
            self.kill_horse()

    def set_shutdown_requested_date(self) -> None:
        """Nothing: called inside a signal handler, where waiting for Redis would delay the end."""

    def handle_job_failure(  # type: ignore[override]  # RQ passes what follows by name
        self, job: Job, queue: Queue, *, exc_string: str = "", **options: Any
    ) -> None:
        """Record the failure in Redis by the kind of exception only."""
        super().handle_job_failure(job, queue, exc_string=_kind_of(exc_string), **options)

    def teardown(self) -> None:
        """Sign off, unless Redis is away."""
        stop_retrying(self.connection)
        try:
            super().teardown()  # type: ignore[no-untyped-call]
        except RedisError as error:
            self.log.warning("Worker %s: could not sign off (%s)", self.name, type(error).__name__)

    # The child

    def setup_work_horse_signals(self) -> None:
        """Die with the parent; end the task on SIGTERM. Handlers, not SIG_IGN, which child programs would inherit."""
        die_with_parent(self.pid or os.getppid())
        signal.signal(signal.SIGINT, _ignore)
        signal.signal(signal.SIGTERM, _raise_shut_down)
        if self._stop_requested:
            os._exit(1)

    def perform_job(self, job: Job, queue: Queue, execution: Execution) -> bool:
        """Run the task, with nothing inherited from the parent."""
        self.in_horse()
        return super().perform_job(job, queue, execution)


def _raise_shut_down(_number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, _ignore)
    raise ShutDown("Stopped because the worker was shut down.")


def _ignore(_number: int, _frame: FrameType | None) -> None:
    pass


def _nothing() -> None:
    pass


def _kind_of(exc_string: str) -> str:
    """The exception's class in a formatted traceback; RQ's own short sentences stay."""
    lines = exc_string.strip().splitlines()
    if len(lines) < 2:
        return exc_string
    return f"{lines[-1].split(':', 1)[0]} (the worker's log has the details)"
