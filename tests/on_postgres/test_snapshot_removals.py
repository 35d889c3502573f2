"""tests/services/test_snapshot_removals.py over PostgreSQL."""

from tests.services.test_snapshot_removals import *  # noqa: F403 (pytest collects what a module holds)
