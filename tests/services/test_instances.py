"""Instances: what is kept, what is refused, what outlives them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.support.app import ALICE, BOB, RecordingQueue
from tests.support.drafts import MASTER_PASSWORD, NIGHTLY, ODOO_HTTP, ODOO_POSTGRES, POSTGRES, changed
from webapp.core.errors import Conflict, InvalidInput, NotFound
from webapp.core.plans import OdooHttpPlan, PostgresPlan, Secret
from webapp.core.status import ArchiveFormat, ArchiveState, Content, FilestoreKind
from webapp.services import instances, jobs
from webapp.services.drafts import StaleDraft
from webapp.services.instance_plans import source_plan
from webapp.services.instance_rules import draft_of
from webapp.store.db import db, writing
from webapp.store.models import Archive, AuditEvent, Instance, Job
from webapp.vault import VaultError

pytestmark = pytest.mark.usefixtures("service")


def events() -> list[AuditEvent]:
    return list(db.session.scalars(sa.select(AuditEvent).where(AuditEvent.subject_kind == "instance")))


def test_an_instance_gives_the_plan_that_reaches_it(now: datetime) -> None:
    http = instances.create_instance(changed(ODOO_HTTP, url="ERP.acme.example/web"), actor=ALICE, now=now)
    server = instances.create_instance(ODOO_POSTGRES, actor=ALICE, now=now)

    plan = source_plan(http)
    assert isinstance(plan, OdooHttpPlan)
    assert plan.url == "https://erp.acme.example"
    assert plan.master_password.reveal() == MASTER_PASSWORD
    plan = source_plan(server)
    assert isinstance(plan, PostgresPlan)
    assert (plan.host, plan.port, plan.user, plan.is_odoo) == ("db.globex.example", 5432, "odoo", True)
    assert plan.filestore.kind is FilestoreKind.LOCAL
    assert plan.filestore.path == "/var/lib/odoo/filestore"
    assert plan.filestore.ssh is None
    assert plan.tunnel is None


def test_a_secret_is_sealed_and_does_not_open_in_another_row(now: datetime) -> None:
    first = instances.create_instance(ODOO_HTTP, actor=ALICE, now=now)
    second = instances.create_instance(changed(ODOO_HTTP, name="other"), actor=ALICE, now=now)
    assert first.master_password is not None
    assert MASTER_PASSWORD not in first.master_password

    with writing():
        instances.get_instance(second.id).master_password = first.master_password

    with pytest.raises(VaultError):
        source_plan(instances.get_instance(second.id))


def test_an_empty_secret_keeps_what_is_stored_and_clear_forgets_it(now: datetime) -> None:
    made = instances.create_instance(ODOO_POSTGRES, actor=ALICE, now=now)

    kept = instances.update_instance(made.id, draft_of(made), version=made.version, actor=ALICE, now=now)
    plan = source_plan(kept)
    assert isinstance(plan, PostgresPlan)
    assert plan.password.reveal() == "pg " + MASTER_PASSWORD

    cleared = changed(draft_of(kept), clear=frozenset({"pg_password"}))
    forgotten = instances.update_instance(made.id, cleared, version=kept.version, actor=ALICE, now=now)
    assert forgotten.pg_password is None


@pytest.mark.parametrize(
    ("draft", "changes", "field"),
    [
        (ODOO_HTTP, {"url": "https://mallory.example"}, "master_password"),
        (POSTGRES, {"pg_host": "mallory.example"}, "pg_password"),
        (POSTGRES, {"pg_sslmode": "disable"}, "pg_password"),
    ],
)
def test_a_stored_password_does_not_follow_a_changed_address(
    now: datetime, draft: Any, changes: dict[str, str], field: str
) -> None:
    made = instances.create_instance(changed(draft, **{field: Secret("entered")}), actor=ALICE, now=now)
    moved = changed(draft_of(made), **changes)

    with pytest.raises(InvalidInput) as refused:
        instances.update_instance(made.id, moved, version=made.version, actor=ALICE, now=now)

    assert refused.value.field == field
    again = changed(moved, **{field: Secret("entered once more")})
    saved = instances.update_instance(made.id, again, version=made.version, actor=ALICE, now=now)
    assert all(getattr(saved, key) == value for key, value in changes.items())


def test_two_people_cannot_overwrite_each_other(now: datetime) -> None:
    made = instances.create_instance(ODOO_HTTP, actor=ALICE, now=now)
    seen = made.version
    instances.update_instance(made.id, changed(draft_of(made), customer="Acme"), version=seen, actor=ALICE, now=now)

    with pytest.raises(StaleDraft) as refused:
        instances.update_instance(made.id, changed(draft_of(made), customer="Other"), version=seen, actor=BOB, now=now)

    assert refused.value.current_version == instances.get_instance(made.id).version
    assert instances.get_instance(made.id).customer == "Acme"


def test_a_name_is_taken_once_whatever_its_case(now: datetime) -> None:
    instances.create_instance(ODOO_HTTP, actor=ALICE, now=now)

    with pytest.raises(InvalidInput, match="Another instance"):
        instances.create_instance(changed(ODOO_HTTP, name="ACME-prod"), actor=ALICE, now=now)


def test_the_kind_cannot_be_changed(now: datetime) -> None:
    made = instances.create_instance(ODOO_HTTP, actor=ALICE, now=now)

    with pytest.raises(InvalidInput, match="kind"):
        instances.update_instance(
            made.id, changed(POSTGRES, name="acme-prod"), version=made.version, actor=ALICE, now=now
        )


def test_the_audit_log_says_what_changed_but_never_a_secret(now: datetime) -> None:
    made = instances.create_instance(ODOO_HTTP, actor=ALICE, now=now)
    draft = changed(draft_of(made), customer="Acme", master_password=Secret("brand new secret"))
    instances.update_instance(made.id, draft, version=made.version, actor=ALICE, now=now)

    added, edited = events()

    assert (added.event, edited.event) == ("instance.added", "instance.changed")
    assert edited.actor == "alice"
    assert edited.details["customer"] == ["", "Acme"]
    assert "brand new secret" not in str(edited.details)
    assert MASTER_PASSWORD not in str(added.details)
    assert "sealed1:" not in str(edited.details) + str(added.details)


def test_an_instance_that_uses_ssh_has_a_key_pair_and_asks_for_the_host_key_again_when_the_host_moves(
    now: datetime,
) -> None:
    over_ssh = changed(ODOO_POSTGRES, filestore_kind="ssh", ssh_host="web-03.globex.example", ssh_user="odoo")
    made = instances.create_instance(over_ssh, actor=ALICE, now=now)
    assert made.ssh_public_key.startswith("ssh-ed25519 ")
    with writing():
        instances.get_instance(made.id).ssh_host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI"
    before = instances.get_instance(made.id)
    public = before.ssh_public_key

    same = instances.update_instance(made.id, draft_of(before), version=before.version, actor=ALICE, now=now)
    assert same.ssh_host_key
    assert same.ssh_public_key == public
    moved = changed(draft_of(same), ssh_host="elsewhere.example")
    after = instances.update_instance(made.id, moved, version=same.version, actor=ALICE, now=now)
    assert after.ssh_host_key == ""
    assert after.ssh_public_key == public
    renewed = changed(draft_of(after), new_ssh_key=True)
    assert (
        instances.update_instance(made.id, renewed, version=after.version, actor=ALICE, now=now).ssh_public_key
        != public
    )


def test_a_pause_skips_what_is_missed_and_ends_by_itself(now: datetime) -> None:
    made = instances.create_instance(ODOO_HTTP, actor=ALICE, now=now)
    job = jobs.create_job(made.id, NIGHTLY, actor=ALICE, now=now)
    instances.pause_instance(made.id, reason="customer migrates", until=None, actor=BOB, now=now)
    assert instances.get_instance(made.id).paused_by == "bob"

    later = now + timedelta(days=3)
    instances.resume_instance(made.id, actor=BOB, now=later)

    assert instances.get_instance(made.id).paused_at is None
    resumed = jobs.get_job(job.id)
    assert resumed.next_slot_at is not None
    assert resumed.next_slot_at > later
    assert resumed.cursor_at >= later
    with pytest.raises(InvalidInput):
        instances.pause_instance(made.id, reason="", until=later - timedelta(hours=1), actor=BOB, now=later)


def test_deleting_needs_the_name_and_leaves_archives_and_history(now: datetime) -> None:
    made = instances.create_instance(ODOO_HTTP, actor=ALICE, now=now)
    job = jobs.create_job(made.id, NIGHTLY, actor=ALICE, now=now)
    with writing() as session:
        session.add(archive_of(made, job, now))

    with pytest.raises(InvalidInput):
        instances.delete_instance(made.id, typed_name="something else", actor=ALICE, now=now)
    instances.delete_instance(made.id, typed_name=made.name, actor=ALICE, now=now)

    with pytest.raises(NotFound):
        instances.get_instance(made.id)
    with pytest.raises(NotFound):
        jobs.get_job(job.id)
    archive = db.session.scalars(sa.select(Archive)).one()
    assert (archive.state, archive.instance_id) == (ArchiveState.STORED, made.id)
    gone = db.session.get_one(Job, job.id)
    assert not gone.enabled
    assert gone.next_slot_at is None
    again = instances.create_instance(ODOO_HTTP, actor=ALICE, now=now)
    assert again.slug != made.slug


def test_an_instance_at_work_is_not_deleted_and_its_run_goes_on(now: datetime, queue: RecordingQueue) -> None:
    made = instances.create_instance(POSTGRES, actor=ALICE, now=now)
    draft = NIGHTLY.__class__(name="Nightly", cron="30 2 * * *", content="database")
    job = jobs.create_job(made.id, draft, actor=ALICE, now=now)
    tasks = jobs.run_now(job.id, actor=BOB, now=now)

    with pytest.raises(Conflict, match="at work"):
        instances.delete_instance(made.id, typed_name=made.name, actor=ALICE, now=now)

    assert len(tasks) == 2
    assert all(task.cancel_requested_at is None for task in tasks)
    assert len(queue.pushed) == 2


def test_a_copy_has_its_own_sealed_secrets_and_jobs_that_sleep(now: datetime) -> None:
    made = instances.create_instance(ODOO_HTTP, actor=ALICE, now=now)
    jobs.create_job(made.id, NIGHTLY, actor=ALICE, now=now)

    copy = instances.duplicate_instance(made.id, actor=ALICE, now=now)
    second = instances.duplicate_instance(made.id, actor=ALICE, now=now)

    assert (copy.name, second.name) == ("acme-prod (copy)", "acme-prod (copy 2)")
    assert len({made.uid, copy.uid, second.uid}) == 3
    assert len({made.slug, copy.slug, second.slug}) == 3
    plan = source_plan(copy)
    assert isinstance(plan, OdooHttpPlan)
    assert plan.master_password.reveal() == MASTER_PASSWORD
    [job] = jobs.list_jobs(copy.id)
    assert not job.enabled
    assert job.next_slot_at is None


def test_nothing_is_written_when_a_draft_is_refused(service: Flask, now: datetime) -> None:
    with pytest.raises(InvalidInput):
        instances.create_instance(changed(ODOO_HTTP, url="ftp://x"), actor=ALICE, now=now)

    assert db.session.scalar(sa.select(sa.func.count()).select_from(Instance)) == 0
    assert events() == []


def archive_of(instance: Instance, job: Job, now: datetime) -> Archive:
    return Archive(
        job_id=job.id,
        instance_id=instance.id,
        instance_name=instance.name,
        database_name="acme",
        content=Content.DATABASE,
        format=ArchiveFormat.ZIP,
        relative_path="1-acme/x.zip",
        size_bytes=10,
        sha256="0" * 64,
        taken_at=now,
        created_at=now,
    )
