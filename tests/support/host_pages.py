"""A host with snapshots that really lie on disk, and the rows that belong to them, made without SSH: for pages."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.app import ALICE
from tests.support.factories import make_archive, make_run
from tests.support.snapshots import digests_of, store_snapshot
from webapp.core.reports import Check, CheckState
from webapp.core.snapshot_manifest import SnapshotManifest
from webapp.core.snapshot_plans import FILES, SnapshotPlace
from webapp.core.status import (
    ArchiveFormat,
    Content,
    ErrorCode,
    InstanceKind,
    TaskStatus,
    VerificationLevel,
    VerificationStatus,
)
from webapp.services.hosts import backup_root_of, get_host
from webapp.services.instance_rules import InstanceDraft
from webapp.services.instances import create_instance, get_instance
from webapp.services.job_drafts import new_draft
from webapp.services.jobs import create_job, get_job
from webapp.services.snapshot_places import relative_path_of
from webapp.store.db import writing
from webapp.store.models import Run, SnapshotRecord

HOST = InstanceDraft(
    kind=InstanceKind.HOST.value,
    name="web-03",
    customer="Acme Industries",
    ssh_host="web-03.example.com",
    ssh_user="root",
    paths="/",
    excludes="*.tmp",
)
ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3l7u0m0n0kOuYtC3zTq4bEo3yR4l2h1yqJ8mX1vF4c"


@dataclass(frozen=True)
class SeededHost:
    """A host and the ids of its snapshots, the oldest first."""

    instance_id: int
    job_id: int
    snapshot_ids: tuple[int, ...]


def seed_host(
    source: Path, now: datetime, *, between: Callable[[int], None] = lambda job_id: None, **changes: Any
) -> SeededHost:
    """Three days of snapshots of a small tree that changes a little each day. ``between`` comes before the last one."""
    fill_day(source, 0)
    draft = replace(HOST, **changes)
    instance_id = create_instance(draft, actor=ALICE, now=now - timedelta(days=4)).id
    with writing():
        get_instance(instance_id).ssh_host_key = ED25519
    job_id = create_job(instance_id, new_draft(get_instance(instance_id)), actor=ALICE, now=now).id
    ids: list[int] = []
    base: SnapshotPlace | None = None
    for day in range(3):
        fill_day(source, day)
        if day == 2:
            between(job_id)
        base = _store(source, instance_id, job_id, base=base, at=now - timedelta(days=2 - day, hours=6), ids=ids)
    return SeededHost(instance_id, job_id, tuple(ids))


def add_emptied_run(job_id: int, at: datetime) -> Run:
    """A run that kept nothing, since far too much was gone."""
    run = make_run(
        get_job(job_id),
        at,
        title="web-03: Nightly snapshot",
        triggered_by="scheduled",
        database_name=FILES,
        content=Content.FILES,
        format=ArchiveFormat.SNAPSHOT,
        status=TaskStatus.FAILED,
        started_at=at,
        completed_at=at + timedelta(seconds=9),
        error_code=ErrorCode.SOURCE_EMPTIED,
    )
    with writing():
        run.error_message = "/srv/www is empty on web-03 and held 24 files before, as if its disk were not mounted."
        run.hint = "Mount it and run the job again, or say on this page that the files are meant to be gone."
    return run


def fill_day(source: Path, day: int) -> None:
    """What the host holds that day: most of it stays, one file is new, one changes, one goes."""
    for name in ("etc/nginx", "etc/ssh", "home/bob", "opt/odoo/addons/crm_acme", "srv/www", "var/empty"):
        (source / name).mkdir(parents=True, exist_ok=True)
    files: dict[str, bytes] = {
        "etc/hosts": b"127.0.0.1 localhost\n" * (day + 1),
        "etc/nginx/nginx.conf": b"worker_processes auto;\n",
        "opt/odoo/odoo.conf": b"[options]\ndbfilter = ^acme$\n",
        "opt/odoo/addons/crm_acme/__manifest__.py": b"{'name': 'CRM of Acme'}\n",
        "srv/www/index.html": b"<h1>hello</h1>\n" * 400,
        f"home/bob/notes day {day}.txt": b"remember\n",
        os.fsdecode(b"home/bob/caf\xe9 <b>.txt"): b"not UTF-8\n",
        **{f"srv/www/picture-{number:03d}.jpg": bytes([number]) * 20_000 for number in range(24)},
    }
    for name, content in files.items():
        file = source / name
        if not file.exists() or file.read_bytes() != content:
            file.write_bytes(content)
    if not (source / "srv/www/current").is_symlink():
        (source / "srv/www/current").symlink_to("/srv/www/index.html")
    if day == 2:
        (source / "srv/www/picture-003.jpg").unlink()
    for directory, _, names in os.walk(source):
        os.chmod(directory, 0o755)
        for name in names:
            if not os.path.islink(os.path.join(directory, name)):
                os.chmod(os.path.join(directory, name), 0o640 if name == "odoo.conf" else 0o644)


def _store(
    source: Path, instance_id: int, job_id: int, *, base: SnapshotPlace | None, at: datetime, ids: list[int]
) -> SnapshotPlace:
    host = get_host(instance_id)
    place = SnapshotPlace(backup_root_of(host), host.directory, f"{at:%Y%m%dT%H%M%SZ}")
    manifest = store_snapshot(source, place, run_id=1000 + len(ids), base=base)
    run = make_run(
        get_job(job_id),
        at,
        title="web-03: Nightly snapshot",
        triggered_by="scheduled",
        database_name=FILES,
        content=Content.FILES,
        format=ArchiveFormat.SNAPSHOT,
        size_bytes=manifest.new_bytes,
        verification_status=VerificationStatus.PASSED,
        verification_level=VerificationLevel.INTACT,
        status=TaskStatus.COMPLETED,
        started_at=at,
        completed_at=at + timedelta(seconds=47),
    )
    archive = make_archive(
        run,
        at,
        relative_path=relative_path_of(place),
        size_bytes=manifest.new_bytes,
        sha256=manifest.list_sha256,
        manifest_sha256=digests_of(place)[0],
        verification_level=VerificationLevel.INTACT,
        report=[check.as_json() for check in _checks(manifest)],
    )
    with writing() as session:
        session.add(_record(archive.id, place, manifest, ids[-1] if ids else None))
    ids.append(archive.id)
    return place


def _record(archive_id: int, place: SnapshotPlace, manifest: SnapshotManifest, base_id: int | None) -> SnapshotRecord:
    same = ("file_count", "directory_count", "other_count", "total_bytes", "new_files", "new_bytes", "gone_files")
    return SnapshotRecord(
        archive_id=archive_id,
        root=place.root,
        directory=place.directory,
        name=place.name,
        base_id=base_id,
        base_name=manifest.base,
        paths=["/"],
        transferred_bytes=manifest.new_bytes,
        transfer_seconds=3.5,
        list_sha256=manifest.list_sha256,
        **{name: getattr(manifest, name) for name in same},
    )


def _checks(manifest: SnapshotManifest) -> list[Check]:
    files = f"{manifest.file_count} files"
    return [
        Check("counts", "Tree and list agree", CheckState.PASSED, "Every name of the list is in the tree.", files),
        Check("sample", "Sample read back", CheckState.PASSED, "From disk, not from memory.", "24 files"),
    ]
