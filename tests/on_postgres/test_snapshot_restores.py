"""tests/services/test_snapshot_restores.py over PostgreSQL."""

from tests.services.test_snapshot_restores import *  # noqa: F403 (pytest collects what a module holds)
