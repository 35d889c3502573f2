"""Uploads: a file made by Odoo, pg_dump or Holdfast becomes a restore point, after it was proved."""

from __future__ import annotations

from datetime import datetime

from webapp.core.actors import Actor
from webapp.core.errors import HoldfastError, InvalidInput
from webapp.core.manifest import Manifest, parse_manifest
from webapp.core.reports import BackupResult
from webapp.core.status import ArchiveOrigin, ArchiveState, Role, VerificationLevel, VerificationStatus
from webapp.core.text import format_size, strip_controls
from webapp.engine.intake import ByteStream, IntakePlan, take_in
from webapp.engine.report import SilentReporter
from webapp.services import audit
from webapp.services.archives import moment_of
from webapp.services.settings import get_settings
from webapp.services.store import set_up_store, the_shelf
from webapp.services.wiring import wired
from webapp.store.db import release, writing
from webapp.store.models import Archive

UPLOADS = "Uploads"
DIRECTORY = "uploads"
LONGEST_NAME = 200


def receive(
    stream: ByteStream, name: str, size: int | None, *, actor: Actor, now: datetime, sha256: str = ""
) -> Archive:
    """Take a file in: to the disk, read back and checked, placed; stored when it proved good, in quarantine when not.

    ``name`` is the file's own; ``size`` what the sender announces, None when it does not; ``sha256`` what it must be, "" when
    nobody knows. Raises InvalidInput (too large), SourceError (too large, broken off), ArchiveError (no archive at all:
    nothing is kept), StoreError.
    """
    if not actor.can(Role.OPERATOR):
        raise HoldfastError("Only operators and admins upload archives.", hint="Ask an admin for the operator role.")
    most = wired().upload_limit_bytes
    if size is not None and size > most:
        raise InvalidInput(
            f"The file has {format_size(size)}; uploads may have {format_size(most)}.",
            field="file",
            hint="HOLDFAST_UPLOAD_LIMIT_GIB raises the limit.",
        )
    set_up_store()  # an upload may be the first thing that an installation sees
    plan = _plan(name, size, sha256, now)
    release()
    result = take_in(stream, plan, SilentReporter())
    try:
        return _record(result, plan.file_name, actor, now)
    except BaseException:
        the_shelf().remove(result.relative_path)
        raise


def _plan(name: str, size: int | None, sha256: str, now: datetime) -> IntakePlan:
    own = strip_controls(name).replace("\\", "/").rpartition("/")[2].strip()[:LONGEST_NAME] or "upload"
    return IntakePlan(
        intake_id=int(now.timestamp() * 1_000_000),  # uploads have no row yet whose number could be taken
        file_name=own,
        instance_id=0,
        instance_name=UPLOADS,
        instance_directory=DIRECTORY,
        store_directory=str(wired().archive_directory),
        received_at=now,
        expected_bytes=size,
        expected_sha256=sha256.strip().lower(),
        reserve_bytes=get_settings().reserve_bytes,
        largest_bytes=wired().upload_limit_bytes,
        threads=wired().compression_threads,
    )


def _record(result: BackupResult, file_name: str, actor: Actor, now: datetime) -> Archive:
    manifest = parse_manifest(dict(result.manifest))
    with writing() as session:
        archive = _row(result, manifest, now)
        session.add(archive)
        session.flush()
        audit.record(
            actor,
            "archive.uploaded",
            subject_kind="archive",
            subject_id=archive.id,
            subject_name=f"{UPLOADS} / {manifest.database}",
            details={"file": file_name, "size_bytes": result.size_bytes, "sha256": result.sha256}
            | {"state": archive.state.value},
            now=now,
        )
    return archive


def _row(result: BackupResult, manifest: Manifest, now: datetime) -> Archive:
    report = result.report
    passed = report is not None and report.passed
    rows = result.facts.table_rows
    return Archive(
        instance_name=UPLOADS,
        database_name=manifest.database,
        content=manifest.content,
        format=manifest.archive_format,
        origin=ArchiveOrigin.UPLOAD,
        relative_path=result.relative_path,
        size_bytes=result.size_bytes,
        sha256=result.sha256,
        manifest_sha256=result.manifest_sha256,
        taken_at=moment_of(manifest.started_at, now),
        created_at=now,
        state=ArchiveState.STORED if passed and not result.quarantined else ArchiveState.QUARANTINED,
        verification_status=VerificationStatus.PASSED if passed else VerificationStatus.FAILED,
        verification_level=report.level if report is not None and passed else VerificationLevel.NONE,
        verified_at=now,
        report=[check.as_json() for check in report.checks] if report is not None else [],
        row_total=sum(rows.values()) if rows is not None else None,
        table_count=len(rows) if rows is not None else None,
        attachment_count=result.facts.attachment_count,
        odoo_version=manifest.versions.get("odoo", "")[:32],
        postgresql_version=manifest.versions.get("postgresql", "")[:32],
    )
