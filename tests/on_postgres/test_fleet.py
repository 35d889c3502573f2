"""tests/services/test_fleet.py over PostgreSQL."""

from tests.services.test_fleet import *  # noqa: F403 (pytest collects what a module holds)
