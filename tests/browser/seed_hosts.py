"""A host in the data directory's past: its snapshots lie on disk, a run was stopped, files were tried and put back."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.app import ALICE
from tests.support.host_pages import SeededHost, add_emptied_run, seed_host
from webapp.core.reports import Check, CheckState
from webapp.core.status import SnapshotTarget, TaskStatus, TaskType
from webapp.services.job_rules import draft_of
from webapp.services.jobs import get_job, list_jobs, update_job
from webapp.services.tasks import add
from webapp.store.db import writing
from webapp.store.models import ConnectionTest, Instance, SnapshotComparison, SnapshotRestore

GOOD, SOSO = CheckState.PASSED, CheckState.WARNING
CONNECTED = (
    Check("dns", "Host name", GOOD, "web-03.example.com is 203.0.113.7.", "203.0.113.7"),
    Check("ssh_login", "SSH login", GOOD, "The host shows the pinned key, and lets root in.", "root"),
    Check("rsync_remote", "rsync on the host", GOOD, "The far side is limited by rrsync.", "protocol 32"),
    Check("paths", "Paths readable", GOOD, "1 path is there and can be listed.", "7 entries"),
    Check("free_space", "Free space", GOOD, "74.9 GB are free where snapshots are kept.", "74.9 GB"),
)
COMPARED = (
    Check("live_same", "The same on the host", GOOD, "198 of 200 files, by checksum of both.", "198"),
    Check("live_changed", "Changed since", SOSO, "/etc/hosts and /srv/www/index.html are newer there.", "2"),
)
CHANGES = [">f+++++++++ etc/hosts", ">fcst...... etc/nginx/nginx.conf", "*deleting   etc/nginx/old.conf"]


def add_host(now: datetime) -> SeededHost:
    """The host, as if it had been here for some days."""
    with TemporaryDirectory(prefix="host-") as source:
        host = seed_host(
            Path(source),
            now,
            between=lambda job_id: add_emptied_run(job_id, now - timedelta(days=1)),
            tags="web, prod",
            sentinel_files="/srv/www/index.html",
        )
    odoo = next(job.instance_id for job in list_jobs() if job.instance.name == "acme-prod")
    job = get_job(host.job_id)
    draft = replace(draft_of(job), paths="/etc\n/opt/odoo", rides_with=str(odoo))
    update_job(job.id, draft, version=job.version, actor=ALICE, now=now)
    _add_connection_test(host, now - timedelta(hours=7))
    _add_comparison(host, now - timedelta(hours=3))
    _add_restores(host, now - timedelta(minutes=4))
    return host


def _add_connection_test(host: SeededHost, at: datetime) -> None:
    with writing() as session:
        task = ConnectionTest(
            type=TaskType.CONNECTION_TEST,
            title="web-03: connection test",
            triggered_by="manual:alice",
            instance_id=host.instance_id,
            instance_name="web-03",
            checks=[check.as_json() for check in CONNECTED],
        )
        add(task, now=at)
        task.status, task.started_at, task.completed_at = TaskStatus.COMPLETED, at, at + timedelta(seconds=4)
        session.get_one(Instance, host.instance_id)


def _add_comparison(host: SeededHost, at: datetime) -> None:
    with writing():
        task = SnapshotComparison(
            type=TaskType.SNAPSHOT_COMPARISON,
            title="web-03: compared with its snapshot",
            triggered_by="manual:bob",
            instance_id=host.instance_id,
            instance_name="web-03",
            archive_id=host.snapshot_ids[-1],
            checks=[check.as_json() for check in COMPARED],
        )
        add(task, now=at)
        task.status, task.started_at, task.completed_at = TaskStatus.COMPLETED, at, at + timedelta(seconds=12)


def _add_restores(host: SeededHost, at: datetime) -> None:
    """A dry run that was confirmed, its restore, and one that waits for a person."""
    ids: list[int] = []
    for dry_run, preview in ((True, None), (False, 0), (True, None)):
        with writing() as session:
            task = SnapshotRestore(
                type=TaskType.SNAPSHOT_RESTORE,
                title=f"web-03: {'what would a restore change' if dry_run else 'restore files'}",
                triggered_by="manual:bob",
                instance_id=host.instance_id,
                instance_name="web-03",
                archive_id=host.snapshot_ids[-1],
                target=SnapshotTarget.HOST,
                target_instance_id=host.instance_id,
                target_path="/",
                paths=["/etc/hosts", "/etc/nginx"],
                delete_others=True,
                dry_run=dry_run,
                preview_id=ids[preview] if preview is not None else None,
                changes=CHANGES,
                counts={"created": 1, "changed": 1, "attributes": 0, "deleted": 1, "skipped": 0},
            )
            add(task, now=at)
            task.status, task.started_at, task.completed_at = TaskStatus.COMPLETED, at, at + timedelta(seconds=8)
            session.flush()
            ids.append(task.id)
