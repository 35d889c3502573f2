"""Fixtures of the queue's tests."""

from __future__ import annotations

from tests.support.redis import own_redis_server, redis_client, redis_server

__all__ = ["own_redis_server", "redis_client", "redis_server"]
