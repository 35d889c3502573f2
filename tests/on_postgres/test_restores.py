"""What test_restores_executed.py and test_restores_interrupted.py say of claims, leases and locks, over PostgreSQL."""

from tests.services.test_restores_executed import (  # noqa: F401 (pytest collects what a module holds)
    test_a_restore_waits_for_the_backup_that_runs,
    test_no_backup_of_the_database_runs_while_it_is_restored,
    test_replacing_waits_for_a_safety_backup_and_keeps_the_old_database,
)
from tests.services.test_restores_interrupted import (  # noqa: F401
    test_a_cancelled_restore_whose_worker_died_is_settled_all_the_same,
    test_after_a_kill_the_target_is_settled_and_not_restored_again,
    test_the_journal_of_a_worker_that_lost_its_lease_is_not_written,
)
from tests.support.restore_tasks import archive, engine, instance  # noqa: F401 (fixtures)
