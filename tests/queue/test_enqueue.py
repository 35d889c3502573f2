"""Pushing rings once; what the queue says it knows is the truth."""

from __future__ import annotations

import json
import zlib
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis
from rq.job import JobStatus

from tests.support.redis import RedisServer
from webapp.core.errors import QueueDown
from webapp.core.status import QueueName, TaskType
from webapp.queue import bell
from webapp.queue.connection import connect
from webapp.queue.enqueue import RqQueue, RqTaskQueue
from webapp.queue.jobs import RqJob


def push(queue: RqTaskQueue, number: int = 418, at: datetime | None = None) -> str:
    name = f"run-{number}"
    words = {"queue": "backups", "task_type": TaskType.BACKUP.value, "queue_task_id": name}
    description = "acme-prod / acme_prod: Nightly full backup"
    if at is None:
        queue.push(task_id=number, description=description, **words)
    else:
        queue.push_later(task_id=number, description=description, at=at, **words)
    return name


def start_running(client: Redis, name: str, until: float) -> None:
    client.lrem(bell.queue_key("backups"), 0, name)
    client.zadd(bell.running_key("backups"), {f"{name}:execution": until})
    client.hset(RqJob.key_for(name), "status", "started")


def test_a_pushed_task_waits_in_its_queue_as_json_with_readable_words(redis_client: Redis) -> None:
    queue = RqTaskQueue(redis_client)

    push(queue)

    job = RqJob.fetch("run-418", connection=redis_client)
    stored = redis_client.hget("rq:job:run-418", "data")
    assert RqQueue("backups", connection=redis_client).job_ids == ["run-418"]
    assert json.loads(zlib.decompress(stored)) == ["backup", None, [418], {}]
    assert job.description == "acme-prod / acme_prod: Nightly full backup"
    assert job.timeout == -1
    assert (job.result_ttl, job.failure_ttl) == (300, 86400)
    assert job.retries_left is None


def test_pushing_twice_is_the_same_as_once(redis_client: Redis) -> None:
    queue = RqTaskQueue(redis_client)

    for _ in range(3):
        push(queue)

    assert RqQueue("backups", connection=redis_client).job_ids == ["run-418"]


def test_pushing_what_runs_does_nothing(redis_client: Redis) -> None:
    queue = RqTaskQueue(redis_client)
    name = push(queue)
    start_running(redis_client, name, datetime.now(UTC).timestamp() + 60)

    push(queue)

    assert RqQueue("backups", connection=redis_client).job_ids == []
    assert RqJob.fetch(name, connection=redis_client).get_status() is JobStatus.STARTED
    assert queue.known([name]) == {name}


def test_an_entry_whose_worker_fell_silent_is_unknown_and_can_be_pushed_again(redis_client: Redis) -> None:
    queue = RqTaskQueue(redis_client)
    name = push(queue)
    start_running(redis_client, name, datetime.now(UTC).timestamp() - 1)

    assert queue.known([name]) == set()
    push(queue)

    assert RqQueue("backups", connection=redis_client).job_ids == [name]


@pytest.mark.parametrize("status", ["finished", "failed", "stopped", "queued"])
def test_an_entry_that_is_nowhere_is_replaced_whatever_its_status_says(redis_client: Redis, status: str) -> None:
    queue = RqTaskQueue(redis_client)
    name = push(queue)
    redis_client.lrem(bell.queue_key("backups"), 0, name)
    redis_client.hset(RqJob.key_for(name), "status", status)

    assert queue.known([name]) == set()
    push(queue)

    assert RqQueue("backups", connection=redis_client).job_ids == [name]
    assert RqJob.fetch(name, connection=redis_client).get_status() is JobStatus.QUEUED


def test_an_id_that_waits_without_its_entry_is_unknown_and_gets_it_back(redis_client: Redis) -> None:
    queue = RqTaskQueue(redis_client)
    name = push(queue)
    redis_client.delete(RqJob.key_for(name))

    assert queue.known([name]) == set()
    push(queue)

    assert RqQueue("backups", connection=redis_client).job_ids == [name]
    assert queue.known([name, "run-1"]) == {name}


