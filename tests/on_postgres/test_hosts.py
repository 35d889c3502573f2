"""tests/services/test_hosts.py over PostgreSQL."""

from tests.services.test_hosts import *  # noqa: F403 (pytest collects what a module holds)
