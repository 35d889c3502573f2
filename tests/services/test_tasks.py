"""Looking for tasks: the newest of a type, and the one that is at work."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from tests.support.factories import make_instance, make_job, make_run
from webapp.core.status import TaskStatus
from webapp.services.tasks import find_active, find_newest
from webapp.store.db import writing
from webapp.store.models import ConnectionTest, Job, Run, Task

NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
pytestmark = pytest.mark.usefixtures("service")


@pytest.fixture
def job() -> Job:
    return make_job(make_instance(NOW), NOW)


def test_the_newest_task_is_found_whatever_its_state(job: Job) -> None:
    make_run(job, NOW)
    ended = make_run(job, NOW, status=TaskStatus.FAILED)

    assert find_newest(Run, Run.job_id == job.id) is ended


def test_the_task_at_work_is_found_behind_newer_ones(job: Job) -> None:
    waiting = make_run(job, NOW)
    make_run(job, NOW, status=TaskStatus.COMPLETED)

    assert find_active(Run, Run.job_id == job.id) is waiting


def test_there_is_none_where_the_conditions_hold_for_none(job: Job) -> None:
    make_run(job, NOW)

    assert find_newest(Run, Run.job_id == job.id + 1) is None
    assert find_newest(ConnectionTest) is None
    assert find_active(Run, Run.database_name == "other") is None


def test_what_is_found_is_as_it_is_now(job: Job) -> None:
    run = make_run(job, NOW)
    with writing() as session:
        other = sa.update(Task).where(Task.id == run.id).values(title="other")
        session.execute(other, execution_options={"synchronize_session": False})

        found = find_newest(Run)

    assert found is not None
    assert found.title == "other"
