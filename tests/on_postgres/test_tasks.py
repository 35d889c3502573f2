"""tests/services/test_tasks.py over PostgreSQL."""

from tests.services.test_tasks import *  # noqa: F403 (pytest collects what a module holds)
