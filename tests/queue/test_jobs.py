"""The dotted paths lead somewhere; nothing but listed functions can be reached from Redis."""

from __future__ import annotations

import pytest
from redis import Redis
from rq.serializers import JSONSerializer

from webapp.core.status import TaskType
from webapp.queue.jobs import TASK_FUNCTIONS, RefusedEntry, RqJob, new_job, resolve


def test_every_task_type_has_a_function() -> None:
    assert set(TASK_FUNCTIONS) == set(TaskType)


@pytest.mark.parametrize("path", TASK_FUNCTIONS.values())
def test_the_dotted_path_leads_to_a_function(path: str) -> None:
    assert callable(resolve(path))


@pytest.mark.parametrize(
    "payload",
    [
        ["os.system", None, ["true"], {}],
        ["webapp.tasks.runs.execute_run", None, [1], {}],
        ["backup", "text", [1], {}],
        ["backup", None, [1], {"extra": 1}],
        ["backup", None, ["1"], {}],
        ["backup", None, [True], {}],
        ["backup", None, [0], {}],
        ["backup", None, [1, 2], {}],
        ["backup", None, [], {}],
        [None, None, [1], {}],
    ],
)
def test_a_foreign_payload_leads_to_no_function(redis_client: Redis, payload: list[object]) -> None:
    job = RqJob("run-1", connection=redis_client)
    job.data = JSONSerializer.dumps(payload)

    with pytest.raises(RefusedEntry):
        _ = job.func


def test_callbacks_and_webhooks_of_an_entry_are_ignored(redis_client: Redis) -> None:
    job = new_job(
        redis_client, queue="default", task_type="backup", task_id=1, queue_task_id="run-1", description="words"
    )
    job.save()
    for kind in ("success", "failure", "stopped"):
        redis_client.hset(job.key, f"{kind}_callback_name", "os.abort")
    redis_client.hset(job.key, "webhooks", '[{"url": "http://127.0.0.1:1/"}]')

    found = RqJob.fetch("run-1", connection=redis_client)

    assert (found.success_callback, found.failure_callback, found.stopped_callback) == (None, None, None)
    found.send_webhooks("failed")


def test_a_huge_entry_is_refused_before_it_is_unpacked(redis_client: Redis) -> None:
    redis_client.hset("rq:job:run-1", mapping={"data": b"x" * 5000, "status": "queued"})

    with pytest.raises(RefusedEntry, match="too large"):
        RqJob.fetch("run-1", connection=redis_client)
