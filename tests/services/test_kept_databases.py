"""Kept databases: listed, removed by hand under their typed name, and by the timer; a removal that fails says why."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.support.app import ALICE, BOB, CHARLIE, RecordingQueue
from tests.support.factories import make_instance
from tests.support.restores import IDENTITY
from webapp.core.errors import Conflict, HoldfastError, InvalidInput, SourceError
from webapp.core.plans import PostgresPlan
from webapp.core.restore_plans import TargetIdentity
from webapp.core.status import ErrorCode, TaskStatus
from webapp.engine.report import Reporter
from webapp.services import kept_databases, sweeper, tasks
from webapp.services.kept_databases import execute_removal, request_due_removals, request_removal
from webapp.store.db import db, writing
from webapp.store.models import AuditEvent, KeptDatabase, KeptRemoval

pytestmark = pytest.mark.usefixtures("service")
Remove = Callable[[PostgresPlan, str, TargetIdentity, str, Reporter], None]


def clock() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def kept_id(service: Flask) -> int:
    instance = make_instance(clock())
    with writing() as session:
        kept = KeptDatabase(
            instance_id=instance.id,
            instance_name=instance.name,
            database_name="acme",
            kept_name="acme__before_20261122_023004",
            identity=IDENTITY.as_json(),
            filestore_path="/srv/files/acme__before_20261122_023004",
            created_at=clock(),
            remove_after=clock() + timedelta(days=7),
        )
        session.add(kept)
    return kept.id


def kept_row(kept_id: int) -> KeptDatabase:
    db.session.commit()
    return kept_databases.get_kept(kept_id)


def test_one_is_removed_by_hand_under_its_typed_name(kept_id: int) -> None:
    calls: list[tuple[str, TargetIdentity, str]] = []

    def remove(_server: PostgresPlan, name: str, identity: TargetIdentity, files: str, _reporter: Reporter) -> None:
        calls.append((name, identity, files))

    number = request_removal(kept_id, typed_name="acme__before_20261122_023004", actor=BOB, now=clock()).id
    same = request_removal(kept_id, typed_name="acme__before_20261122_023004", actor=BOB, now=clock()).id
    execute_removal(number, clock=clock, remove=remove)

    assert number == same
    assert calls == [("acme__before_20261122_023004", IDENTITY, "/srv/files/acme__before_20261122_023004")]
    kept = kept_row(kept_id)
    assert (kept.removed_at is not None, kept.removed_by) == (True, "manual:bob")
    assert kept_databases.list_kept() == []
    assert len(kept_databases.list_kept(with_removed=True)) == 1
    events = db.session.scalars(sa.select(AuditEvent.event).order_by(AuditEvent.id)).all()
    assert events == ["kept_database.removal_requested", "kept_database.removed"]
    with pytest.raises(Conflict):
        request_removal(kept_id, typed_name="acme__before_20261122_023004", actor=BOB, now=clock())


def test_another_name_removes_nothing(kept_id: int) -> None:
    with pytest.raises(InvalidInput):
        request_removal(kept_id, typed_name="acme", actor=ALICE, now=clock())
    with pytest.raises(HoldfastError, match="operators"):
        request_removal(kept_id, typed_name="acme__before_20261122_023004", actor=CHARLIE, now=clock())
    assert db.session.scalar(sa.select(sa.func.count()).select_from(KeptRemoval)) == 0


def test_the_sweeper_asks_for_what_is_due_once(kept_id: int, queue: RecordingQueue) -> None:
    sweeper.sweep(clock() + timedelta(days=6))
    assert queue.pushed == []

    sweeper.sweep(clock() + timedelta(days=8))
    sweeper.sweep(clock() + timedelta(days=8))

    removal = db.session.scalars(sa.select(KeptRemoval)).one()
    assert (removal.triggered_by, removal.kept_id) == ("timer", kept_id)
    assert [entry["task_id"] for entry in queue.pushed] == [removal.id]


def test_a_removal_that_fails_says_why_and_the_timer_waits(kept_id: int) -> None:
    def refuse(*_: object) -> None:
        raise SourceError("Somebody is connected.", code=ErrorCode.TARGET_BUSY, permanent=True)

    later = clock() + timedelta(days=8)
    request_due_removals(later)
    number = db.session.scalars(sa.select(KeptRemoval.id)).one()

    execute_removal(number, clock=lambda: later, remove=refuse)

    assert tasks.get_task(number).status is TaskStatus.FAILED
    kept = kept_row(kept_id)
    assert (kept.remove_error, kept.removed_at) == ("Somebody is connected.", None)
    assert kept.remove_after == later + timedelta(days=1)
    assert request_due_removals(later + timedelta(hours=1)) == 0
    assert request_due_removals(later + timedelta(hours=25)) == 1


def test_it_can_be_kept_longer(kept_id: int) -> None:
    kept_databases.set_removal_time(kept_id, None, actor=BOB, now=clock())

    assert request_due_removals(clock() + timedelta(days=400)) == 0
    with pytest.raises(InvalidInput):
        kept_databases.set_removal_time(kept_id, clock() - timedelta(days=1), actor=BOB, now=clock())
