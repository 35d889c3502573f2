"""What the sweeper leaves in the history when a worker died."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.support.factories import make_instance, make_job
from webapp.core.status import DatabaseSelection, ErrorCode, TaskStatus
from webapp.services import schedule, sweeper
from webapp.store.claims import claim_task
from webapp.store.db import db, writing
from webapp.store.models import FanOut, Run, Slot

NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
DUE = NOW.replace(hour=2) + timedelta(days=1)
pytestmark = pytest.mark.usefixtures("service")


def test_a_slot_whose_databases_nobody_could_find_is_a_failed_run(service: Flask) -> None:
    make_job(make_instance(NOW), NOW, database_selection=DatabaseSelection.ALL)
    schedule.reconcile(DUE)
    finder = db.session.scalars(sa.select(FanOut)).one()
    with writing() as session:
        claim_task(session, finder.id, "a worker that dies", now=DUE, lease_until=DUE + timedelta(seconds=60))

    sweeper.sweep(DUE + timedelta(seconds=90))

    db.session.commit()
    run = db.session.scalars(sa.select(Run)).one()
    assert (run.database_name, run.status, run.error_code) == ("*", TaskStatus.FAILED, ErrorCode.WORKER_LOST)
    assert run.slot_id == db.session.scalars(sa.select(Slot)).one().id
