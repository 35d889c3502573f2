"""Connecting to Redis. Prompt connections fail within seconds; patient ones ride out a restart of Redis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ConnectionError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry

from webapp.core.errors import QueueDown

OUTAGE = (ConnectionError, TimeoutError)
PATIENT_RETRIES = 20  # with the back-off below about 36 s; a worker then goes on in its own loop
CONNECT_SECONDS = 2
ANSWER_SECONDS = 5


def connect(url: str, *, patient: bool = False) -> Redis:
    """A client for the URL (``redis://``, ``rediss://`` or ``unix://``). Nothing is sent yet.

    Patient clients are for workers: without a retry of its own, redis-py lets an outage of a few seconds end a worker
    and the entry it works on.
    """
    retry = Retry(ExponentialBackoff(cap=2, base=0.25), PATIENT_RETRIES) if patient else Retry(NoBackoff(), 1)
    try:
        return Redis.from_url(
            url,
            retry=retry,
            retry_on_error=[*OUTAGE, BusyLoadingError],
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=ANSWER_SECONDS,
        )
    except ValueError:
        raise QueueDown("REDIS_URL is not an address of Redis.", hint=_URL_HINT) from None


def stop_retrying(connection: Redis) -> None:
    """Let the next failure be final: used by a process that is about to end."""
    connection.set_retry(Retry(NoBackoff(), 0))


@contextmanager
def errors_as_queue_down() -> Iterator[None]:
    """Whatever Redis says inside, the caller hears QueueDown, in a sentence without addresses or passwords."""
    try:
        yield
    except (AuthenticationError, AuthorizationError) as error:
        raise QueueDown(
            "Redis refuses the password.", hint="Check the user and the password in REDIS_URL (or REDIS_URL_FILE)."
        ) from error
    except ReadOnlyError as error:
        raise QueueDown("Redis is read-only (a replica).", hint="Let REDIS_URL point to the primary server.") from error
    except BusyLoadingError as error:
        raise QueueDown("Redis is still loading its data.", hint="It will answer when it has read its file.") from error
    except OUTAGE as error:
        raise QueueDown(
            "Redis cannot be reached.", hint="Start Redis, or check REDIS_URL. Nothing is lost meanwhile."
        ) from error
    except ResponseError as error:
        raise QueueDown(f"Redis refuses to work: {_reason(error)}.", hint=_refusal_hint(str(error))) from error
    except RedisError as error:
        raise QueueDown(f"Redis does not work as expected ({type(error).__name__}).") from error


def shown_address(url: str) -> str:
    """The URL as people may see it: without user and password."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return f"unix:{parts.path}"
    return f"{parts.scheme}://{parts.hostname or 'localhost'}:{parts.port or 6379}{parts.path}"


_URL_HINT = (
    "Examples: redis://127.0.0.1:6379/0, rediss://user:password@redis.example:6380/0, unix:///run/redis.sock?db=0"
)


def _reason(error: ResponseError) -> str:
    """Redis' own words, without the command that redis-py puts before them."""
    return str(error).split("\n", 1)[0].rpartition("caused error: ")[2].rstrip(".")[:120]


def _refusal_hint(message: str) -> str:
    if "MISCONF" in message:
        return "Its disk is probably full: free some space."
    if "maxmemory" in message:
        return "It is out of memory: raise maxmemory and set maxmemory-policy noeviction."
    return "Redis 6.2 or newer is needed, with write permission for this user."
