"""What Redis knows now: who listens, what waits and since when. For the health page, the overview and ``doctor``.

A killed worker stays registered in RQ for a minute or more; here a worker counts as alive by its last heartbeat only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from redis import Redis
from redis.exceptions import ResponseError
from rq.utils import as_text

from webapp.core.errors import QueueDown
from webapp.core.status import QueueName
from webapp.queue.bell import SCHEDULED_KEY, queue_key, running_key
from webapp.queue.connection import errors_as_queue_down
from webapp.queue.jobs import RqJob

WORKER_IS_STALE_AFTER = timedelta(seconds=35)  # heartbeats come every 5 s at work, every 10 s at rest


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """A worker as RQ registered it. ``state`` is RQ's word: idle, busy, started, suspended."""

    name: str
    queues: tuple[str, ...]
    state: str
    heartbeat_at: datetime | None
    alive: bool


@dataclass(frozen=True, slots=True)
class QueueSeen:
    """A queue: entries that wait, entries at work, and since when the first one waits (None: nothing waits)."""

    name: str
    waiting: int
    running: int
    oldest_waiting_at: datetime | None


@dataclass(frozen=True, slots=True)
class QueueReport:
    """Everything at one moment. When ``reachable`` is False, ``error`` and ``hint`` say why and the rest is empty."""

    reachable: bool
    error: str = ""
    hint: str = ""
    queues: tuple[QueueSeen, ...] = ()
    workers: tuple[WorkerSeen, ...] = ()
    for_later: int = 0

    @property
    def workers_alive(self) -> tuple[WorkerSeen, ...]:
        """Those with a fresh heartbeat."""
        return tuple(worker for worker in self.workers if worker.alive)

    def listened_to(self, queue: str) -> bool:
        """Whether a living worker takes entries of this queue."""
        return any(queue in worker.queues for worker in self.workers_alive)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What ``doctor`` wants to know of the Redis server. None: the server does not say (managed servers may not)."""

    version: str
    append_only: bool | None
    eviction_policy: str | None


def look(connection: Redis, now: datetime) -> QueueReport:
    """The report; never raises for an outage."""
    try:
        with errors_as_queue_down():
            return QueueReport(
                reachable=True,
                queues=tuple(_look_at_queue(connection, name, now) for name in QueueName),
                workers=_look_at_workers(connection, now),
                for_later=int(connection.zcard(SCHEDULED_KEY)),
            )
    except QueueDown as error:
        return QueueReport(reachable=False, error=error.message, hint=error.hint)


def server_facts(connection: Redis) -> ServerFacts:
    """Version and safety settings. Raises QueueDown."""
    with errors_as_queue_down():
        info = connection.info()
        return ServerFacts(
            version=str(info.get("valkey_version") or info.get("redis_version") or "unknown"),
            append_only=bool(info["aof_enabled"]) if "aof_enabled" in info else None,
            eviction_policy=info.get("maxmemory_policy") or _configured(connection, "maxmemory-policy"),
        )


def _configured(connection: Redis, name: str) -> str | None:
    try:
        value = connection.config_get(name).get(name)
    except ResponseError:
        return None
    return str(value) if value else None


def _look_at_queue(connection: Redis, name: str, now: datetime) -> QueueSeen:
    first = connection.lindex(queue_key(name), 0)
    since = connection.hget(RqJob.key_for(as_text(first)), "enqueued_at") if first else None
    return QueueSeen(
        name=str(name),
        waiting=int(connection.llen(queue_key(name))),
        running=int(connection.zcount(running_key(name), now.timestamp(), "+inf")),
        oldest_waiting_at=_moment(as_text(since)) if since else None,
    )


def _look_at_workers(connection: Redis, now: datetime) -> tuple[WorkerSeen, ...]:
    keys = sorted(as_text(key) for key in connection.smembers("rq:workers"))
    with connection.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.hgetall(key)
        answers = pipe.execute() if keys else []
    found = zip(keys, answers, strict=True)
    return tuple(_worker(key, fields, now) for key, fields in found if fields and b"death" not in fields)


def _worker(key: str, fields: dict[bytes, bytes], now: datetime) -> WorkerSeen:
    heartbeat_at = _moment(fields.get(b"last_heartbeat", b"").decode())
    return WorkerSeen(
        name=key.removeprefix("rq:worker:"),
        queues=tuple(fields.get(b"queues", b"").decode().split(",")),
        state=fields.get(b"state", b"").decode(),
        heartbeat_at=heartbeat_at,
        alive=heartbeat_at is not None and now - heartbeat_at < WORKER_IS_STALE_AFTER,
    )


def _moment(text: str) -> datetime | None:
    """RQ's times: ISO 8601, UTC."""
    try:
        found = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found
