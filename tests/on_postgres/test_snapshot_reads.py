"""tests/services/test_snapshot_reads.py over PostgreSQL."""

from tests.services.test_snapshot_reads import *  # noqa: F403 (pytest collects what a module holds)
