"""What the monitor says is what is so now."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis

from tests.support.redis import RedisServer
from webapp.core.errors import QueueDown
from webapp.queue import bell, monitor
from webapp.queue.connection import connect, shown_address
from webapp.queue.enqueue import RqTaskQueue

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)


def register_worker(client: Redis, name: str, heartbeat_at: datetime, queues: str = "default,backups") -> None:
    client.sadd("rq:workers", f"rq:worker:{name}")
    mapping = {"last_heartbeat": heartbeat_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "queues": queues, "state": "idle"}
    client.hset(f"rq:worker:{name}", mapping=mapping)


def test_queues_show_depth_and_since_when_the_oldest_waits(redis_client: Redis) -> None:
    before = datetime.now(UTC)
    for number in (1, 2):
        RqTaskQueue(redis_client).push(
            queue="backups", task_type="backup", task_id=number, queue_task_id=f"run-{number}", description=""
        )
    redis_client.zadd(bell.running_key("restores"), {"a:1": NOW.timestamp() + 5, "b:1": NOW.timestamp() - 5})

    report = monitor.look(redis_client, NOW)

    queues = {queue.name: queue for queue in report.queues}
    assert report.reachable
    assert queues["backups"].waiting == 2
    assert queues["restores"].running == 1
    assert queues["default"].oldest_waiting_at is None
    oldest = queues["backups"].oldest_waiting_at
    assert oldest is not None
    assert before - timedelta(seconds=1) <= oldest <= datetime.now(UTC)


def test_a_killed_worker_is_not_taken_for_a_living_one(redis_client: Redis) -> None:
    register_worker(redis_client, "living", NOW - timedelta(seconds=8))
    register_worker(redis_client, "killed", NOW - timedelta(minutes=2), "cloud")
    redis_client.sadd("rq:workers", "rq:worker:expired")

    report = monitor.look(redis_client, NOW)

    assert [worker.name for worker in report.workers_alive] == ["living"]
    assert {worker.name for worker in report.workers} == {"living", "killed"}
    assert report.listened_to("backups")
    assert not report.listened_to("cloud")


def test_an_unreadable_heartbeat_is_no_heartbeat(redis_client: Redis) -> None:
    register_worker(redis_client, "odd", NOW)
    redis_client.hset("rq:worker:odd", "last_heartbeat", "soon")

    assert monitor.look(redis_client, NOW).workers_alive == ()


def test_an_outage_is_an_answer(own_redis_server: RedisServer) -> None:
    client = connect(own_redis_server.url)
    own_redis_server.stop()

    report = monitor.look(client, NOW)

    assert not report.reachable
    assert "cannot be reached" in report.error
    assert report.workers_alive == ()


def test_the_server_we_start_keeps_what_it_is_told(redis_client: Redis) -> None:
    facts = monitor.server_facts(redis_client)

    assert facts.append_only is True
    assert facts.eviction_policy == "noeviction"
    assert int(facts.version.split(".")[0]) >= 6


def test_an_address_is_shown_without_its_password() -> None:
    assert shown_address("redis://bob:hunter2@redis.example:6380/1") == "redis://redis.example:6380/1"
    assert shown_address("unix:///run/redis.sock?db=0") == "unix:/run/redis.sock"


def test_a_wrong_password_is_told_without_it(redis_client: Redis, redis_server: RedisServer) -> None:
    redis_client.config_set("requirepass", "right")
    try:
        stranger = connect(redis_server.url.replace("unix://", "unix://:wrong-one@"))
        with pytest.raises(QueueDown, match="password") as caught:
            RqTaskQueue(stranger).known(["run-1"])
    finally:
        redis_client.config_set("requirepass", "")

    assert "wrong-one" not in f"{caught.value.message} {caught.value.hint}"


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(QueueDown, match="not an address"):
        connect("postgres://somewhere")


def test_nothing_is_logged_by_looking(redis_client: Redis, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        monitor.look(redis_client, NOW)

    assert caplog.records == []