def test_a_task_for_later_is_known_and_comes_forward_when_pushed_now(redis_client: Redis) -> None:
    queue = RqTaskQueue(redis_client)
    name = push(queue, at=datetime.now(UTC) + timedelta(hours=1))

    known_before = queue.known([name])
    push(queue)

    assert known_before == {name}
    assert redis_client.zcard(bell.SCHEDULED_KEY) == 0
    assert RqQueue("backups", connection=redis_client).job_ids == [name]


def test_asking_for_later_again_moves_the_time(redis_client: Redis) -> None:
    queue = RqTaskQueue(redis_client)
    now = datetime.now(UTC)
    name = push(queue, at=now + timedelta(hours=1))

    push(queue, at=now + timedelta(hours=2))

    assert redis_client.zscore(bell.SCHEDULED_KEY, name) == pytest.approx((now + timedelta(hours=2)).timestamp())


def test_later_does_not_touch_what_waits_already(redis_client: Redis) -> None:
    queue = RqTaskQueue(redis_client)
    push(queue)

    push(queue, at=datetime.now(UTC) + timedelta(hours=1))

    assert redis_client.zcard(bell.SCHEDULED_KEY) == 0
    assert RqQueue("backups", connection=redis_client).job_ids == ["run-418"]


def test_dropping_forgets_what_waits_now_or_later(redis_client: Redis) -> None:
    queue = RqTaskQueue(redis_client)
    now, later = push(queue, 1), push(queue, 2, at=datetime.now(UTC) + timedelta(hours=1))

    for name in (now, later, "run-3"):
        queue.drop(name)

    assert queue.known([now, later]) == set()
    assert redis_client.keys("rq:job:*") == []


def test_dropping_what_runs_leaves_its_entry(redis_client: Redis) -> None:
    queue = RqTaskQueue(redis_client)
    name = push(queue)
    start_running(redis_client, name, datetime.now(UTC).timestamp() + 60)

    queue.drop(name)

    assert redis_client.exists(RqJob.key_for(name)) == 1


def test_every_method_says_queue_down_when_redis_is_away(own_redis_server: RedisServer) -> None:
    queue = RqTaskQueue(connect(own_redis_server.url))
    own_redis_server.stop()

    with pytest.raises(QueueDown, match="cannot be reached"):
        push(queue)
    with pytest.raises(QueueDown):
        push(queue, at=datetime.now(UTC))
    with pytest.raises(QueueDown):
        queue.known(["run-1"])
    with pytest.raises(QueueDown):
        queue.drop("run-1")


def test_a_full_server_is_queue_down_with_a_hint(redis_client: Redis) -> None:
    redis_client.config_set("maxmemory", "1")
    try:
        with pytest.raises(QueueDown) as caught:
            push(RqTaskQueue(redis_client), at=datetime.now(UTC))
    finally:
        redis_client.config_set("maxmemory", "0")

    assert "noeviction" in caught.value.hint


def test_five_hundred_ids_are_looked_up_at_once(redis_client: Redis) -> None:
    queue = RqTaskQueue(redis_client)
    names = [push(queue, number) for number in range(1, 501)]

    assert queue.known([*names, "run-999"]) == set(names)
    assert len(RqQueue("backups", connection=redis_client)) == 500


def test_an_unknown_type_or_a_strange_id_is_refused(redis_client: Redis) -> None:
    queue = RqTaskQueue(redis_client)

    with pytest.raises(ValueError, match="holiday"):
        queue.push(queue="default", task_type="holiday", task_id=1, queue_task_id="x-1", description="")
    with pytest.raises(ValueError, match="Job ID"):
        queue.push(queue="default", task_type="backup", task_id=1, queue_task_id="x:1", description="")


def test_all_five_queues_are_shown(redis_client: Redis) -> None:
    bell.show_all_queues(redis_client)

    assert {queue.name for queue in RqQueue.all(redis_client)} == set(QueueName)
