"""Rows of snapshots: the restore point and what a snapshot has beyond others, written in one go.

A run that commits, a tree that is adopted and one that is found on disk all come through here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.core.reports import Check, VerificationReport
from webapp.core.snapshot_manifest import SnapshotManifest
from webapp.core.snapshot_plans import FILES, SnapshotPlace
from webapp.core.status import (
    ArchiveFormat,
    ArchiveOrigin,
    ArchiveState,
    Content,
    VerificationLevel,
    VerificationStatus,
)
from webapp.services.snapshot_places import relative_path_of
from webapp.store.models import Archive, SnapshotRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSnapshot:
    """A tree that stands on disk and gets its rows. ``manifest`` is None for a plain one: then little is known."""

    place: SnapshotPlace
    taken_at: datetime
    instance_id: int | None
    instance_name: str
    job_id: int | None = None
    run_id: int | None = None
    origin: ArchiveOrigin = ArchiveOrigin.BACKUP
    manifest: SnapshotManifest | None = None
    manifest_sha256: str = ""
    report: VerificationReport | None = None


def add_snapshot(session: Session, new: NewSnapshot, *, now: datetime) -> SnapshotRecord:
    """Both rows, inside the caller's ``writing()``; flushed, so that their id is known."""
    manifest = new.manifest
    archive = Archive(
        run_id=new.run_id,
        job_id=new.job_id,
        instance_id=new.instance_id,
        instance_name=new.instance_name,
        database_name=FILES,
        content=Content.FILES,
        format=ArchiveFormat.SNAPSHOT,
        relative_path=relative_path_of(new.place),
        size_bytes=manifest.new_bytes if manifest is not None else 0,
        sha256=manifest.list_sha256 if manifest is not None else "",
        manifest_sha256=new.manifest_sha256,
        taken_at=new.taken_at,
        created_at=now,
        state=ArchiveState.STORED,
        origin=new.origin,
        **_proof(new.report, now),
    )
    record = SnapshotRecord(
        archive=archive,
        root=new.place.root,
        directory=new.place.directory,
        name=new.place.name,
        layout=new.place.layout,
        **_counts(manifest),
    )
    session.add_all([archive, record])
    link_base(session, record)
    session.flush()
    return record


def _proof(report: VerificationReport | None, now: datetime) -> dict[str, Any]:
    if report is None:
        return {"verification_status": VerificationStatus.NOT_RUN}
    return {
        "verification_status": VerificationStatus.PASSED if report.passed else VerificationStatus.FAILED,
        "verification_level": report.level if report.passed else VerificationLevel.NONE,
        "verified_at": now,
        "report": [check.as_json() for check in report.checks],
    }


def _counts(manifest: SnapshotManifest | None) -> dict[str, Any]:
    if manifest is None:
        return {}
    return {
        "base_name": manifest.base,
        "paths": list(manifest.paths),
        "file_count": manifest.file_count,
        "directory_count": manifest.directory_count,
        "other_count": manifest.other_count,
        "total_bytes": manifest.total_bytes,
        "new_files": manifest.new_files,
        "new_bytes": manifest.new_bytes,
        "gone_files": manifest.gone_files,
        "transferred_bytes": manifest.transferred_bytes,
        "transfer_seconds": manifest.transfer_seconds,
        "vanished": manifest.vanished,
        "unreadable": manifest.unreadable,
        "list_sha256": manifest.list_sha256,
    }


def link_base(session: Session, record: SnapshotRecord) -> None:
    """Point to the base's row, where it has one."""
    if not record.base_name or record.base_id is not None:
        return
    with session.no_autoflush:
        record.base_id = session.scalar(
            sa.select(SnapshotRecord.archive_id).where(
                SnapshotRecord.root == record.root,
                SnapshotRecord.directory == record.directory,
                SnapshotRecord.name == record.base_name,
            )
        )


def report_in(manifest: SnapshotManifest) -> VerificationReport | None:
    """What the manifest says of the verification before promotion; None when it says nothing that can be read."""
    proof: Mapping[str, Any] = manifest.verification or {}
    try:
        checks = tuple(Check.from_json(item) for item in proof.get("checks", ()))
        return VerificationReport(VerificationLevel(proof["level"]), checks) if checks else None
    except (KeyError, ValueError, TypeError):  # somebody wrote into it: then nothing is known to be verified
        return None
