"""tests/services/test_snapshot_runs.py over PostgreSQL."""

from tests.services.test_snapshot_runs import *  # noqa: F403 (pytest collects what a module holds)
