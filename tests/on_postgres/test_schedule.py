"""tests/services/test_schedule.py over PostgreSQL."""

from tests.services.test_schedule import *  # noqa: F403 (pytest collects what a module holds)
