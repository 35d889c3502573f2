"""The calendar: each slot exactly once, whatever happens to Redis, the clock or a second scheduler."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.support.app import ALICE, RecordingQueue
from tests.support.factories import make_instance, make_job
from webapp.core.status import DatabaseSelection, ErrorCode, MissedPolicy, OverlapPolicy, SlotState, TaskStatus
from webapp.services import runs, schedule
from webapp.store.db import db, writing
from webapp.store.models import FanOut, Run, Slot

NOW = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
DUE = datetime(2026, 11, 20, 2, 30, tzinfo=UTC)
pytestmark = pytest.mark.usefixtures("service")


def all_runs() -> list[Run]:
    db.session.commit()
    return list(db.session.scalars(sa.select(Run).order_by(Run.id)))


def all_slots() -> list[Slot]:
    db.session.commit()
    return list(db.session.scalars(sa.select(Slot).order_by(Slot.scheduled_at)))


def job(**values: Any) -> Any:
    instance = make_instance(NOW, **values.pop("instance", {}))
    return make_job(instance, NOW, **values)


def test_a_due_slot_becomes_one_run_in_the_queue(queue: RecordingQueue) -> None:
    job()

    schedule.reconcile(DUE)

    (run,) = all_runs()
    assert (run.scheduled_at, run.triggered_by, run.database_name) == (DUE, "scheduled", "acme")
    assert [entry["queue_task_id"] for entry in queue.pushed] == [f"run-{run.id}"]
    assert queue.pushed[0]["description"] == "acme-prod / acme: Nightly"


def test_nothing_happens_before_the_slot_is_due() -> None:
    job()

    schedule.reconcile(DUE - timedelta(seconds=1))

    assert all_runs() == []


def test_reconciling_again_changes_nothing(queue: RecordingQueue) -> None:
    job()

    for seconds in range(0, 60, 5):
        schedule.reconcile(DUE + timedelta(seconds=seconds))

    assert len(all_runs()) == 1
    assert len(queue.pushed) == 1


def test_a_flushed_queue_is_filled_again_without_a_second_run(queue: RecordingQueue) -> None:
    job()
    schedule.reconcile(DUE)
    queue.pushed.clear()

    schedule.reconcile(DUE + timedelta(seconds=5))

    assert len(all_runs()) == 1
    assert [entry["task_id"] for entry in queue.pushed] == [all_runs()[0].id]


def test_slots_are_kept_while_redis_is_away_and_pushed_afterwards(queue: RecordingQueue) -> None:
    job(cron="* * * * *")
    queue.down = True
    for minute in range(1, 4):
        schedule.reconcile(NOW + timedelta(minutes=minute))
    assert len(all_slots()) == 3

    queue.down = False
    schedule.reconcile(NOW + timedelta(minutes=3, seconds=5))

    assert len(queue.pushed) == sum(run.status is TaskStatus.PENDING for run in all_runs()) == 1


def test_several_missed_slots_leave_one_to_run_and_the_others_as_missed() -> None:
    job(cron="0 * * * *", missed_policy=MissedPolicy.CATCH_UP)

    schedule.reconcile(NOW + timedelta(hours=5, minutes=20))

    slots = all_slots()
    assert [slot.state for slot in slots] == [SlotState.MISSED] * 4 + [SlotState.FANNED_OUT]
    assert slots[-1].missed_count == 4
    assert len(all_runs()) == 1


def test_a_job_that_skips_missed_slots_runs_none_of_them_late() -> None:
    job(cron="0 * * * *", missed_policy=MissedPolicy.SKIP)

    schedule.reconcile(NOW + timedelta(hours=5, minutes=20))

    assert {slot.state for slot in all_slots()} == {SlotState.MISSED}
    assert all_runs() == []


def test_years_of_silence_do_not_fill_the_table() -> None:
    job(cron="* * * * *")

    schedule.reconcile(NOW + timedelta(days=800))

    assert len(all_slots()) <= schedule.MOST_MISSED_ROWS + 1
    assert len(all_runs()) == 1


def test_several_databases_become_one_run_each() -> None:
    job(instance={"database_selection": DatabaseSelection.SELECTED, "databases": ["acme", "demo"]})

    schedule.reconcile(DUE)

    assert sorted(run.database_name for run in all_runs()) == ["acme", "demo"]


def test_all_databases_are_looked_up_by_a_task_of_their_own() -> None:
    job(instance={"database_selection": DatabaseSelection.ALL, "databases": []})

    schedule.reconcile(DUE)

    assert all_runs() == []
    assert [task.triggered_by for task in db.session.scalars(sa.select(FanOut))] == ["scheduled"]


def test_a_slot_that_falls_onto_a_running_run_is_skipped_visibly() -> None:
    job(cron="* * * * *", overlap_policy=OverlapPolicy.SKIP)
    schedule.reconcile(NOW + timedelta(minutes=1))

    schedule.reconcile(NOW + timedelta(minutes=2))

    first, second = all_runs()
    assert first.status is TaskStatus.PENDING
    assert second.status is TaskStatus.COMPLETED_WITH_WARNINGS
    assert second.error_code is ErrorCode.SKIPPED_OVERLAP


def test_runs_wait_for_each_other_when_the_policy_says_queue() -> None:
    job(cron="* * * * *", overlap_policy=OverlapPolicy.QUEUE)

    for minute in (1, 2):
        schedule.reconcile(NOW + timedelta(minutes=minute))

    assert [run.status for run in all_runs()] == [TaskStatus.PENDING] * 2


def test_a_paused_instance_starts_nothing_and_says_so() -> None:
    made = job()
    with writing():
        made.instance.paused_at = NOW

    schedule.reconcile(DUE)

    assert [(slot.state, slot.note) for slot in all_slots()] == [(SlotState.SKIPPED, "The instance is paused.")]
    assert all_runs() == []


def test_a_disabled_job_leaves_the_calendar() -> None:
    made = job()
    with writing():
        made.enabled = False
    schedule.reconcile_job(made.id, NOW)

    schedule.reconcile(DUE)

    assert all_slots() == []


def test_spread_delays_the_start_by_a_fixed_share(queue: RecordingQueue) -> None:
    made = job(spread_seconds=600)
    wait = schedule.spread_of(made, DUE)
    assert timedelta() <= wait <= timedelta(seconds=600)

    schedule.reconcile(DUE + wait - timedelta(seconds=1))
    before = len(all_runs())
    schedule.reconcile(DUE + wait)

    assert (before, len(all_runs())) == (0 if wait else 1, 1)


def test_a_wait_until_later_goes_through_the_scheduler_of_the_queue(queue: RecordingQueue) -> None:
    made = job()
    (run,) = runs.request_job(made.id, actor=ALICE, now=NOW)
    queue.pushed.clear()
    with writing():
        run.not_before = NOW + timedelta(minutes=5)

    schedule.push_pending(NOW)

    assert [entry["at"] for entry in queue.later] == [NOW + timedelta(minutes=5)]


def test_run_now_twice_gives_the_same_run() -> None:
    made = job()

    first = runs.request_job(made.id, actor=ALICE, now=NOW)
    second = runs.request_job(made.id, actor=ALICE, now=NOW + timedelta(seconds=1))

    assert [task.id for task in first] == [task.id for task in second]
    assert first[0].triggered_by == "manual:alice"


def test_a_job_settled_by_a_clock_far_ahead_wakes_when_the_clock_is_right() -> None:
    made = job()
    with writing():
        made.cursor_at = made.next_slot_at = NOW + timedelta(days=900)

    schedule.reconcile(NOW)
    schedule.reconcile(DUE)

    assert [run.scheduled_at for run in all_runs()] == [DUE]


@pytest.mark.slow
def test_many_schedulers_at_once_make_each_slot_once(app: Flask) -> None:
    made = job(cron="* * * * *", overlap_policy=OverlapPolicy.QUEUE)
    job_id = made.id
    moments = [NOW + timedelta(minutes=n) for n in range(1, 31)]
    start = threading.Barrier(4)
    errors: list[BaseException] = []

    def scheduler() -> None:
        with app.app_context():
            start.wait()
            for moment in moments:
                try:
                    schedule.reconcile(moment)
                except sa.exc.OperationalError as error:
                    errors.append(error)

    threads = [threading.Thread(target=scheduler) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    slots = [slot for slot in all_slots() if slot.job_id == job_id]
    assert [slot.scheduled_at for slot in slots] == moments
    assert len(all_runs()) == sum(slot.state is SlotState.FANNED_OUT for slot in slots)


def test_a_clock_that_was_set_back_stops_no_job() -> None:
    made = job(cron="* * * * *")
    schedule.reconcile(NOW + timedelta(minutes=5))
    with writing() as session:
        schedule.settle_new_job(session.get_one(type(made), made.id), NOW + timedelta(minutes=2))

    for minute in range(3, 8):
        schedule.reconcile(NOW + timedelta(minutes=minute))

    times = [slot.scheduled_at for slot in all_slots()]
    assert times == [NOW + timedelta(minutes=minute) for minute in range(1, 8)]


def test_a_job_that_cannot_be_scheduled_holds_up_no_other() -> None:
    broken, sound = (job(instance={"name": name}).id for name in ("one", "two"))
    with writing() as session:
        session.execute(sa.text("UPDATE job SET overlap_policy = 'no such word' WHERE id = :id"), {"id": broken})

    schedule.reconcile(DUE)

    assert [run.job_id for run in all_runs()] == [sound]


def test_a_database_named_twice_is_backed_up_once() -> None:
    job(instance={"databases": ["acme", "acme"]})

    schedule.reconcile(DUE)

    assert [run.database_name for run in all_runs()] == ["acme"]
