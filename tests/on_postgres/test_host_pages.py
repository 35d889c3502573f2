"""tests/services/test_host_pages.py over PostgreSQL."""

from tests.services.test_host_pages import *  # noqa: F403 (pytest collects what a module holds)
