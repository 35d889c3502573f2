"""Jobs: on the calendar from the moment they are saved, never in the past, and never at the cost of archives."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.app import ALICE, BOB, RecordingQueue
from tests.support.drafts import NIGHTLY, ODOO_HTTP, ODOO_POSTGRES, POSTGRES, changed, changed_job
from webapp.core.cron import BuilderMode, build
from webapp.core.errors import Conflict, NotFound
from webapp.core.status import ArchiveFormat, ArchiveState, Content, VerificationStatus
from webapp.services import instances, jobs
from webapp.services.cron_preview import preview_cron
from webapp.services.drafts import InvalidDraft, StaleDraft
from webapp.services.job_preview import preview_job
from webapp.services.job_rules import JobDraft, draft_of, new_draft, read_schedule
from webapp.store.db import db, writing
from webapp.store.models import Archive, AuditEvent, Instance, Job, Run, Slot

pytestmark = pytest.mark.usefixtures("service")


@pytest.fixture
def acme(now: datetime) -> Instance:
    return instances.create_instance(ODOO_HTTP, actor=ALICE, now=now)


@pytest.fixture
def globex(now: datetime) -> Instance:
    return instances.create_instance(ODOO_POSTGRES, actor=ALICE, now=now)


def test_a_new_job_is_on_the_calendar_at_once_and_nothing_in_the_past_fires(acme: Instance, now: datetime) -> None:
    job = jobs.create_job(acme.id, NIGHTLY, actor=BOB, now=now)

    assert job.next_slot_at == datetime(2026, 11, 21, 1, 30, tzinfo=UTC)
    assert job.cursor_at == now
    assert db.session.scalar(sa.select(sa.func.count()).select_from(Slot)) == 0


def test_a_changed_schedule_counts_from_now_and_another_change_leaves_it(acme: Instance, now: datetime) -> None:
    job = jobs.create_job(acme.id, NIGHTLY, actor=BOB, now=now)
    later = now + timedelta(hours=2)
    renamed = changed_job(draft_of(job), name="Every night")
    job = jobs.update_job(job.id, renamed, version=job.version, actor=BOB, now=later)
    assert job.cursor_at == now

    moved = changed_job(draft_of(job), frequency="cron", cron="0 * * * *")
    job = jobs.update_job(job.id, moved, version=job.version, actor=BOB, now=later)

    assert job.cursor_at == later
    assert job.next_slot_at == datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
    assert db.session.scalar(sa.select(sa.func.count()).select_from(Slot)) == 0


def test_a_job_that_is_switched_on_again_makes_up_for_nothing(acme: Instance, now: datetime) -> None:
    job = jobs.create_job(acme.id, NIGHTLY, actor=BOB, now=now)
    assert jobs.set_enabled(job.id, False, actor=BOB, now=now).next_slot_at is None

    back = jobs.set_enabled(job.id, True, actor=BOB, now=now + timedelta(days=10))

    assert back.next_slot_at == datetime(2026, 12, 1, 1, 30, tzinfo=UTC)
    assert db.session.scalar(sa.select(sa.func.count()).select_from(Slot)) == 0


def test_two_people_cannot_overwrite_each_other(acme: Instance, now: datetime) -> None:
    job = jobs.create_job(acme.id, NIGHTLY, actor=BOB, now=now)
    seen = job.version
    jobs.update_job(job.id, changed_job(draft_of(job), retries="5"), version=seen, actor=ALICE, now=now)

    with pytest.raises(StaleDraft):
        jobs.update_job(job.id, changed_job(draft_of(job), retries="0"), version=seen, actor=BOB, now=now)

    assert jobs.get_job(job.id).retries == 5


def test_deleting_a_job_touches_neither_archives_nor_history(
    globex: Instance, now: datetime, queue: RecordingQueue
) -> None:
    job = jobs.create_job(globex.id, NIGHTLY, actor=BOB, now=now)
    [task] = jobs.run_now(job.id, actor=BOB, now=now)
    with writing() as session:
        session.add(archive(globex, job, now))

    jobs.delete_job(job.id, actor=BOB, now=now)

    with pytest.raises(NotFound):
        jobs.get_job(job.id)
    assert db.session.scalars(sa.select(Archive)).one().state is ArchiveState.STORED
    run = db.session.get_one(Run, task.id)
    assert (run.job_id, run.cancel_requested_at) == (job.id, None)
    assert db.session.get_one(Job, job.id).next_slot_at is None
    with pytest.raises(NotFound):
        jobs.run_now(job.id, actor=BOB, now=now)


def test_run_now_is_rung_once_while_it_works(globex: Instance, now: datetime, queue: RecordingQueue) -> None:
    job = jobs.create_job(globex.id, NIGHTLY, actor=BOB, now=now)

    first = jobs.run_now(job.id, actor=BOB, now=now)
    second = jobs.run_now(job.id, actor=BOB, now=now)

    assert [task.id for task in first] == [task.id for task in second]
    assert first[0].triggered_by == "manual:bob"
    assert len(queue.pushed) == 1


def test_an_instance_without_an_enabled_job_cannot_be_backed_up(acme: Instance, now: datetime) -> None:
    with pytest.raises(Conflict, match="no enabled job"):
        jobs.run_all(acme.id, actor=BOB, now=now)


def test_the_audit_log_names_the_fields_that_changed(acme: Instance, now: datetime) -> None:
    job = jobs.create_job(acme.id, NIGHTLY, actor=BOB, now=now)
    jobs.update_job(job.id, changed_job(draft_of(job), retention_value="30"), version=job.version, actor=BOB, now=now)

    event = db.session.scalars(sa.select(AuditEvent).where(AuditEvent.event == "job.changed")).one()

    assert event.details == {"retention_value": [7, 30]}
    assert (event.actor, event.subject_kind, event.subject_id) == ("bob", "job", job.id)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "name"),
    ({"cron": "* * * *"}, "cron"),
    ({"cron": "0 0 31 2 *"}, "cron"),
    ({"cron": "@reboot"}, "cron"),
    ({"cron": "0 0 0 * * *"}, "cron"),
    ({"frequency": "weekly", "weekdays": ()}, "weekdays"),
    ({"frequency": "weekly", "weekdays": ("8",)}, "weekdays"),
    ({"frequency": "daily", "at": "24:00"}, "at"),
    ({"frequency": "hourly", "every_hours": "5"}, "frequency"),
    ({"frequency": "monthly", "day_of_month": "32"}, "day_of_month"),
    ({"frequency": "yearly"}, "frequency"),
    ({"time_zone": "Mars/Olympus"}, "time_zone"),
    ({"time_zone": "../../etc/passwd"}, "time_zone"),
    ({"retention_value": "0"}, "retention_value"),
    ({"retention_value": "-1"}, "retention_value"),
    ({"retention_mode": "forever"}, "retention_mode"),
    ({"time_limit_minutes": "0"}, "time_limit_minutes"),
    ({"time_limit_minutes": "10081"}, "time_limit_minutes"),
    ({"retries": "11"}, "retries"),
    ({"spread_seconds": "3601"}, "spread_seconds"),
    ({"cron": "*/5 * * * *", "spread_seconds": "300"}, "spread_seconds"),
    ({"verification_level": "vague"}, "verification_level"),
    ({"overlap_policy": "fight"}, "overlap_policy"),
    ({"missed_policy": "panic"}, "missed_policy"),
    ({"content": "photos"}, "content"),
    ({"format": "custom"}, "format"),
    ({"content": "database", "format": "zip"}, "format"),
    ({"database_selection": "single", "databases": ()}, "databases"),
]


@pytest.mark.parametrize(("fields", "field"), REFUSED)
def test_what_cannot_be_used_is_refused_at_its_field(
    acme: Instance, now: datetime, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidDraft) as refused:
        jobs.create_job(acme.id, changed_job(NIGHTLY, **fields), actor=BOB, now=now)

    assert field in {problem.field for problem in refused.value.problems}
    assert jobs.list_jobs(acme.id) == []


def test_a_job_stays_within_the_databases_of_its_instance(globex: Instance, now: datetime) -> None:
    inside = changed_job(NIGHTLY, database_selection="single", databases=("globex",))
    assert jobs.create_job(globex.id, inside, actor=BOB, now=now).databases == ["globex"]

    for fields in ({"database_selection": "single", "databases": ("secret",)}, {"database_selection": "all"}):
        with pytest.raises(InvalidDraft):
            jobs.create_job(globex.id, changed_job(NIGHTLY, **fields), actor=BOB, now=now)


def test_a_server_without_odoo_has_no_filestore_and_newer_odoo_may_leave_it_out(now: datetime) -> None:
    server = instances.create_instance(POSTGRES, actor=ALICE, now=now)
    with pytest.raises(InvalidDraft, match="no filestore"):
        jobs.create_job(server.id, NIGHTLY, actor=BOB, now=now)
    assert new_draft(server).content == "database"
    acme = instances.create_instance(changed(ODOO_HTTP, name="new"), actor=ALICE, now=now)
    with writing():
        instances.get_instance(acme.id).odoo_version = "19.0"

    job = jobs.create_job(acme.id, changed_job(NIGHTLY, content="database"), actor=BOB, now=now)

    assert job.format is ArchiveFormat.ZIP


@pytest.mark.parametrize(
    "expression",
    ["30 2 * * *", "0 * * * *", "17 */6 * * *", "5 4 * * 1-5", "0 3 * * 0", "45 23 31 * *", "0 0 1 1 *",
     "*/15 8-18 * * 1-5", "7 1,13 * * *", "0 0 1 * 1", "@weekly", "0 4 * * SUN,WED", "30 2 * * 7"],
)  # fmt: skip
def test_opening_and_saving_a_job_keeps_its_schedule(acme: Instance, now: datetime, expression: str) -> None:
    job = jobs.create_job(acme.id, changed_job(NIGHTLY, cron=expression), actor=BOB, now=now)
    stored, slot = job.cron, job.next_slot_at

    saved = jobs.update_job(job.id, draft_of(job), version=job.version, actor=BOB, now=now + timedelta(minutes=1))

    assert saved.next_slot_at == slot
    if draft_of(saved).frequency == "cron":
        assert saved.cron == stored
    assert read_schedule(draft_of(saved)).canonical == read_schedule(JobDraft(cron=stored)).canonical


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    mode=st.sampled_from(list(BuilderMode)[:4]),
    hour=st.integers(0, 23),
    minute=st.integers(0, 59),
    days=st.sets(st.integers(1, 7), min_size=1),
    day=st.integers(1, 31),
    step=st.sampled_from([1, 2, 3, 4, 6, 8, 12]),
)
def test_every_state_of_the_builder_comes_back_as_it_was(
    mode: BuilderMode, hour: int, minute: int, days: set[int], day: int, step: int
) -> None:
    parts: dict[str, Any] = {"hourly": {"every_hours": step}, "weekly": {"weekdays": tuple(days)}}.get(mode.value, {})
    parts |= {"day_of_month": day} if mode.value == "monthly" else {}
    parts |= {} if mode.value == "hourly" else {"hour": hour}
    expression = build(mode.value, minute=minute, **parts)
    job = Job(cron=expression, time_zone="UTC", name="x", databases=[])
    for column, value in stored_defaults().items():
        setattr(job, column, value)

    draft = draft_of(job)

    assert draft.frequency == mode.value
    assert read_schedule(draft).expression == expression


def stored_defaults() -> dict[str, Any]:
    columns = sa.inspect(Job).columns
    names = ("content", "format", "overlap_policy", "missed_policy", "retention_mode", "verification_level",
             "spread_seconds", "retention_value", "time_limit_seconds", "retries", "retry_delay_seconds", "enabled",
             "drill_policy", "drill_value")  # fmt: skip
    empty: dict[str, Any] = {"database_selection": None, "retention_rules": {}, "drill_checks": [], "paths": []}
    return {name: columns[name].default.arg for name in names} | empty


def test_the_preview_tells_clock_changes_and_the_longest_gap(now: datetime) -> None:
    spring = preview_cron("30 2 * * *", "Europe/Brussels", now=datetime(2027, 3, 26, 12, tzinfo=UTC))
    weekdays = preview_cron("30 2 * * 1-5", "UTC", now=now)

    assert [run.local.strftime("%H:%M") for run in spring.runs] == ["02:30", "03:00", "02:30", "02:30", "02:30"]
    assert "02:30 does not exist on 28 March 2027" in spring.runs[1].note
    assert weekdays.longest_gap == timedelta(days=3)


def test_the_preview_of_a_job_shows_what_would_go_and_changes_nothing(globex: Instance, now: datetime) -> None:
    job = jobs.create_job(globex.id, NIGHTLY, actor=BOB, now=now)
    with writing() as session:
        for days in range(5):
            session.add(archive(globex, job, now - timedelta(days=days)))
    before = snapshot()

    shown = preview_job(changed_job(draft_of(job), retention_value="2"), globex, job, now)

    assert shown.retention is not None
    assert (len(shown.retention.keep), len(shown.retention.drop)) == (2, 3)
    assert snapshot() == before


def test_the_preview_warns_of_runs_that_take_longer_than_the_time_between_them(globex: Instance, now: datetime) -> None:
    job = jobs.create_job(globex.id, NIGHTLY, actor=BOB, now=now)
    for number in range(3):
        [task] = jobs.run_now(job.id, actor=BOB, now=now)
        with writing() as session:
            run = session.get_one(Run, task.id)
            run.status, run.started_at, run.completed_at = "completed", now, now + timedelta(minutes=20 + number)

    shown = preview_job(changed_job(draft_of(job), frequency="cron", cron="*/10 * * * *"), globex, job, now)

    assert shown.typical_duration == timedelta(minutes=21)
    assert "10 min apart" in shown.warnings[0]


def test_the_preview_of_nonsense_says_why_and_does_not_fail(globex: Instance, now: datetime) -> None:
    shown = preview_job(changed_job(NIGHTLY, cron="nonsense", retention_value="many"), globex, None, now)

    assert shown.cron is None
    assert {problem.field for problem in shown.problems} == {"cron", "retention_value"}


def snapshot() -> list[Any]:
    return [
        [tuple(row) for row in db.session.execute(sa.select(model.__table__).order_by(sa.text("1")))]
        for model in (Archive, Job, Slot, Run, AuditEvent)
    ]


def archive(instance: Instance, job: Job, taken_at: datetime) -> Archive:
    return Archive(
        job_id=job.id,
        instance_id=instance.id,
        instance_name=instance.name,
        database_name="globex",
        content=Content.DATABASE_AND_FILESTORE,
        format=ArchiveFormat.ZIP,
        relative_path=f"x/{taken_at.isoformat()}",
        size_bytes=10,
        sha256="0" * 64,
        taken_at=taken_at,
        created_at=taken_at,
        verification_status=VerificationStatus.PASSED,
    )
