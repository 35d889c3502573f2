"""Fixtures of the services' tests."""

from __future__ import annotations

from tests.support.host_places import host_server, place
from tests.support.restore_tasks import archive, engine, instance

__all__ = ["archive", "engine", "host_server", "instance", "place"]
