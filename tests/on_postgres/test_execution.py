"""tests/services/test_execution.py over PostgreSQL."""

from tests.services.test_execution import *  # noqa: F403 (pytest collects what a module holds)
