"""A restore as the services' tests drive it: its point, its check, its task made due, or left by a worker that died.

The fixtures are taken up by tests/services/conftest.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.support.app import BOB
from tests.support.factories import make_instance
from tests.support.restores import ScriptedEngine, finish_safety_run, lay_down_archive
from webapp.core.restore_plans import RestoreOptions
from webapp.core.status import Content, FilestoreKind, InstanceKind, RestoreOutcome, RestoreTarget
from webapp.services.restore_checks import execute_check
from webapp.services.restore_runs import execute_restore
from webapp.services.restores import RestoreWish, request_check, request_restore
from webapp.store.claims import claim_task
from webapp.store.db import db, release, writing
from webapp.store.models import Archive, Instance, Restore, Run, Task

Journal = Callable[[Mapping[str, Any]], None]


def clock() -> datetime:
    """The time as it is: leases and checks run out by it."""
    return datetime.now(UTC)


@pytest.fixture
def instance(service: Flask) -> Instance:
    """An Odoo whose filestore lies on this machine."""
    kind = {"kind": InstanceKind.ODOO_POSTGRES, "filestore_kind": FilestoreKind.LOCAL, "filestore_path": "/srv/files"}
    return make_instance(clock(), **kind)


@dataclass(frozen=True)
class Point:
    """A restore point by its numbers: rows do not outlive the sessions that tasks end."""

    id: int
    instance_id: int

    @property
    def row(self) -> Archive:
        return db.session.get_one(Archive, self.id, populate_existing=True)

    @property
    def instance(self) -> Instance:
        return db.session.get_one(Instance, self.instance_id)


@pytest.fixture
def archive(instance: Instance) -> Point:
    """A restore point of its database "acme", the filestore included."""
    return Point(lay_down_archive(instance, clock(), content=Content.DATABASE_AND_FILESTORE).id, instance.id)


@pytest.fixture
def engine() -> ScriptedEngine:
    """An engine whose every restore succeeds until the test says otherwise."""
    return ScriptedEngine()


def again(restore_id: int) -> Restore:
    """The restore as its row says now."""
    db.session.commit()
    return db.session.get_one(Restore, restore_id, populate_existing=True)


def checked(
    archive: Point, target: RestoreTarget, database: str, engine: ScriptedEngine, *, neutralise: bool | None = None
) -> int:
    """A check that was executed; copies are neutralised unless told otherwise."""
    is_copy = target is not RestoreTarget.REPLACE if neutralise is None else neutralise
    wish = RestoreWish(archive.id, target, archive.instance_id, database, RestoreOptions(neutralise=is_copy))
    check_id = request_check(wish, actor=BOB, now=clock()).id
    execute_check(check_id, clock=clock, look=engine.look)
    return check_id


def asked(archive: Point, target: RestoreTarget, database: str, engine: ScriptedEngine) -> int:
    """A restore that waits to be executed, its check behind it."""
    check_id = checked(archive, target, database, engine)
    return request_restore(check_id, typed_name=database, actor=BOB, now=clock()).id


def replacing(archive: Point, engine: ScriptedEngine) -> int:
    """A restore over "acme" whose safety backup is done."""
    number = asked(archive, RestoreTarget.REPLACE, "acme", engine)
    execute_restore(number, clock=clock, engine=engine.doors())
    run_id = db.session.scalars(sa.select(Run.id).where(Run.triggered_by == f"restore:{number}")).one()
    finish_safety_run(run_id, archive.instance, clock())
    make_due(number)
    return number


def make_due(restore_id: int) -> None:
    """Nothing to wait for any more: the next attempt may begin."""
    with writing() as session:
        session.get_one(Task, restore_id).not_before = None
    release()


def die_holding(restore_id: int, journal: dict[str, Any]) -> None:
    """As a worker that was killed in the middle left it; its lease has run out."""
    with writing() as session:
        late = clock() - timedelta(seconds=60)
        assert claim_task(session, restore_id, "gone:1", now=clock(), lease_until=late)
        restore = session.get_one(Restore, restore_id, populate_existing=True)
        if journal:
            restore.journal, restore.outcome = journal, RestoreOutcome.UNKNOWN
            names = {"fence": restore.fence, "temporary": "acme__restoring_x", "kept": "acme__before_x"}
            restore.details = {**restore.details, "names": names}
            restore.max_attempts = 9
    release()
