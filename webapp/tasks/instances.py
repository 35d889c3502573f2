"""Connection tests."""

from __future__ import annotations

from webapp.services import connection_tests
from webapp.tasks.clock import utc_now


def test_connection(task_id: int) -> None:
    """Ask an instance every question of a connection test."""
    connection_tests.run_connection_test(task_id, clock=utc_now)
