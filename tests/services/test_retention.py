"""Retention applied: held by clocks, people and use; tombstone, trash, gone; and nothing lost by a kill in between."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.support.app import ALICE, BOB
from tests.support.factories import make_archive, make_instance, make_job, make_run
from webapp.core.errors import Conflict, InvalidInput, NotFound
from webapp.core.naming import archive_directory_name
from webapp.core.retention_rules import RetentionError
from webapp.core.status import (
    ArchiveState,
    ErrorCode,
    RetentionMode,
    TaskStatus,
    TaskType,
    VerificationLevel,
    VerificationStatus,
)
from webapp.services import (
    archives,
    points,
    retention,
    retention_by_hand,
    retention_holds,
    retention_pages,
    tasks,
    trash,
)
from webapp.services.archive_use import find_use, uses_of
from webapp.services.retention_clock import confirm_clock, find_clock_fault, last_seen_at, watch_clock
from webapp.services.settings import change_settings, get_settings
from webapp.services.wiring import wired
from webapp.store.db import db, release, writing
from webapp.store.models import Archive, AuditEvent, Drill, Job, RetentionTask, Run

DAY = timedelta(days=1)


@pytest.fixture
def job(service: Flask, now: datetime) -> Iterator[Job]:
    """A job that keeps the last 2 and has made 6 daily archives, ids 1 (oldest, 6 days old) to 6; the clock is known."""
    job = make_job(make_instance(now), now, retention_mode=RetentionMode.KEEP_LAST_N, retention_value=2)
    for age in range(6, 0, -1):
        store(make_run(job, now - age * DAY), now - age * DAY)
    watch_clock(now)
    yield db.session.get_one(Job, 1)
    release()


def store(run: Run, taken_at: datetime, **values: object) -> Archive:
    name = f"1-acme-prod/{archive_directory_name(taken_at, run.database_name, run.id, 1)}/acme.zip"
    archive = make_archive(run, taken_at, relative_path=name, **values)
    path = Path(wired().archive_directory, name)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"archive")
    return archive


def state_of(archive_id: int) -> ArchiveState:
    release()
    return db.session.get_one(Archive, archive_id).state


def trashed() -> list[int]:
    release()
    return [archive.id for archive in trash.list_trash()]


def apply(now: datetime, database: str = "acme") -> RetentionTask:
    """As after a run: a task for the database, executed."""
    run = make_run(db.session.get_one(Job, 1), now, database_name=database, status=TaskStatus.COMPLETED)
    with writing() as session:
        task = retention.add_retention(session, run, now=now)
        assert task is not None
        session.flush()
        task_id = task.id
    retention.execute_retention(task_id, clock=lambda: now)
    release()
    return db.session.get_one(RetentionTask, task_id)


def pass_time(start: datetime, days: int) -> datetime:
    """The sweeper, once a day."""
    for day in range(1, days + 1):
        trash.resume_deletions(start + day * DAY)
    return start + days * DAY


def test_what_retention_drops_waits_in_the_trash_and_then_goes(job: Job, now: datetime) -> None:
    task = apply(now)

    assert (task.status, task.plan["dropped"]) == (TaskStatus.COMPLETED, [1, 2, 3, 4])
    assert trashed() == [1, 2, 3, 4]
    one = db.session.get_one(Archive, 1)
    assert (one.trashed_by, one.trash_until) == ("retention", now + 3 * DAY)
    assert "2 newer verified backups are kept (retention of Nightly)" in one.delete_reason
    later = pass_time(now, 2)
    assert trashed() == [1, 2, 3, 4]
    pass_time(later, 1)
    assert [state_of(n) for n in (1, 4, 5)] == [ArchiveState.DELETED, ArchiveState.DELETED, ArchiveState.STORED]
    assert len(list(wired().archive_directory.rglob("*.zip"))) == 2
    applied = db.session.scalars(sa.select(AuditEvent).where(AuditEvent.event == "retention.applied")).one()
    assert (applied.actor, applied.details["restore_points"]) == ("holdfast", "1, 2, 3, 4")


def test_ten_at_most_go_after_one_run_and_others_databases_are_left_alone(job: Job, now: datetime) -> None:
    for age in range(40, 0, -1):
        store(make_run(job, now - age * DAY, database_name="demo"), now - age * DAY)
    with writing() as session:
        session.get_one(Job, 1).retention_allowance = 38

    task = apply(now, "demo")

    assert len(trashed()) == 10
    assert {archive.database_name for archive in trash.list_trash()} == {"demo"}
    assert task.status is TaskStatus.COMPLETED_WITH_WARNINGS
    assert "38 restore points are due" in task.warnings[0]["message"]
    assert db.session.get_one(Job, 1).retention_allowance == 38


def test_more_than_the_cap_waits_for_a_person_who_may_agree(job: Job, now: datetime) -> None:
    for age in range(30, 6, -1):
        store(make_run(job, now - age * DAY), now - age * DAY)

    held = apply(now)
    assert trashed() == []
    assert held.warnings[0]["code"] == ErrorCode.RETENTION_HELD
    page = retention_pages.retention_page(db.session.get_one(Job, 1), now)
    assert page.needs_word
    with pytest.raises(Conflict):
        retention_by_hand.allow(1, digest="0" * 64, actor=BOB, now=now)
    version = db.session.get_one(Job, 1).version
    assert retention_by_hand.allow(1, digest=page.plan.digest, actor=BOB, now=now) == 28
    release()
    assert db.session.get_one(Job, 1).version == version  # nobody who edits the job is overtaken
    for expected in (10, 20, 28):
        apply(now)
        assert len(trashed()) == expected
    assert db.session.get_one(Job, 1).retention_allowance == 0


def test_a_person_applies_what_was_shown_and_nothing_frozen(job: Job, now: datetime) -> None:
    digest = retention.plan_for_job(job, now, confirmed=True).digest
    retention_holds.freeze(1, "looks odd", actor=BOB, now=now)
    frozen = retention.plan_for_job(db.session.get_one(Job, 1), now, confirmed=True)

    with pytest.raises(Conflict, match="looks odd"):
        retention_by_hand.apply_now(1, digest=frozen.digest, actor=BOB, now=now)
    retention_holds.unfreeze(1, seen_reason="looks odd", actor=BOB, now=now)
    for most in (0, -3):
        with pytest.raises(InvalidInput):
            retention_by_hand.apply_now(1, digest=digest, most=most, actor=BOB, now=now)
    points.pin(1, "", actor=BOB, now=now)
    with pytest.raises(Conflict, match="changed"):
        retention_by_hand.apply_now(1, digest=digest, actor=BOB, now=now)
    points.unpin(1, actor=BOB, now=now)
    applied = retention_by_hand.apply_now(1, digest=digest, most=3, actor=BOB, now=now)

    assert (applied.trashed, applied.remaining) == ((1, 2, 3), 1)


def test_a_frozen_job_deletes_nothing_and_its_trash_waits_too(job: Job, now: datetime) -> None:
    apply(now)
    retention_holds.freeze(1, "rows collapsed", actor=BOB, now=now)
    task = apply(now)

    assert task.warnings == [{"code": "retention_frozen", "message": "rows collapsed"}]
    later = pass_time(now, 5)
    assert trashed() == [1, 2, 3, 4]
    assert trash.why_kept_in_trash(db.session.get_one(Archive, 1), later) == "retention of its job is frozen"
    retention_holds.unfreeze(1, seen_reason="rows collapsed", actor=ALICE, now=later)
    trash.resume_deletions(later)
    assert trashed() == []


def test_a_clock_that_leaps_or_goes_back_deletes_nothing_until_a_person_believes_it(job: Job, now: datetime) -> None:
    with writing() as session:
        session.get_one(Job, 1).retention_mode = RetentionMode.OLDER_THAN_DAYS

    for wrong in (now + 3650 * DAY, now - 30 * DAY):
        task = apply(wrong)
        assert task.warnings[0]["code"] == ErrorCode.RETENTION_FROZEN
        assert trashed() == []
        assert last_seen_at() == now
    apply(now + DAY)
    assert trashed() != []
    assert trash.resume_deletions(now + 3650 * DAY) == 0
    assert find_clock_fault(now + 3650 * DAY)
    confirm_clock(actor=ALICE, now=now + 20 * DAY)
    assert not find_clock_fault(now + 20 * DAY)
    assert trash.resume_deletions(now + 20 * DAY) > 0


def test_the_clock_is_remembered_now_and_then_and_never_backward(service: Flask, now: datetime) -> None:
    assert watch_clock(now) == ""
    watch_clock(now + timedelta(minutes=9))
    assert last_seen_at() == now
    watch_clock(now + timedelta(minutes=11))
    assert watch_clock(now + timedelta(minutes=8)) == ""
    assert last_seen_at() == now + timedelta(minutes=11)
    assert "backward" in watch_clock(now)


def test_a_policy_that_cannot_be_meant_fails_the_task_and_drops_nothing(job: Job, now: datetime) -> None:
    for mode, value, rules in (
        (RetentionMode.KEEP_LAST_N, 0, {}),
        (RetentionMode.KEEP_LAST_N, -1, {}),
        (RetentionMode.RULES, 7, {}),
        (RetentionMode.RULES, 7, {"daily": -2}),
    ):
        with writing() as session:
            row = session.get_one(Job, 1)
            row.retention_mode, row.retention_value, row.retention_rules = mode, value, rules
        task = apply(now)
        assert (task.status, task.error_code) == (TaskStatus.FAILED, ErrorCode.INVALID_CONFIGURATION)
        assert trashed() == []
        with pytest.raises(RetentionError):
            retention.policy_of(db.session.get_one(Job, 1))
        assert retention_pages.policy_words(db.session.get_one(Job, 1)).endswith(".")


def test_what_is_in_use_is_neither_dropped_nor_taken_out_of_the_trash(job: Job, now: datetime) -> None:
    archives.request_verification(1, level=VerificationLevel.INTACT, actor=BOB, now=now)
    archives.record_download(db.session.get_one(Archive, 2), actor=BOB, now=now - timedelta(hours=5))
    archives.record_download(db.session.get_one(Archive, 3), actor=BOB, now=now - timedelta(hours=7))
    with writing():
        tasks.add(Drill(type=TaskType.DRILL, triggered_by="manual:bob", archive_id=4), now=now)

    assert uses_of(now) == {1: "being verified", 2: "downloaded a short while ago", 4: "in a restore drill"}
    assert retention.is_in_use(db.session.get_one(Archive, 4), now)
    assert apply(now).plan["dropped"] == [3]
    with pytest.raises(NotFound):
        archives.request_verification(3, level=VerificationLevel.INTACT, actor=BOB, now=now)
    assert find_use(3, now) == ""


def test_a_use_that_began_just_before_holds_a_trashed_one(job: Job, now: datetime) -> None:
    apply(now)
    with writing():
        tasks.add(Drill(type=TaskType.DRILL, triggered_by="manual:bob", archive_id=1), now=now)

    pass_time(now, 5)

    assert trashed() == [1]


def test_the_last_good_copy_does_not_leave_the_trash_by_itself(job: Job, now: datetime) -> None:
    apply(now)
    with writing() as session:
        for number in (5, 6):
            session.get_one(Archive, number).verification_status = VerificationStatus.FAILED

    later = pass_time(now, 5)

    assert trashed() == [1, 2, 3, 4]
    assert "no verified" in trash.why_kept_in_trash(db.session.get_one(Archive, 4), later)
    points.take_back(4, actor=BOB, now=later)
    trash.resume_deletions(later)
    assert trashed() == []
    assert state_of(4) is ArchiveState.STORED


def test_taking_back_gives_each_its_own_state(job: Job, now: datetime) -> None:
    with writing() as session:
        apart = session.get_one(Archive, 2)
        before = Path(wired().archive_directory, apart.relative_path)
        apart.state, apart.relative_path = ArchiveState.QUARANTINED, f"quarantine/{apart.relative_path}"
    after = Path(wired().archive_directory, db.session.get_one(Archive, 2).relative_path)
    after.parent.mkdir(parents=True)
    before.rename(after)
    Path(wired().archive_directory, db.session.get_one(Archive, 3).relative_path).unlink()
    for number in (1, 2, 3):
        digest = points.deletion_preview(number, now=now).digest
        points.delete(number, typed="", digest=digest, actor=BOB, now=now)

    for number in (1, 2, 3):
        points.take_back(number, actor=BOB, now=now)

    states = [state_of(number) for number in (1, 2, 3)]
    assert states == [ArchiveState.STORED, ArchiveState.QUARANTINED, ArchiveState.MISSING]
    assert db.session.get_one(Archive, 1).delete_reason == ""


def test_a_kill_between_the_steps_of_a_deletion_is_made_up_for(job: Job, now: datetime) -> None:
    with writing() as session:
        for number in (1, 2):
            session.get_one(Archive, number).state = ArchiveState.DELETING
    gone = Path(wired().archive_directory, db.session.get_one(Archive, 1).relative_path)
    gone.unlink()
    gone.parent.rmdir()

    assert trash.resume_deletions(now) == 2

    assert [state_of(number) for number in (1, 2)] == [ArchiveState.DELETED, ArchiveState.DELETED]
    assert trash.resume_deletions(now) == 0


def test_one_that_cannot_be_removed_does_not_hold_up_the_others(job: Job, now: datetime) -> None:
    with writing() as session:
        session.get_one(Archive, 1).relative_path = "1-acme-prod/no-archive-of-ours/acme.zip"
        for number in (1, 2):
            session.get_one(Archive, number).state = ArchiveState.DELETING
    stranger = Path(wired().archive_directory, "1-acme-prod/no-archive-of-ours/acme.zip")
    stranger.parent.mkdir()
    stranger.write_bytes(b"not ours")

    assert trash.resume_deletions(now) == 1

    assert stranger.exists()
    assert state_of(1) is ArchiveState.DELETING


def test_uploads_and_archives_of_deleted_jobs_are_never_planned(job: Job, now: datetime) -> None:
    with writing() as session:
        session.get_one(Archive, 1).job_id = None

    assert 1 not in {p.archive_id for p in retention.points_of(1, now)}
    preview = points.deletion_preview(1, now=now)
    assert (preview.others, preview.must_type) == (5, "")


def test_the_grace_is_a_setting(job: Job, now: datetime) -> None:
    wanted = get_settings()
    for days in (0, 91):
        with pytest.raises(InvalidInput):
            change_settings(type(wanted)(trash_days=days), actor=ALICE, now=now)
    change_settings(type(wanted)(trash_days=30), actor=ALICE, now=now)

    apply(now)

    assert db.session.get_one(Archive, 1).trash_until == now + 30 * DAY
