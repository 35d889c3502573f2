"""tests/services/test_snapshot_discovery.py over PostgreSQL."""

from tests.services.test_snapshot_discovery import *  # noqa: F403 (pytest collects what a module holds)
