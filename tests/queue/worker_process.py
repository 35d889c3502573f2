"""A worker in a process of its own: python -m tests.queue.worker_process URL NAME."""

from __future__ import annotations

import logging
import os
import sys

from tests.queue.fake_tasks import FakeJob
from webapp import logs
from webapp.core.status import QueueName
from webapp.queue.connection import connect
from webapp.queue.lifeline import die_with_parent
from webapp.queue.workers import TaskWorker

if __name__ == "__main__":
    die_with_parent(os.getppid())
    logs.set_up("INFO")
    logging.getLogger("rq.worker").setLevel(logging.INFO)  # the tests read what it says
    worker = TaskWorker(
        [str(name) for name in QueueName],
        connection=connect(sys.argv[1], patient=True),
        name=sys.argv[2],
        job_class=FakeJob,
    )
    worker.grace_seconds = 1.0
    worker.start()
