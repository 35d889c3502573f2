"""PostgreSQL as the app's own database: tables as the models say, an audit log nobody rewrites, claims that exclude."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask

from tests.support.app import ALICE, RecordingQueue
from tests.support.app_on_postgres import PostgresInstallation, installed_on_postgres
from tests.support.factories import make_instance, make_job, make_run
from webapp.core.status import TaskStatus
from webapp.services import audit, runs, schedule
from webapp.store.claims import Holder, acquire_target, claim_task
from webapp.store.db import db, release, writing
from webapp.store.models import AuditEvent, Run, Slot, Task

NOW = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
DUE = datetime(2026, 11, 20, 2, 30, tzinfo=UTC)
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("service")]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresInstallation]:
    with installed_on_postgres(tmp_path_factory.mktemp("store_on_postgres")) as found:
        yield found


def together(app: Flask, count: int, action: object) -> None:
    """Call ``action(n)`` in as many threads, all at once."""
    barrier = threading.Barrier(count)

    def one(number: int) -> None:
        with app.app_context():
            barrier.wait(10)
            action(number)  # type: ignore[operator]
            release()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)


def test_the_migrations_build_what_the_models_say() -> None:
    context = MigrationContext.configure(db.session.connection(), opts={"compare_type": False})

    assert compare_metadata(context, db.metadata) == []


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_event SET actor = 'x'", "DELETE FROM audit_event", "TRUNCATE audit_event"]
)
def test_the_audit_log_cannot_be_rewritten(statement: str) -> None:
    audit.record_alone(ALICE, "job.changed", now=NOW)

    with pytest.raises(sa.exc.DBAPIError, match="append-only"):
        db.session.execute(sa.text(statement))

    db.session.rollback()
    assert audit.verify_chain().intact


def test_appending_to_the_audit_log_from_many_sides_keeps_one_chain(service: Flask) -> None:
    together(service, 6, lambda number: audit.record_alone(f"user{number}", "session.opened", now=NOW))

    report = audit.verify_chain()
    assert (report.intact, report.broken_at) == (True, None)
    assert db.session.scalar(sa.select(sa.func.count()).where(AuditEvent.event == "session.opened")) == 6


def test_many_schedulers_make_one_run_of_each_slot(service: Flask, queue: RecordingQueue) -> None:
    job_id = make_job(make_instance(NOW), NOW, cron="* * * * *").id
    release()

    for minute in range(1, 4):
        together(service, 4, lambda _number, minute=minute: schedule.reconcile(NOW + timedelta(minutes=minute)))

    assert db.session.scalar(sa.select(sa.func.count()).where(Slot.job_id == job_id)) == 3
    made = db.session.scalars(sa.select(Run).order_by(Run.scheduled_at)).all()
    assert [run.scheduled_at for run in made] == [NOW + timedelta(minutes=minute) for minute in range(1, 4)]


def test_a_task_is_claimed_by_one_of_many(service: Flask) -> None:
    run_id = make_run(make_job(make_instance(NOW), NOW), NOW).id
    release()
    won: list[Holder] = []

    def claim(number: int) -> None:
        with writing() as session:
            holder = claim_task(session, run_id, f"worker-{number}", now=NOW, lease_until=DUE)
        if holder is not None:
            won.append(holder)

    together(service, 6, claim)

    assert len(won) == 1
    task = db.session.get_one(Task, run_id)
    assert (task.status, task.fence, task.owner) == (TaskStatus.RUNNING, 1, won[0].owner)


def test_one_of_many_runs_gets_the_instance(service: Flask) -> None:
    job = make_job(make_instance(NOW), NOW)
    instance_id = job.instance_id
    holders = [Holder(make_run(job, NOW).id, 1, "worker") for _ in range(4)]
    release()
    got: list[int] = []

    def acquire(number: int) -> None:
        with writing() as session:
            if acquire_target(
                session, holders[number], instance_id=instance_id, database="acme", exclusive=True, now=NOW
            ):
                got.append(number)

    together(service, 4, acquire)

    assert len(got) == 1


def test_run_now_from_many_sides_makes_one_run(service: Flask) -> None:
    job_id = make_job(make_instance(NOW), NOW).id
    release()

    together(service, 4, lambda _number: runs.request_job(job_id, actor=ALICE, now=NOW))

    assert db.session.scalar(sa.select(sa.func.count()).select_from(Run)) == 1
