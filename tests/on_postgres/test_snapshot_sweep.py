"""tests/services/test_snapshot_sweep.py over PostgreSQL."""

from tests.services.test_snapshot_sweep import *  # noqa: F403 (pytest collects what a module holds)
