"""tests/services/test_snapshot_files.py over PostgreSQL."""

from tests.services.test_snapshot_files import *  # noqa: F403 (pytest collects what a module holds)
