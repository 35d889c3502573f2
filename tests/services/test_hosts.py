"""Hosts as instances: what is kept of them, what the settings say for them, and the jobs that they have."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.app import ALICE, BOB, RecordingQueue
from tests.support.drafts import HOST, NIGHTLY, NIGHTLY_SNAPSHOT, ODOO_HTTP, ODOO_POSTGRES, changed, changed_job
from tests.support.factories import make_archive, make_job, make_run
from tests.support.sshd import make_key
from webapp.core.errors import InvalidInput, NotFound
from webapp.core.plans import Secret
from webapp.core.snapshot_plans import FILES
from webapp.core.status import ArchiveFormat, Content, DrillPolicy, ErrorCode, SlotState, TaskStatus, VerificationLevel
from webapp.services import (
    fleet,
    host_jobs,
    hosts,
    instance_keys,
    instances,
    jobs,
    refresh_jobs,
    refresh_pages,
    schedule,
)
from webapp.services.drafts import InvalidDraft
from webapp.services.hosts import Chosen, Whose
from webapp.services.instance_plans import secrets_of, source_plan
from webapp.services.instance_rules import check_draft, draft_of
from webapp.services.job_rules import draft_of as job_draft_of
from webapp.services.job_rules import new_draft
from webapp.services.refresh_jobs import RefreshDraft
from webapp.services.settings import USUAL_EXCLUDES, change_settings, get_settings
from webapp.services.wiring import Wiring
from webapp.store.db import db
from webapp.store.models import AuditEvent, Host, Instance, Run, Slot

pytestmark = pytest.mark.usefixtures("service")


def add_host(now: datetime, **fields: Any) -> Instance:
    return instances.create_instance(changed(HOST, **fields), actor=ALICE, now=now)


def save(instance: Instance, now: datetime, **fields: Any) -> Instance:
    draft = changed(draft_of(instance), **fields)
    return instances.update_instance(instance.id, draft, version=instance.version, actor=ALICE, now=now)


def refused_fields(**fields: Any) -> set[str]:
    with pytest.raises(InvalidDraft) as refused:
        check_draft(changed(HOST, **fields), frozenset())
    return {problem.field for problem in refused.value.problems}


def test_a_host_gives_the_plan_that_reaches_it(now: datetime) -> None:
    host = add_host(now, includes="/etc/keep.tmp", sentinel_files="/etc/passwd", accepted_errors="/etc/shadow*")

    plan = hosts.host_plan(host)

    assert (plan.ssh.host, plan.ssh.port, plan.ssh.user) == ("web-01.example.net", 22, "root")
    assert "PRIVATE KEY" in plan.ssh.private_key.reveal()
    assert secrets_of(plan) == [plan.ssh.private_key.reveal()]
    assert plan.paths == ("/etc", "/srv/www")
    assert plan.includes == ("/etc/keep.tmp",)
    assert plan.excludes == (*USUAL_EXCLUDES, "*.tmp")
    assert (plan.sentinel_files, plan.accepted_errors) == (("/etc/passwd",), ("/etc/shadow*",))


def test_a_host_gets_a_key_whose_line_lets_it_read_and_nothing_else(now: datetime) -> None:
    host = add_host(now)

    line = instance_keys.authorized_keys_line(host)

    assert line == f'restrict,command="rrsync -ro /" {host.ssh_public_key}'
    assert host.ssh_public_key.startswith("ssh-ed25519 ")


def test_its_folder_is_its_name_and_stays_whatever_changes(now: datetime, tmp_path: Path) -> None:
    host = add_host(now, name="web.example.com")
    _, line = make_key(tmp_path / "key")
    pinned = instance_keys.pin_host_key(host.id, line, actor=ALICE, now=now)

    saved = save(pinned, now, name="shop", ssh_host="192.0.2.7", directory="elsewhere")

    assert hosts.get_host(saved.id).directory == "web.example.com"
    assert saved.ssh_host_key == line
    assert saved.ssh_public_key == host.ssh_public_key


def test_folders_are_unlike_each_other_also_after_a_deletion(now: datetime) -> None:
    first = add_host(now, name="web 1")
    instances.delete_instance(first.id, typed_name="web 1", actor=ALICE, now=now)
    second = add_host(now, name="web 1")

    assert [hosts.get_host(second.id).directory, db.session.get_one(Host, first.id).directory] == ["web-1-2", "web-1"]
    with pytest.raises(InvalidInput, match="belongs to another host"):
        add_host(now, name="other", directory="web-1")


def test_a_copy_has_all_that_was_set_and_a_folder_of_its_own(now: datetime) -> None:
    old = add_host(now, bandwidth_kib="500", own_rsync_options=True, rsync_options="-z")
    jobs.create_job(old.id, changed_job(NIGHTLY_SNAPSHOT, paths="/etc"), actor=ALICE, now=now)

    new = instances.duplicate_instance(old.id, actor=ALICE, now=now)

    host = hosts.get_host(new.id)
    assert (host.directory, host.bandwidth_kib, host.rsync_options) == ("web-01-copy", 500, ["--compress"])
    assert [job.paths for job in jobs.list_jobs(new.id)] == [["/etc"]]


def test_what_is_stored_comes_back_into_the_form(now: datetime) -> None:
    fields = {
        "includes": "*.conf", "own_excludes_only": True, "one_file_system": "no", "bandwidth_kib": "0",
        "own_rsync_options": True, "rsync_options": "--compress --max-size=2G", "shrink_percent": "80",
        "sentinel_files": "/etc/passwd", "accepted_errors": "/etc/shadow", "backup_root": "/backups", "directory": "web",
    }  # fmt: skip
    host = add_host(now, **fields)

    draft = draft_of(host)

    assert {name: getattr(draft, name) for name in fields} == fields
    assert draft.paths == HOST.paths


def test_a_change_is_recorded_with_what_it_was(now: datetime) -> None:
    host = add_host(now)

    save(host, now, bandwidth_kib="100")

    query = sa.select(AuditEvent).where(AuditEvent.event == "instance.changed")
    assert [event.details["bandwidth_kib"] for event in db.session.scalars(query)] == [[None, 100]]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("paths", ""),
        ("paths", "etc"),
        ("paths", "/srv/../etc"),
        ("excludes", "/srv/*"),
        ("excludes", "www"),
        ("ssh_host", "-oProxyCommand=x"),
        ("ssh_user", "root;id"),
        ("ssh_port", "0"),
        ("one_file_system", "perhaps"),
        ("bandwidth_kib", "-1"),
        ("shrink_percent", "101"),
        ("sentinel_files", "passwd"),
        ("backup_root", "backups"),
        ("backup_root", "/"),
        ("directory", "../x"),
        ("directory", ".partial"),
    ],
)
def test_a_field_that_cannot_be_meant_is_refused_by_its_name(field: str, value: str) -> None:
    assert refused_fields(**{field: value}) == {field}


@pytest.mark.parametrize(
    "options", ["--rsync-path=sh", "-e ssh", "--remove-source-files", "'", "--files-from=/etc/shadow"]
)
def test_options_that_could_do_more_than_tune_are_refused(options: str) -> None:
    assert refused_fields(own_rsync_options=True, rsync_options=options) == {"rsync_options"}


def test_the_host_says_or_else_the_settings_do(now: datetime, wiring: Wiring) -> None:
    quiet = hosts.effective(hosts.get_host(add_host(now, excludes="").id))
    loud = hosts.effective(
        hosts.get_host(
            add_host(
                now, name="loud", one_file_system="yes", bandwidth_kib="0", backup_root="/b", own_rsync_options=True
            ).id
        )
    )

    assert quiet.backup_root == Chosen(str(wiring.data_directory / "snapshots"), Whose.DEFAULT)
    assert quiet.excludes == Chosen(USUAL_EXCLUDES, Whose.DEFAULT)
    assert not quiet.shrink_percent.is_own
    assert loud.one_file_system == Chosen(True, Whose.OWN)
    assert loud.bandwidth_kib == Chosen(0, Whose.OWN)
    assert loud.rsync_options == Chosen((), Whose.OWN)
    assert loud.backup_root == Chosen("/b", Whose.OWN)
    assert loud.excludes.whose is Whose.BOTH


def test_a_changed_default_counts_for_hosts_that_say_nothing(now: datetime) -> None:
    host = hosts.get_host(add_host(now).id)
    wanted = replace(
        get_settings(),
        backup_root="/backups/",
        host_excludes=("*.iso",),
        host_rsync_options=("-z",),
        host_bandwidth_kib=9,
    )

    change_settings(wanted, actor=ALICE, now=now)

    plan = hosts.host_plan(host.instance)
    assert (plan.excludes, plan.options, plan.bandwidth_kib) == (("*.iso", "*.tmp"), ("--compress",), 9)
    assert hosts.backup_root_of(host) == "/backups"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("backup_root", "backups"),
        ("host_excludes", ("a\x00b",)),
        ("host_rsync_options", ("--rsh=sh",)),
        ("host_bandwidth_kib", -1),
        ("host_shrink_percent", 101),
    ],
)
def test_defaults_of_hosts_are_checked_like_a_hosts_own(now: datetime, field: str, value: object) -> None:
    changes: dict[str, Any] = {field: value}

    with pytest.raises(InvalidInput) as refused:
        change_settings(replace(get_settings(), **changes), actor=ALICE, now=now)

    assert refused.value.field == field


def test_what_is_named_to_be_taken_is_not_left_out_by_the_general_excludes(now: datetime) -> None:
    host = add_host(now, paths="/mnt/data\n/srv", excludes="")

    plan = hosts.host_plan(host)

    assert "/mnt/*" not in plan.excludes
    assert "/proc/*" in plan.excludes


def test_a_job_with_paths_of_its_own_asks_only_for_the_sentinel_files_below_them(now: datetime) -> None:
    host = add_host(now, paths="/etc\n/srv", sentinel_files="/srv/.mounted\n/etc/hosts\n/srvs")
    everything = jobs.create_job(host.id, changed_job(NIGHTLY_SNAPSHOT, paths=""), actor=ALICE, now=now).id
    draft = changed_job(NIGHTLY_SNAPSHOT, name="Files", paths="/srv")
    only_srv = jobs.create_job(host.id, draft, actor=ALICE, now=now).id

    found = [hosts.host_plan(instances.get_instance(host.id), jobs.get_job(id_)) for id_ in (everything, only_srv)]

    assert found[0].sentinel_files == ("/srv/.mounted", "/etc/hosts", "/srvs")
    assert found[1].sentinel_files == ("/srv/.mounted",)


def test_a_snapshot_of_this_machine_takes_no_snapshots(now: datetime) -> None:
    here = hosts.host_plan(add_host(now, ssh_host="localhost", paths="/", backup_root="/backups [1]"))
    elsewhere = hosts.host_plan(add_host(now, name="other", paths="/", backup_root="/backups"))

    assert here.excludes[0] == r"/backups \[1]/"
    assert not [pattern for pattern in elsewhere.excludes if pattern.startswith("/backups")]


def test_only_a_host_has_a_hosts_plan(now: datetime) -> None:
    odoo = instances.create_instance(ODOO_HTTP, actor=ALICE, now=now)
    host = add_host(now)

    with pytest.raises(InvalidInput):
        hosts.host_plan(odoo)
    with pytest.raises(NotFound):
        hosts.get_host(odoo.id)
    with pytest.raises(InvalidInput, match="is a host"):
        source_plan(host)
    assert [found.instance_id for found in hosts.list_hosts()] == [host.id]


def test_a_hosts_job_takes_files_as_a_snapshot(now: datetime) -> None:
    host = add_host(now)
    draft = changed_job(
        NIGHTLY_SNAPSHOT, content="database", format="zip", database_selection="all", paths="/etc/\n/etc"
    )

    job = jobs.create_job(host.id, draft, actor=ALICE, now=now)

    assert (job.content, job.format, job.verification_level) == (
        Content.FILES, ArchiveFormat.SNAPSHOT, VerificationLevel.INTACT,
    )  # fmt: skip
    assert (job.paths, job.databases, job.database_selection) == (["/etc"], [], None)
    assert (job.drill_policy, job.drill_value) == (DrillPolicy.SCHEDULED, 7)
    assert job_draft_of(job).paths == "/etc"
    assert hosts.host_plan(jobs.get_job(job.id).instance, job).paths == ("/etc",)


def test_a_new_hosts_job_passes_as_it_is_offered(now: datetime) -> None:
    host = add_host(now)

    job = jobs.create_job(host.id, new_draft(host), actor=ALICE, now=now)

    assert job.retention_rules == {"daily": 14, "weekly": 8, "monthly": 12}


def test_other_jobs_cannot_take_files(now: datetime) -> None:
    odoo = instances.create_instance(ODOO_HTTP, actor=ALICE, now=now)

    with pytest.raises(InvalidDraft) as refused:
        jobs.create_job(odoo.id, changed_job(NIGHTLY, content="files", format="snapshot"), actor=ALICE, now=now)

    assert {"content", "format"} <= {problem.field for problem in refused.value.problems}


def test_a_job_rides_along_with_an_odoo_until_that_is_deleted(now: datetime) -> None:
    odoo_id, host_id = instances.create_instance(ODOO_HTTP, actor=ALICE, now=now).id, add_host(now).id
    draft = changed_job(NIGHTLY_SNAPSHOT, rides_with=str(odoo_id), paths="/etc/odoo")
    job_id = jobs.create_job(host_id, draft, actor=ALICE, now=now).id

    assert [(found.id, found.instance.name) for found in host_jobs.riding_with(odoo_id)] == [(job_id, "web-01")]
    assert [found.id for found in host_jobs.list_ridable()] == [odoo_id]
    with pytest.raises(InvalidDraft, match="no such Odoo"):
        jobs.create_job(host_id, changed_job(draft, rides_with=str(host_id)), actor=ALICE, now=now)

    instances.delete_instance(odoo_id, typed_name=ODOO_HTTP.name, actor=ALICE, now=now)

    assert not host_jobs.riding_with(odoo_id)
    assert job_draft_of(jobs.get_job(job_id)).rides_with == ""


def test_run_now_and_a_slot_make_one_ordinary_run_each(now: datetime, queue: RecordingQueue) -> None:
    host = add_host(now)
    job = jobs.create_job(host.id, NIGHTLY_SNAPSHOT, actor=ALICE, now=now)
    job_id = job.id

    by_hand = jobs.run_now(job_id, actor=BOB, now=now)
    again = jobs.run_now(job_id, actor=BOB, now=now)

    assert [task.id for task in by_hand] == [task.id for task in again]
    run = db.session.get_one(Run, by_hand[0].id)
    assert (run.database_name, run.content, run.format) == (FILES, Content.FILES, ArchiveFormat.SNAPSHOT)
    assert run.title == "web-01: Nightly snapshot"
    assert run.triggered_by == "manual:bob"
    assert [entry["task_type"] for entry in queue.pushed] == ["backup"]

    schedule.reconcile_job(job_id, now.replace(day=21))

    slot = db.session.scalars(sa.select(Slot).where(Slot.job_id == job_id)).one()
    assert slot.state is SlotState.FANNED_OUT
    scheduled = db.session.scalars(sa.select(Run).where(Run.slot_id == slot.id)).one()
    assert (scheduled.triggered_by, scheduled.format) == ("scheduled", ArchiveFormat.SNAPSHOT)
    assert scheduled.error_code is ErrorCode.SKIPPED_OVERLAP  # the one by hand is still at work


def test_a_pasted_key_is_kept_and_never_shown(now: datetime, tmp_path: Path) -> None:
    private, public = make_key(tmp_path / "key")

    host = add_host(now, ssh_private_key=Secret(private))

    assert host.ssh_public_key.split()[:2] == public.split()
    assert "PRIVATE" not in str(draft_of(host))


def test_no_copy_is_made_of_a_host(now: datetime) -> None:
    odoo_id, host_id = instances.create_instance(ODOO_POSTGRES, actor=ALICE, now=now).id, add_host(now).id

    places = refresh_pages.list_places()

    assert [one.id for one in places.sources] == [odoo_id]
    assert refresh_pages.first_values(host_id) == {}
    draft = RefreshDraft(
        source_instance_id=host_id, target_instance_id=odoo_id, database="files", target_database="copy"
    )
    with pytest.raises(InvalidDraft) as refused:
        refresh_jobs.create_refresh_job(draft, actor=ALICE, now=now)
    assert "source_instance_id" in {problem.field for problem in refused.value.problems}


def test_a_job_that_rides_along_hides_no_other_job_that_is_late(now: datetime) -> None:
    host = add_host(now)
    whole = make_job(host, now, name="All", content=Content.FILES, format=ArchiveFormat.SNAPSHOT)
    riding = make_job(
        host, now, name="Odd ends", content=Content.FILES, format=ArchiveFormat.SNAPSHOT, paths=["/etc/odoo"]
    )
    for job, age in ((whole, timedelta(days=9)), (riding, timedelta(hours=2))):
        run = make_run(
            job, now - age, database_name=FILES, content=Content.FILES, format=ArchiveFormat.SNAPSHOT,
            status=TaskStatus.COMPLETED, started_at=now - age, completed_at=now - age,
        )  # fmt: skip
        make_archive(run, now - age, relative_path=f"snapshots/0/web-01/{job.id}")

    row = fleet.get_fleet_row(instances.get_instance(host.id), now)

    assert (row.state, row.databases) == (fleet.FleetState.OVERDUE, (FILES,))
    assert row.verified_at == now - timedelta(days=9)
    assert row.newest_at == now - timedelta(hours=2)
