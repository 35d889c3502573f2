"""The sentinel at the end of a run: it warns in words, freezes the job's retention, and leaves everything else as it was."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.services.test_backups import PASSWORD, Place, job_for
from tests.support.factories import make_archive, make_instance, make_job, make_run
from tests.support.odoo_like import Database, OdooLike
from tests.support.odoo_zip import attachments, dump_sql, odoo_zip
from webapp.core.sentinel import Fingerprint
from webapp.core.status import ErrorCode, TaskStatus, VerificationStatus
from webapp.services.sentinel import watch
from webapp.store.db import db, writing
from webapp.store.models import Archive, AuditEvent, Job, Run, TaskLog

pytestmark = pytest.mark.usefixtures("service")
NORMAL = Fingerprint(
    size_bytes=10_000_000, row_total=5000, tables={"public.res_partner": 4000}, administrators=("admin",)
)


@pytest.fixture
def place(service: Flask) -> Iterator[Place]:
    with OdooLike(master_password=PASSWORD) as odoo:
        odoo.databases["acme"] = Database(zip_bytes=odoo_zip("acme", dump=dump_sql(attachments(12), partners=3000)))
        yield Place(odoo, job_for(odoo).id)


@pytest.fixture
def job(service: Flask, now: datetime) -> Job:
    return make_job(make_instance(now), now)


def settled(job: Job, at: datetime, fingerprint: Fingerprint, **values: object) -> tuple[Run, list[dict[str, str]]]:
    """A completed run with an archive of this fingerprint, watched."""
    run = make_run(job, at, status=values.pop("status", TaskStatus.COMPLETED), completed_at=at)
    archive = make_archive(run, at, relative_path=f"1-acme/{run.id}/a.zip", fingerprint=fingerprint.as_json(), **values)
    with writing() as session:
        warnings = watch(session, session.get_one(Run, run.id), session.get_one(Archive, archive.id), at)
    return run, warnings


def history(job: Job, now: datetime, days: int = 5) -> None:
    for day in range(days, 0, -1):
        settled(job, now - timedelta(days=day), NORMAL)


def frozen(job: Job) -> tuple[datetime | None, str]:
    db.session.expire_all()
    found = db.session.get_one(Job, job.id)
    return found.retention_frozen_at, found.retention_frozen_reason


def test_a_normal_history_warns_of_nothing(job: Job, now: datetime) -> None:
    history(job, now)

    run, warnings = settled(job, now, NORMAL)

    assert warnings == []
    assert (run.status, run.warnings) == (TaskStatus.COMPLETED, [])
    assert frozen(job) == (None, "")


def test_a_blow_freezes_retention_and_says_why(job: Job, now: datetime) -> None:
    history(job, now)

    run, warnings = settled(job, now, Fingerprint(size_bytes=10_000_000, administrators=("admin", "mallory")))

    assert warnings == [
        {"code": "new_administrators", "message": "New administrator since the backups before: mallory."}
    ]
    assert (run.status, run.error_code) == (TaskStatus.COMPLETED_WITH_WARNINGS, ErrorCode.NEW_ADMINISTRATORS)
    assert run.warnings == warnings
    at, reason = frozen(job)
    assert at == now
    assert reason.startswith("acme, ")
    assert reason.endswith("mallory.")
    (event,) = db.session.scalars(sa.select(AuditEvent).where(AuditEvent.event == "retention.frozen")).all()
    assert (event.actor, event.details) == ("sentinel", {"reason": reason})
    assert db.session.scalars(sa.select(TaskLog.message).where(TaskLog.task_id == run.id)).all() == [
        warnings[0]["message"]
    ]


def test_the_first_reason_stays(job: Job, now: datetime) -> None:
    history(job, now)
    settled(job, now, Fingerprint(size_bytes=1_000_000))
    first = frozen(job)

    settled(job, now + timedelta(days=1), Fingerprint(size_bytes=1_000_000, mismatched=4))

    assert frozen(job) == first


def test_a_warning_freezes_nothing(job: Job, now: datetime) -> None:
    history(job, now)

    run, _ = settled(job, now, Fingerprint(size_bytes=7_000_000))

    assert (run.status, run.error_code) == (TaskStatus.COMPLETED_WITH_WARNINGS, ErrorCode.SIZE_COLLAPSED)
    assert frozen(job) == (None, "")


def test_a_failed_run_keeps_its_own_reason(job: Job, now: datetime) -> None:
    run, _ = settled(
        job,
        now,
        Fingerprint(size_bytes=9, mismatched=9),
        status=TaskStatus.FAILED,
        verification_status=VerificationStatus.FAILED,
    )

    assert (run.status, run.error_code) == (TaskStatus.FAILED, None)
    assert run.warnings[0]["code"] == "content_changed"
    assert frozen(job)[0] == now


def test_others_are_not_compared(job: Job, now: datetime) -> None:
    history(job, now)
    other = make_job(make_instance(now, "other"), now)

    assert settled(other, now, Fingerprint(size_bytes=1_000_000))[1] == []
    assert settled(job, now, Fingerprint(size_bytes=1_000_000), database_name="second")[1] == []


def test_what_failed_its_verification_is_nothing_to_compare_with(job: Job, now: datetime) -> None:
    for day in (3, 2, 1):
        settled(job, now - timedelta(days=day), NORMAL, verification_status=VerificationStatus.FAILED)

    assert settled(job, now, Fingerprint(size_bytes=1_000_000))[1] == []


def test_an_emptied_table_is_seen_by_a_real_run(place: Place) -> None:
    for _ in range(3):
        assert place.back_up().status is TaskStatus.COMPLETED
    place.odoo.databases["acme"] = Database(zip_bytes=odoo_zip("acme", dump=dump_sql(attachments(12), partners=3)))

    run = place.back_up()

    assert run.status is TaskStatus.COMPLETED_WITH_WARNINGS
    assert {"rows_collapsed"} <= {warning["code"] for warning in run.warnings}
    assert any("public.res_partner" in warning["message"] for warning in run.warnings)
    assert frozen(place.job)[0] is not None
