"""What is different in tests/services/test_recovery.py over PostgreSQL: the copy, putting it back, and numbers given by us."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.services.test_recovery import (
    lost,
    machine,
    test_a_damaged_self_backup_changes_nothing,
    test_a_self_backup_brings_users_jobs_and_passwords_back_and_what_is_newer_is_adopted,
    test_numbers_that_others_took_meanwhile_stay_theirs,
    test_the_sweeper_and_later_runs_leave_recovered_archives_alone,
)
from tests.services.test_self_backups import test_each_slot_asks_once_whoever_asks_and_missed_ones_are_one
from tests.support.app_on_postgres import PostgresInstallation, installed_on_postgres

__all__ = [
    "lost",
    "machine",
    "test_a_damaged_self_backup_changes_nothing",
    "test_a_self_backup_brings_users_jobs_and_passwords_back_and_what_is_newer_is_adopted",
    "test_each_slot_asks_once_whoever_asks_and_missed_ones_are_one",
    "test_numbers_that_others_took_meanwhile_stay_theirs",
    "test_the_sweeper_and_later_runs_leave_recovered_archives_alone",
]
pytestmark = pytest.mark.usefixtures("service")


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresInstallation]:
    """A migrated database with nobody in it, on a server of its own."""
    with installed_on_postgres(tmp_path_factory.mktemp("blank"), with_cast=False) as found:
        yield found
