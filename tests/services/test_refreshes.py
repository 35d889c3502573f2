"""Refresh jobs: a slot makes one restore of production's newest restore point, and never over production itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.support.app import ALICE
from tests.support.factories import make_archive, make_instance, make_job, make_run
from tests.support.restores import ScriptedEngine, finish_safety_run, lay_down_archive
from webapp.core.errors import Conflict
from webapp.core.restore_plans import RestoreOptions
from webapp.core.status import (
    InstanceKind,
    JobKind,
    RestoreTarget,
    SlotState,
    TaskStatus,
    VerificationStatus,
)
from webapp.services import fleet, jobs, runs, sweeper
from webapp.services.drafts import InvalidDraft, StaleDraft
from webapp.services.refresh_jobs import RefreshDraft, create_refresh_job, draft_of, update_refresh_job
from webapp.services.restore_runs import execute_restore
from webapp.services.schedule import fan_out_slot, reconcile
from webapp.store.db import db, release, writing
from webapp.store.models import Instance, Job, KeptDatabase, KeptRemoval, Restore, Run, Slot, Task

pytestmark = pytest.mark.usefixtures("service")
NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
NIGHT = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)


@pytest.fixture
def production(service: Flask) -> int:
    odoo = {"kind": InstanceKind.ODOO_POSTGRES, "pg_host": "10.0.0.1"}
    instance = make_instance(NOW, "acme-prod", **odoo)
    run = make_run(make_job(instance, NOW, enabled=False), NOW, status=TaskStatus.COMPLETED)
    lay_down_archive(instance, NOW, run=run)
    return instance.id


@pytest.fixture
def draft(production: int) -> RefreshDraft:
    staging = make_instance(NOW, "acme-staging", kind=InstanceKind.ODOO_POSTGRES, pg_host="10.0.0.2")
    return RefreshDraft(
        name="Staging, nightly",
        source_instance_id=production,
        database="acme",
        target_instance_id=staging.id,
        target_database="acme_staging",
        cron="0 4 * * *",
    )


def restore_rows() -> list[Restore]:
    db.session.commit()
    return list(db.session.scalars(sa.select(Restore).order_by(Restore.id)))


def make_due(task_id: int) -> None:
    with writing() as session:
        session.get_one(Task, task_id).not_before = None
    release()


def test_a_slot_makes_one_restore_whoever_looks(draft: RefreshDraft) -> None:
    job_id = create_refresh_job(draft, actor=ALICE, now=NOW).id

    reconcile(NIGHT)
    reconcile(NIGHT)
    slot_id = db.session.scalars(sa.select(Slot.id)).one()
    fan_out_slot(slot_id, NIGHT)

    restore = restore_rows()[0]
    assert (len(restore_rows()), restore.slot_id, restore.job_id) == (1, slot_id, job_id)
    assert (restore.target, restore.target_database, restore.triggered_by) == (
        RestoreTarget.REPLACE,
        "acme_staging",
        "scheduled",
    )
    options = RestoreOptions.from_json(restore.options)
    assert (options.neutralise, options.new_identity, options.with_filestore) == (True, True, False)
    assert db.session.scalars(sa.select(Run).where(Run.job_id == job_id)).all() == []


def test_the_first_refresh_makes_the_database_and_the_next_replaces_it(draft: RefreshDraft) -> None:
    job = create_refresh_job(draft, actor=ALICE, now=NOW)
    job_id, staging = job.id, job.instance_id
    reconcile(NIGHT)
    engine = ScriptedEngine(exists=False)

    execute_restore(restore_rows()[0].id, clock=lambda: NIGHT, engine=engine.doors())

    assert restore_rows()[0].status is TaskStatus.COMPLETED
    assert (engine.ran[0].target, engine.ran[0].options.neutralise) == (RestoreTarget.NEW_DATABASE, True)
    second = runs.request_job(job_id, actor=ALICE, now=NIGHT)[0].id
    engine.exists = True
    execute_restore(second, clock=lambda: NIGHT, engine=engine.doors())
    safety = db.session.scalars(sa.select(Run).where(Run.triggered_by == f"restore:{second}")).one()
    assert safety.job_id == job_id
    finish_safety_run(safety.id, db.session.get_one(Instance, staging), NIGHT)
    make_due(second)
    execute_restore(second, clock=lambda: NIGHT, engine=engine.doors())

    assert restore_rows()[1].status is TaskStatus.COMPLETED
    assert (engine.ran[1].target, engine.ran[1].identity is not None) == (RestoreTarget.REPLACE, True)
    kept = db.session.scalars(sa.select(KeptDatabase)).one()
    assert kept.remove_after == NIGHT
    sweeper.sweep(NIGHT + timedelta(seconds=1))
    assert db.session.scalars(sa.select(KeptRemoval)).one().kept_id == kept.id


def test_a_refresh_can_do_without_a_safety_backup(draft: RefreshDraft) -> None:
    create_refresh_job(replace(draft, safety_backup=False, keep_days="3"), actor=ALICE, now=NOW)
    reconcile(NIGHT)
    engine = ScriptedEngine()

    execute_restore(restore_rows()[0].id, clock=lambda: NIGHT, engine=engine.doors())

    assert restore_rows()[0].status is TaskStatus.COMPLETED
    assert db.session.scalars(sa.select(KeptDatabase.remove_after)).one() == NIGHT + timedelta(days=3)


def test_a_refresh_that_its_look_forbids_touches_nothing(draft: RefreshDraft) -> None:
    create_refresh_job(draft, actor=ALICE, now=NOW)
    reconcile(NIGHT)
    engine = ScriptedEngine(refuses="PostgreSQL there is too old.")

    execute_restore(restore_rows()[0].id, clock=lambda: NIGHT, engine=engine.doors())

    assert (restore_rows()[0].status, engine.ran) == (TaskStatus.FAILED, [])
    assert "too old" in restore_rows()[0].error_message


def test_the_newest_verified_restore_point_is_taken_but_no_safety_backup(draft: RefreshDraft, production: int) -> None:
    job = make_job(db.session.get_one(Instance, production), NOW, name="Hourly", enabled=False)
    newer = make_archive(make_run(job, NOW), NOW + timedelta(hours=2), odoo_version="18.0").id
    unproven = make_run(job, NOW)
    path = {"relative_path": "x/y", "verification_status": VerificationStatus.NOT_RUN}
    make_archive(unproven, NOW + timedelta(hours=3), **path)
    spoilt = make_run(job, NOW, triggered_by="restore:12")
    make_archive(spoilt, NOW + timedelta(hours=4), relative_path="x/z")
    create_refresh_job(draft, actor=ALICE, now=NOW)

    reconcile(NIGHT)

    assert [row.archive_id for row in restore_rows()] == [newer]


def test_nothing_to_restore_from_is_said_by_the_slot(draft: RefreshDraft) -> None:
    job_id = create_refresh_job(replace(draft, database="other"), actor=ALICE, now=NOW).id

    reconcile(NIGHT)

    slot = db.session.scalars(sa.select(Slot)).one()
    assert (slot.state, restore_rows()) == (SlotState.SKIPPED, [])
    assert "no verified restore point" in slot.note
    with pytest.raises(Conflict, match="no verified restore point"):
        runs.request_job(job_id, actor=ALICE, now=NIGHT)


def test_a_slot_that_falls_onto_a_refresh_at_work_is_skipped(draft: RefreshDraft) -> None:
    create_refresh_job(draft, actor=ALICE, now=NOW)
    reconcile(NIGHT)

    reconcile(NIGHT + timedelta(days=1))

    assert [row.status for row in restore_rows()] == [TaskStatus.PENDING, TaskStatus.COMPLETED_WITH_WARNINGS]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"target_database": ""}, "target_database"),
        ({"target_database": "postgres"}, "target_database"),
        ({"target_instance_id": None}, "target_instance_id"),
        ({"source_instance_id": 99}, "source_instance_id"),
        ({"keep_days": "-1"}, "keep_days"),
        ({"cron": "0 4 31 11 *"}, "cron"),
        ({"name": ""}, "name"),
    ],
)
def test_what_cannot_be_is_refused_with_its_field(draft: RefreshDraft, changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidDraft) as refused:
        create_refresh_job(replace(draft, **changes), actor=ALICE, now=NOW)  # type: ignore[arg-type]

    assert field in [problem.field for problem in refused.value.problems]


def test_production_is_never_its_own_copy(draft: RefreshDraft, production: int) -> None:
    twin = make_instance(NOW, "acme-prod-again", kind=InstanceKind.ODOO_POSTGRES, pg_host="10.0.0.1")
    web = make_instance(NOW, "acme-web", kind=InstanceKind.ODOO_HTTP, url="https://10.0.0.1:8069")
    same = replace(draft, target_database="acme")

    for wrong in (
        replace(same, target_instance_id=production),
        replace(same, target_instance_id=twin.id),
        replace(same, source_instance_id=web.id, target_instance_id=twin.id),
        replace(draft, target_instance_id=web.id),
    ):
        with pytest.raises(InvalidDraft):
            create_refresh_job(wrong, actor=ALICE, now=NOW)
    job_id = create_refresh_job(draft, actor=ALICE, now=NOW).id
    with writing() as session:
        session.get_one(Job, job_id).refresh = {**session.get_one(Job, job_id).refresh, "target_database": "acme"}
        session.get_one(Instance, draft.target_instance_id).pg_host = "10.0.0.1"
    with pytest.raises(Conflict, match="never replaces"):
        runs.request_job(job_id, actor=ALICE, now=NOW)


def test_a_refresh_job_is_changed_as_one_and_counts_as_no_backup(draft: RefreshDraft) -> None:
    job = create_refresh_job(draft, actor=ALICE, now=NOW)
    job_id, version, staging = job.id, job.version, job.instance_id
    assert draft_of(job) == draft

    changed = update_refresh_job(job_id, replace(draft, cron="0 5 * * *"), version=version, actor=ALICE, now=NOW)

    assert (changed.cron, changed.kind, changed.next_slot_at) == (
        "0 5 * * *",
        JobKind.REFRESH,
        NIGHT + timedelta(hours=1),
    )
    with pytest.raises(StaleDraft):
        update_refresh_job(job_id, draft, version=version, actor=ALICE, now=NOW)
    with pytest.raises(Conflict, match="no enabled job"):
        jobs.run_all(staging, actor=ALICE, now=NOW)
    row = next(one for one in fleet.list_fleet(NOW) if one.instance.id == staging)
    assert row.next_at is None
