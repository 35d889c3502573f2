"""Entries for later move when they are due, once, whatever happens to Redis or to other schedulers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis

from tests.support.redis import RedisServer, wait_for
from webapp.core.errors import QueueDown
from webapp.queue import bell
from webapp.queue.connection import connect
from webapp.queue.enqueue import RqQueue, RqTaskQueue
from webapp.queue.schedule import TaskScheduler, keep_moving


def later(queue: RqTaskQueue, number: int, seconds: float) -> None:
    queue.push_later(
        queue="backups",
        task_type="backup",
        task_id=number,
        queue_task_id=f"run-{number}",
        description=f"run {number}",
        at=datetime.now(UTC) + timedelta(seconds=seconds),
    )


def waiting(client: Redis) -> list[str]:
    return RqQueue("backups", connection=client).job_ids


@contextmanager
def running_loops(url: str, count: int) -> Iterator[list[int]]:
    """So many schedulers in threads; the list counts each one's ticks."""
    stop = threading.Event()
    ticks = [0] * count

    def run(number: int) -> None:
        def tick() -> None:
            ticks[number] += 1

        keep_moving(TaskScheduler(connect(url)), tick, stop, tick_seconds=0.1)

    threads = [threading.Thread(target=run, args=[number]) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield ticks
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()


def test_a_due_entry_moves_to_its_queue_and_others_stay(redis_client: Redis) -> None:
    queue = RqTaskQueue(redis_client)
    later(queue, 1, -1)
    later(queue, 2, 60)

    moved = TaskScheduler(redis_client).move_due()

    assert moved == 1
    assert waiting(redis_client) == ["run-1"]
    assert queue.known(["run-1", "run-2"]) == {"run-1", "run-2"}


def test_an_entry_that_waits_already_does_not_double(redis_client: Redis) -> None:
    queue = RqTaskQueue(redis_client)
    queue.push(queue="backups", task_type="backup", task_id=1, queue_task_id="run-1", description="")
    redis_client.zadd(bell.SCHEDULED_KEY, {"run-1": 1})

    TaskScheduler(redis_client).move_due()

    assert waiting(redis_client) == ["run-1"]
    assert redis_client.zcard(bell.SCHEDULED_KEY) == 0


def test_broken_entries_are_dropped_and_those_behind_them_move(redis_client: Redis) -> None:
    queue = RqTaskQueue(redis_client)
    redis_client.zadd(bell.SCHEDULED_KEY, {"gone": 1, "strange:id": 2, "no-data": 3, "bad-time": 4, "huge": 5})
    redis_client.hset("rq:job:no-data", "origin", "backups")
    redis_client.hset("rq:job:bad-time", mapping={"data": b"x", "created_at": "yesterday"})
    redis_client.hset("rq:job:huge", mapping={"data": b"x" * 10_000})
    later(queue, 9, -1)

    TaskScheduler(redis_client).move_due()

    assert waiting(redis_client) == ["run-9"]
    assert redis_client.zcard(bell.SCHEDULED_KEY) == 0


def test_while_another_holds_the_lock_nothing_moves_and_its_lock_stays(redis_client: Redis) -> None:
    later(RqTaskQueue(redis_client), 1, -1)
    other, ours = TaskScheduler(redis_client), TaskScheduler(redis_client)
    assert other.acquire_lock()

    assert ours.move_due() == 0

    ours._lock_acquired = True  # as after a pause so long that the lock passed on
    ours.remove_lock()
    assert redis_client.get(TaskScheduler.scheduler_lock_key) == other.name.encode()
    other.remove_lock()
    assert ours.move_due() == 1


def test_a_lock_ends_by_itself(redis_client: Redis) -> None:
    TaskScheduler(redis_client).acquire_lock()

    assert 0 < redis_client.ttl(TaskScheduler.scheduler_lock_key) <= 15


def test_two_schedulers_move_each_entry_once(redis_server: RedisServer, redis_client: Redis) -> None:
    queue = RqTaskQueue(redis_client)
    for number in range(1, 201):
        later(queue, number, 0.002 * number)

    with running_loops(redis_server.url, 3) as ticks:
        wait_for(lambda: redis_client.zcard(bell.SCHEDULED_KEY) == 0, "all entries have moved")

    assert sorted(waiting(redis_client)) == sorted(f"run-{number}" for number in range(1, 201))
    assert all(ticks)


def test_the_loop_ticks_through_an_outage_and_moves_afterwards(own_redis_server: RedisServer) -> None:
    client = connect(own_redis_server.url)

    with running_loops(own_redis_server.url, 1) as ticks:
        own_redis_server.stop(9)
        before = ticks[0]
        wait_for(lambda: ticks[0] > before + 5, "the loop ticks without Redis")
        own_redis_server.start()
        later(RqTaskQueue(client), 1, -1)
        wait_for(lambda: waiting(client) == ["run-1"], "the entry has moved")


def test_an_outage_is_told_as_queue_down(own_redis_server: RedisServer) -> None:
    scheduler = TaskScheduler(connect(own_redis_server.url))
    own_redis_server.stop()

    with pytest.raises(QueueDown):
        scheduler.move_due()


def test_what_was_appended_survives_a_kill_of_the_server(own_redis_server: RedisServer) -> None:
    client = connect(own_redis_server.url)
    queue = RqTaskQueue(client)
    for number in range(1, 51):
        later(queue, number, 3600 if number % 2 else -1)
    TaskScheduler(client).move_due()

    own_redis_server.stop(9)
    own_redis_server.start()

    assert len(waiting(client)) == 25
    assert len(queue.known([f"run-{number}" for number in range(1, 51)])) == 50


def test_a_tick_waits_for_nothing_but_its_time(redis_server: RedisServer, redis_client: Redis) -> None:
    started = time.monotonic()

    with running_loops(redis_server.url, 1) as ticks:
        wait_for(lambda: ticks[0] >= 5, "five ticks")

    assert time.monotonic() - started < 5
