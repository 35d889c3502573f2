"""tests/services/test_retention.py over PostgreSQL."""

from tests.services.test_retention import *  # noqa: F403 (pytest collects what a module holds)
