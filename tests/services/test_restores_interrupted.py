"""A restore that failed, was killed, cancelled or shut down: afterwards the target says what it is."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa

from tests.support.app import ALICE, BOB
from tests.support.restore_tasks import Journal, Point, again, asked, clock, die_holding, make_due, replacing
from tests.support.restores import ScriptedEngine
from webapp.core.errors import Conflict, HoldfastError, SourceError, TaskStopped
from webapp.core.restore_plans import RestorePlan
from webapp.core.status import ErrorCode, RestoreOutcome, RestoreTarget, TaskStatus
from webapp.services import sweeper, tasks
from webapp.services.restore_runs import execute_restore
from webapp.services.restores import RestoreWish, request_check
from webapp.store.claims import claim_task
from webapp.store.db import db, release, writing
from webapp.store.models import AuditEvent, KeptDatabase, Task

pytestmark = pytest.mark.usefixtures("service")


def test_a_failure_before_anything_was_touched_is_final(archive: Point, engine: ScriptedEngine) -> None:
    def during(_plan: RestorePlan, _journal: Journal) -> None:
        raise SourceError("The server refused.", hint="Ask it why.")

    engine.during = during
    number = asked(archive, RestoreTarget.NEW_DATABASE, "acme_copy", engine)

    execute_restore(number, clock=clock, engine=engine.doors())

    ended = again(number)
    assert (ended.status, ended.attempt, ended.outcome) == (TaskStatus.FAILED, 1, RestoreOutcome.UNTOUCHED)
    assert (ended.error_message, ended.hint) == ("The server refused.", "Ask it why.")
    assert engine.settled_plans == []
    assert db.session.scalars(sa.select(AuditEvent.event).order_by(AuditEvent.id)).all()[-1] == "restore.failed"


def test_a_failure_after_the_first_touch_is_settled_at_once(archive: Point, engine: ScriptedEngine) -> None:
    def during(_plan: RestorePlan, journal: Journal) -> None:
        journal({"made": "acme_copy__restoring"})
        raise HoldfastError("3 rows are missing in res_partner.", code=ErrorCode.RESTORE_DIFFERS)

    engine.during = during
    number = asked(archive, RestoreTarget.NEW_DATABASE, "acme_copy", engine)

    execute_restore(number, clock=clock, engine=engine.doors())

    ended = again(number)
    assert (ended.status, ended.error_code) == (TaskStatus.FAILED, ErrorCode.RESTORE_DIFFERS)
    assert ended.error_message == "3 rows are missing in res_partner. The target is as it was before."
    assert ended.outcome is RestoreOutcome.UNTOUCHED
    assert engine.settled_plans[0].journal == {"made": "acme_copy__restoring"}


def test_a_target_that_cannot_be_reached_is_looked_at_again_under_the_same_names(
    archive: Point, engine: ScriptedEngine
) -> None:
    def during(_plan: RestorePlan, journal: Journal) -> None:
        journal({"step": "load"})
        raise SourceError("The connection broke.", code=ErrorCode.CONNECTION_LOST, permanent=True)

    engine.during, engine.settled = during, SourceError("The server is away.")
    number = replacing(archive, engine)

    execute_restore(number, clock=clock, engine=engine.doors())

    between = again(number)
    assert (between.status, between.outcome) == (TaskStatus.PENDING, RestoreOutcome.UNKNOWN)
    with pytest.raises(Conflict, match="put in order"):
        tasks.cancel(number, actor=ALICE, now=clock())
    engine.settled = RestoreOutcome.REPLACED
    make_due(number)
    execute_restore(number, clock=clock, engine=engine.doors())

    ended = again(number)
    assert (ended.status, ended.outcome, ended.error_message) == (TaskStatus.COMPLETED, RestoreOutcome.REPLACED, "")
    first, last = engine.ran[0], engine.settled_plans[-1]
    assert (last.fence, last.temporary_name, last.kept_name) == (first.fence, first.temporary_name, first.kept_name)
    assert len(engine.ran) == 1
    assert db.session.scalars(sa.select(KeptDatabase)).one().kept_name == first.kept_name


@pytest.mark.parametrize(
    ("settled", "status", "outcome"),
    [
        (RestoreOutcome.UNTOUCHED, TaskStatus.FAILED, RestoreOutcome.UNTOUCHED),
        (RestoreOutcome.REPLACED, TaskStatus.COMPLETED, RestoreOutcome.REPLACED),
    ],
)
def test_after_a_kill_the_target_is_settled_and_not_restored_again(
    archive: Point,
    engine: ScriptedEngine,
    settled: RestoreOutcome,
    status: TaskStatus,
    outcome: RestoreOutcome,
) -> None:
    number = replacing(archive, engine)
    die_holding(number, {"step": "swap"})
    engine.settled = settled

    sweeper.sweep(clock())
    assert again(number).status is TaskStatus.PENDING
    make_due(number)
    execute_restore(number, clock=clock, engine=engine.doors())

    ended = again(number)
    assert (ended.status, ended.outcome, engine.ran) == (status, outcome, [])
    assert engine.settled_plans[0].journal == {"step": "swap"}
    assert engine.settled_plans[0].kept_name == "acme__before_x"
    if status is TaskStatus.FAILED:
        assert ended.error_code is ErrorCode.WORKER_LOST
        assert ended.error_message.endswith("The target is as it was before.")


def test_a_worker_killed_before_the_first_touch_is_followed_by_another(archive: Point, engine: ScriptedEngine) -> None:
    number = asked(archive, RestoreTarget.NEW_DATABASE, "acme_copy", engine)
    die_holding(number, {})

    sweeper.sweep(clock())
    make_due(number)
    execute_restore(number, clock=clock, engine=engine.doors())

    ended = again(number)
    assert (ended.status, ended.attempt) == (TaskStatus.COMPLETED, 2)
    assert (len(engine.ran), engine.settled_plans) == (1, [])


def test_a_cancelled_restore_whose_worker_died_is_settled_all_the_same(archive: Point, engine: ScriptedEngine) -> None:
    number = replacing(archive, engine)
    die_holding(number, {"step": "load"})
    tasks.cancel(number, actor=ALICE, now=clock())

    sweeper.sweep(clock())
    make_due(number)
    execute_restore(number, clock=clock, engine=engine.doors())

    ended = again(number)
    assert (ended.status, ended.error_code) == (TaskStatus.FAILED, ErrorCode.CANCELLED)
    assert ended.error_message == "Cancelled by alice. The target is as it was before."
    assert (ended.outcome, len(engine.settled_plans)) == (RestoreOutcome.UNTOUCHED, 1)


def test_a_dead_check_fails(archive: Point) -> None:
    wish = RestoreWish(archive.id, RestoreTarget.NEW_DATABASE, archive.instance_id, "acme_copy")
    check_id = request_check(wish, actor=BOB, now=clock()).id
    with writing() as session:
        assert claim_task(session, check_id, "gone:1", now=clock(), lease_until=clock() - timedelta(seconds=60))

    sweeper.sweep(clock())

    assert tasks.get_task(check_id).error_code is ErrorCode.WORKER_LOST


def test_the_journal_of_a_worker_that_lost_its_lease_is_not_written(archive: Point, engine: ScriptedEngine) -> None:
    touched: list[str] = []

    def during(plan: RestorePlan, journal: Journal) -> None:
        with writing() as session:
            session.get_one(Task, plan.task_id).fence += 1
        release()
        with pytest.raises(TaskStopped):
            journal({"step": "load"})
        raise TaskStopped("The lease was lost.", code=ErrorCode.LEASE_LOST)

    engine.during = during
    number = asked(archive, RestoreTarget.NEW_DATABASE, "acme_copy", engine)

    execute_restore(number, clock=clock, engine=engine.doors())

    found = again(number)
    assert (found.status, found.journal, found.outcome) == (TaskStatus.RUNNING, {}, RestoreOutcome.UNTOUCHED)
    assert (touched, engine.settled_plans) == ([], [])


def test_a_wish_to_stop_that_comes_after_the_swap_is_not_heard(archive: Point, engine: ScriptedEngine) -> None:
    def during(plan: RestorePlan, journal: Journal) -> None:
        journal({"step": "swap"})
        tasks.cancel(plan.task_id, actor=ALICE, now=clock())
        release()
        heard = threading.Event()
        heard.wait(1.5)  # the heartbeat hears of it meanwhile

    engine.during = during
    number = replacing(archive, engine)

    execute_restore(number, clock=clock, engine=engine.doors())

    ended = again(number)
    assert (ended.status, ended.outcome) == (TaskStatus.COMPLETED, RestoreOutcome.REPLACED)
    assert db.session.scalar(sa.select(sa.func.count()).select_from(KeptDatabase)) == 1


def test_a_cancelled_restore_puts_its_target_in_order_first(archive: Point, engine: ScriptedEngine) -> None:
    def during(plan: RestorePlan, journal: Journal) -> None:
        journal({"step": "load"})
        tasks.cancel(plan.task_id, actor=ALICE, now=clock())
        release()
        raise TaskStopped("Cancelled.", code=ErrorCode.CANCELLED)

    engine.during = during
    number = asked(archive, RestoreTarget.NEW_DATABASE, "acme_copy", engine)

    execute_restore(number, clock=clock, engine=engine.doors())

    ended = again(number)
    assert (ended.status, ended.error_code, ended.outcome) == (
        TaskStatus.FAILED,
        ErrorCode.CANCELLED,
        RestoreOutcome.UNTOUCHED,
    )
    assert (ended.journal, len(engine.settled_plans)) == ({}, 1)


def test_a_shutdown_undoes_what_was_begun_and_starts_again(archive: Point, engine: ScriptedEngine) -> None:
    def during(_plan: RestorePlan, journal: Journal) -> None:
        journal({"step": "load"})
        raise TaskStopped("The worker was shut down.", code=ErrorCode.SHUTDOWN)

    engine.during = during
    number = asked(archive, RestoreTarget.NEW_DATABASE, "acme_copy", engine)
    execute_restore(number, clock=clock, engine=engine.doors())
    assert (again(number).status, again(number).outcome) == (TaskStatus.PENDING, RestoreOutcome.UNTOUCHED)

    engine.during = None
    make_due(number)
    execute_restore(number, clock=clock, engine=engine.doors())

    assert again(number).status is TaskStatus.COMPLETED
    assert (len(engine.ran), len(engine.settled_plans)) == (2, 1)
