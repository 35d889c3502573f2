"""Workers in processes of their own: killed, stopped, cut off from Redis, and offered poison."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.support.redis import RedisServer, children_of, is_alive, wait_for
from webapp.core.status import TaskType
from webapp.queue.connection import connect
from webapp.queue.enqueue import RqTaskQueue
from webapp.queue.jobs import RqJob

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow

StartWorker = Callable[..., "WorkerProcess"]


class WorkerProcess:
    """A started worker, what it printed, and what its tasks noted."""

    def __init__(self, url: str, notes: Path, name: str) -> None:
        self.notes = notes
        self.log = notes / f"{name}.log"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.queue.worker_process", url, name],
            cwd=ROOT,
            env={**os.environ, "HOLDFAST_TEST_NOTES": str(notes)},
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
        )
        self.pid = self.process.pid

    def noted(self, name: str) -> list[str]:
        path = self.notes / name
        return path.read_text().split("\n")[:-1] if path.exists() else []

    def wait_until_listening(self) -> None:
        wait_for(lambda: "Listening" in self.log.read_text(), "the worker listens")

    def horse(self) -> int:
        wait_for(lambda: self.noted("horse"), "the task has started")
        return int(self.noted("horse")[-1])

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)


@pytest.fixture
def start_worker(redis_server: RedisServer, redis_client: Redis, tmp_path: Path) -> Iterator[StartWorker]:
    started: list[WorkerProcess] = []

    def start(url: str = redis_server.url) -> WorkerProcess:
        worker = WorkerProcess(url, tmp_path, f"worker-{len(started) + 1}")
        started.append(worker)
        worker.wait_until_listening()
        return worker

    yield start
    for worker in started:
        worker.end()


def push(client: Redis, kind: TaskType, number: int) -> str:
    name = f"{kind.value.replace('_', '-')}-{number}"
    RqTaskQueue(client).push(
        queue="backups",
        task_type=kind.value,
        task_id=number,
        queue_task_id=name,
        description=f"acme-prod / acme_prod: task {number}",
    )
    return name


def test_tasks_are_done_each_once_and_their_ids_are_unknown_afterwards(
    start_worker: StartWorker, redis_client: Redis
) -> None:
    workers = [start_worker(), start_worker()]
    names = [push(redis_client, TaskType.FAN_OUT, number) for number in range(1, 21)]

    wait_for(lambda: len(workers[0].noted("done")) >= 20, "all tasks are done")

    assert sorted(workers[0].noted("done"), key=int) == [str(number) for number in range(1, 21)]
    queue = RqTaskQueue(redis_client)
    wait_for(lambda: not queue.known(names), "nothing is known any more")


def test_a_stopped_worker_ends_its_task_with_shutdown_and_leaves_in_seconds(
    start_worker: StartWorker, redis_client: Redis
) -> None:
    worker = start_worker()
    push(redis_client, TaskType.BACKUP, 1)
    horse = worker.horse()

    worker.process.send_signal(signal.SIGTERM)

    assert worker.process.wait(8) == 0
    assert worker.noted("stopped") == ["1 shutdown"]
    assert not is_alive(horse)


def test_an_idle_worker_leaves_at_once_and_signs_off(start_worker: StartWorker, redis_client: Redis) -> None:
    worker = start_worker()

    worker.process.send_signal(signal.SIGTERM)

    assert worker.process.wait(5) == 0
    assert redis_client.smembers("rq:workers") == set()


def test_a_task_that_does_not_end_is_killed(start_worker: StartWorker, redis_client: Redis) -> None:
    worker = start_worker()
    push(redis_client, TaskType.VERIFICATION, 1)
    horse = worker.horse()

    worker.process.send_signal(signal.SIGTERM)

    assert worker.process.wait(8) == 0
    assert worker.noted("stopped") == ["1"]
    assert not is_alive(horse)


def test_when_the_worker_is_killed_its_task_dies_with_it_and_is_soon_unknown(
    start_worker: StartWorker, redis_client: Redis
) -> None:
    worker = start_worker()
    name = push(redis_client, TaskType.BACKUP, 1)
    horse = worker.horse()
    assert RqTaskQueue(redis_client).known([name]) == {name}

    worker.process.kill()
    worker.process.wait(5)

    wait_for(lambda: not is_alive(horse), "the task's process is gone", 3)
    wait_for(lambda: not RqTaskQueue(redis_client).known([name]), "the entry is unknown", 25)


def test_when_the_task_is_killed_the_worker_goes_on(start_worker: StartWorker, redis_client: Redis) -> None:
    worker = start_worker()
    name = push(redis_client, TaskType.BACKUP, 1)

    os.kill(worker.horse(), signal.SIGKILL)

    push(redis_client, TaskType.FAN_OUT, 2)
    wait_for(lambda: worker.noted("done") == ["2"], "the next task is done")
    assert RqTaskQueue(redis_client).known([name]) == set()


def test_a_killed_worker_swallows_no_later_entry(start_worker: StartWorker, redis_client: Redis) -> None:
    first = start_worker()
    first.process.kill()
    first.process.wait(5)
    second = start_worker()

    for number in range(1, 5):
        push(redis_client, TaskType.FAN_OUT, number)

    wait_for(lambda: len(second.noted("done")) == 4, "all four are done")


def test_an_outage_of_redis_ends_neither_the_worker_nor_the_task(
    own_redis_server: RedisServer, tmp_path: Path, start_worker: StartWorker
) -> None:
    worker = start_worker(own_redis_server.url)
    client = connect(own_redis_server.url)
    push(client, TaskType.CONNECTION_TEST, 1)
    horse = worker.horse()

    own_redis_server.stop(signal.SIGKILL)
    wait_for(lambda: children_of(worker.pid) == [horse], "the task lives")
    own_redis_server.start()
    (tmp_path / "go-on").touch()

    wait_for(lambda: worker.noted("done") == ["1"], "the task is done")
    push(client, TaskType.FAN_OUT, 2)
    wait_for(lambda: worker.noted("done") == ["1", "2"], "the next task is done")
    assert worker.process.poll() is None


def test_an_idle_worker_outlives_a_redis_that_comes_back_empty(
    own_redis_server: RedisServer, start_worker: StartWorker
) -> None:
    worker = start_worker(own_redis_server.url)
    client = connect(own_redis_server.url)

    own_redis_server.stop(signal.SIGKILL)
    own_redis_server.start()
    client.flushall()
    push(client, TaskType.FAN_OUT, 1)

    wait_for(lambda: worker.noted("done") == ["1"], "the task is done", 30)
    assert worker.process.poll() is None


def test_poison_in_a_queue_runs_nothing_and_what_is_behind_it_runs(
    start_worker: StartWorker, redis_client: Redis, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    for name, data in poisons(canary).items():
        redis_client.hset(
            f"rq:job:{name}", mapping={"data": data, "origin": "backups", "status": "queued", "timeout": 60}
        )
        redis_client.rpush("rq:queue:backups", name)
    redis_client.hset("rq:job:json-call", "failure_callback_name", "tests.queue.fake_tasks.record")
    for name, field in (("meta", "meta"), ("result", "result")):
        redis_client.hset(f"rq:job:{name}", mapping={"data": b'["fan_out",null,[77],{}]', field: pickled(canary)})
        redis_client.hset(f"rq:job:{name}", mapping={"origin": "backups", "status": "queued", "timeout": -1})
        redis_client.rpush("rq:queue:backups", name)
    redis_client.rpush("rq:queue:backups", "no-such-entry", "strange:id", b"x" * 5000)

    worker = start_worker()
    push(redis_client, TaskType.FAN_OUT, 9)

    wait_for(lambda: "9" in worker.noted("done"), "the good task behind the poison is done")
    assert not canary.exists()
    assert set(worker.noted("done")) == {"77", "9"}
    assert worker.process.poll() is None


def pickled(canary: Path) -> bytes:
    """A pickle that creates the canary when it is loaded, written by hand."""
    return f"cposix\nsystem\n(S'touch {canary}'\ntR.".encode()


def poisons(canary: Path) -> dict[str, bytes]:
    return {
        "pickle": zlib.compress(pickled(canary)),
        "pickle-plain": pickled(canary),
        "json-call": zlib.compress(f'["os.system", null, ["touch {canary}"], {{}}]'.encode()),
        "json-ours": zlib.compress(b'["tests.queue.fake_tasks.record", null, [1], {}]'),
        "json-instance": zlib.compress(b'["fan_out", "text", [1], {}]'),
        "json-odd": zlib.compress(b"[1, 2"),
        "bomb": zlib.compress(b"0" * 50_000_000),
        "empty": b"",
    }


def test_no_exception_text_reaches_redis(start_worker: StartWorker, redis_client: Redis) -> None:
    worker = start_worker()
    name = push(redis_client, TaskType.RETENTION, 1)

    wait_for(lambda: redis_client.zscore("rq:failed:backups", name), "the entry is among the failed")

    stored = b"".join(redis_client.dump(key) or b"" for key in redis_client.keys("*"))
    found = RqJob.fetch(name, connection=redis_client).latest_result()
    assert found is not None
    assert found.exc_string == "RuntimeError (the worker's log has the details)"
    assert b"hunter2" not in stored
    assert worker.process.poll() is None


def test_rq_info_shows_all_queues_and_readable_workers(
    start_worker: StartWorker, redis_client: Redis, redis_server: RedisServer
) -> None:
    worker = start_worker()
    push(redis_client, TaskType.BACKUP, 418)
    worker.horse()

    shown = subprocess.run(
        [sys.executable, "-m", "rq.cli", "info", "--url", redis_server.url, "--raw"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout

    queues = {line.split()[1]: line for line in shown.splitlines() if line.startswith("queue ")}
    assert set(queues) == {"default", "backups", "restores", "notifications", "cloud"}
    assert "1 executing" in queues["backups"]
    assert "worker worker-1 " in shown
    assert "acme-prod / acme_prod: task 418 (backup-418)" in worker.log.read_text()
