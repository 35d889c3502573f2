"""tests/services/test_jobs.py over PostgreSQL."""

from tests.services.test_jobs import *  # noqa: F403 (pytest collects what a module holds)
