"""Ringing once: the steps that must not be torn apart, as scripts that Redis runs as one.

An entry counts as live when its id waits in a queue, or a worker with a fresh heartbeat works on it. RQ's own status is
not asked: it says "queued" for entries that were lost and "finished" for a while after the end.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from redis import Redis
from rq.job import Job, JobStatus
from rq.utils import now

from webapp.core.status import QueueName
from webapp.queue.jobs import RqJob

QUEUES_KEY = "rq:queues"
SCHEDULED_KEY = "rq:scheduler:scheduled_jobs"  # rq-scheduler's

# KEYS: 1 the entry, 2 its queue, 3 entries for later, 4 the set of queues, then each queue's list and registry.
# ARGV: 1 id, 2 now, then field, value, …
_PUSH = """
local waits = false
for i = 5, #KEYS, 2 do
  if redis.call('LPOS', KEYS[i], ARGV[1]) then waits = true end
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[i + 1], ARGV[2], '+inf')) do
    if string.sub(member, 1, #ARGV[1] + 1) == ARGV[1] .. ':' then return 0 end
  end
end
if waits and redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('SADD', KEYS[4], KEYS[2])
if not waits then redis.call('RPUSH', KEYS[2], ARGV[1]) end
return 1
"""

# KEYS as above without 2 and 4. ARGV: 1 id, 2 now.
_DROP = """
redis.call('ZREM', KEYS[2], ARGV[1])
local runs = false
for i = 3, #KEYS, 2 do
  redis.call('LREM', KEYS[i], 0, ARGV[1])
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[i + 1], ARGV[2], '+inf')) do
    if string.sub(member, 1, #ARGV[1] + 1) == ARGV[1] .. ':' then runs = true end
  end
end
if not runs then redis.call('DEL', KEYS[1]) end
return 1
"""


def push_once(connection: Redis, job: Job) -> bool:
    """Put the entry at the end of its queue, unless it is live there or elsewhere. An entry for later comes forward.

    Returns:
        Whether it was put.
    """
    job._status = JobStatus.QUEUED
    job.enqueued_at = now()
    fields = [part for pair in job.to_dict().items() for part in pair]
    keys = [job.key, queue_key(job.origin), SCHEDULED_KEY, QUEUES_KEY, *_places()]
    return bool(connection.register_script(_PUSH)(keys=keys, args=[job.id, _now(), *fields]))


def drop(connection: Redis, queue_task_id: str) -> None:
    """Forget a waiting entry; one that runs goes on."""
    keys = [RqJob.key_for(queue_task_id), SCHEDULED_KEY, *_places()]
    connection.register_script(_DROP)(keys=keys, args=[queue_task_id, _now()])


def live(connection: Redis, queue_task_ids: Iterable[str]) -> set[str]:
    """Those of the ids that wait, wait for later, or run now."""
    wanted = set(queue_task_ids)
    if not wanted:
        return set()
    with connection.pipeline(transaction=True) as pipe:
        pipe.zrange(SCHEDULED_KEY, 0, -1)
        for name in QueueName:
            pipe.lrange(queue_key(name), 0, -1)
        for name in QueueName:
            pipe.zrangebyscore(running_key(name), _now(), "+inf")
        answers = pipe.execute()
    waiting = wanted & {entry.decode() for answer in answers[: len(QueueName) + 1] for entry in answer}
    running = wanted & {entry.decode().split(":", 1)[0] for answer in answers[len(QueueName) + 1 :] for entry in answer}
    return running | _with_entry(connection, waiting)


def show_all_queues(connection: Redis) -> None:
    """Make every queue visible to ``rq info``, also those that never held an entry."""
    connection.sadd(QUEUES_KEY, *(queue_key(name) for name in QueueName))


def queue_key(name: str) -> str:
    """RQ's list of waiting ids."""
    return f"rq:queue:{name}"


def running_key(name: str) -> str:
    """RQ's registry of running entries: members "id:execution", scored by when their heartbeat becomes stale."""
    return f"rq:wip:{name}"


def _places() -> list[str]:
    return [key for name in QueueName for key in (queue_key(name), running_key(name))]


def _with_entry(connection: Redis, ids: set[str]) -> set[str]:
    """Workers pass over an id whose hash is gone, so it counts for nothing."""
    ordered = sorted(ids)
    with connection.pipeline(transaction=False) as pipe:
        for each in ordered:
            pipe.exists(RqJob.key_for(each))
        return {each for each, found in zip(ordered, pipe.execute(), strict=True) if found} if ordered else set()


def _now() -> float:
    # RQ scores by the clock of the worker's host, in Unix seconds; entries and heartbeats are compared on that clock.
    return time.time()
