"""tests/services/test_sweeper.py over PostgreSQL."""

from tests.services.test_sweeper import *  # noqa: F403 (pytest collects what a module holds)
