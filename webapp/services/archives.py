"""Archives: recorded when a run commits, listed, handed out for download, proved again."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.core.actors import Actor
from webapp.core.errors import ArchiveError, NotFound
from webapp.core.manifest import Manifest
from webapp.core.reports import BackupResult, Check, CheckState, VerificationReport
from webapp.core.status import (
    ArchiveState,
    Content,
    ErrorCode,
    TaskType,
    VerificationLevel,
    VerificationStatus,
)
from webapp.engine.expectation import expectation_of_manifest
from webapp.engine.shelf import read_side_car
from webapp.engine.verify import verify_archive
from webapp.services import audit
from webapp.services.execution import Outcome, execute
from webapp.services.reporting import TaskReporter
from webapp.services.snapshot_places import is_snapshot
from webapp.services.snapshot_verification import TIME_LIMIT_SECONDS as SNAPSHOT_TIME_LIMIT_SECONDS
from webapp.services.snapshot_verification import manifest_data, note_read, read_again, require_verifiable
from webapp.services.store import the_shelf
from webapp.services.tasks import add, find_active, ring
from webapp.store.db import db, release, writing
from webapp.store.models import Archive, Run, Verification

logger = logging.getLogger(__name__)

CLOCK_TOLERANCE = timedelta(minutes=5)
TIME_LIMIT_SECONDS = 6 * 3600


def add_archive(session: Session, run: Run, result: BackupResult, *, now: datetime) -> Archive:
    """The row of a finished archive, inside the transaction that settles its run."""
    report = result.report
    passed = report is not None and report.passed
    rows = result.facts.table_rows
    archive = Archive(
        run_id=run.id,
        job_id=run.job_id,
        instance_id=run.instance_id,
        instance_name=run.instance_name,
        database_name=run.database_name,
        content=run.content,
        format=run.format,
        relative_path=result.relative_path,
        size_bytes=result.size_bytes,
        sha256=result.sha256,
        manifest_sha256=result.manifest_sha256,
        taken_at=_taken_at(result.facts.snapshot_at, run.started_at or now, now),
        created_at=now,
        state=ArchiveState.QUARANTINED if result.quarantined else ArchiveState.STORED,
        verification_status=_status(report),
        verification_level=report.level if report is not None and passed else VerificationLevel.NONE,
        verified_at=now if report is not None else None,
        report=[check.as_json() for check in report.checks] if report is not None else [],
        row_total=sum(rows.values()) if rows is not None else None,
        table_count=len(rows) if rows is not None else None,
        attachment_count=result.facts.attachment_count,
        odoo_version=result.facts.versions.get("odoo", "")[:32],
        postgresql_version=result.facts.versions.get("postgresql", "")[:32],
        fingerprint=dict(report.fingerprint) if report is not None else {},
    )
    session.add(archive)
    return archive


def adopt_archive(
    session: Session, run: Run, manifest: Manifest, relative_path: str, *, now: datetime, manifest_sha256: str = ""
) -> Archive:
    """The row of a complete archive found on disk after its worker died between rename and commit."""
    proof = manifest.verification or {}
    checks = tuple(Check.from_json(item) for item in proof.get("checks", ()))
    archive = Archive(
        run_id=run.id,
        job_id=run.job_id,
        instance_id=run.instance_id,
        instance_name=run.instance_name,
        database_name=run.database_name,
        content=run.content,
        format=run.format,
        relative_path=relative_path,
        size_bytes=manifest.size_bytes,
        sha256=manifest.sha256,
        manifest_sha256=manifest_sha256,
        taken_at=_taken_at(manifest.snapshot_at, moment_of(manifest.started_at, now), now),
        created_at=now,
        state=ArchiveState.STORED,
        verification_status=VerificationStatus.PASSED if checks else VerificationStatus.NOT_RUN,
        verification_level=VerificationLevel(proof["level"]) if checks else VerificationLevel.NONE,
        verified_at=now if checks else None,
        report=[check.as_json() for check in checks],
        row_total=manifest.row_total,
        table_count=len(manifest.table_rows) if manifest.table_rows is not None else None,
        attachment_count=manifest.attachment_count,
        odoo_version=manifest.versions.get("odoo", "")[:32],
        postgresql_version=manifest.versions.get("postgresql", "")[:32],
    )
    session.add(archive)
    return archive


def _status(report: VerificationReport | None) -> VerificationStatus:
    if report is None:
        return VerificationStatus.NOT_RUN
    return VerificationStatus.PASSED if report.passed else VerificationStatus.FAILED


def _taken_at(snapshot_at: str, started_at: datetime, now: datetime) -> datetime:
    """When the source was read. A source whose clock is wrong, or lies, must not choose what retention takes for old."""
    taken = moment_of(snapshot_at, started_at)
    return taken if started_at - CLOCK_TOLERANCE <= taken <= now + CLOCK_TOLERANCE else started_at


def moment_of(text: str, otherwise: datetime) -> datetime:
    """An ISO 8601 time as an aware datetime."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return otherwise
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def get_archive(archive_id: int) -> Archive:
    """The archive. Raises NotFound."""
    archive = db.session.get(Archive, archive_id, populate_existing=True)
    if archive is None:
        raise NotFound(f"There is no restore point {archive_id}.")
    return archive


def newest_verified(instance_id: int, database: str, content: Content | None = None) -> Archive | None:
    """The newest stored archive of the database that passed its verification, and has not failed a drill since."""
    query = (
        sa.select(Archive)
        .where(
            Archive.instance_id == instance_id,
            Archive.database_name == database,
            Archive.state == ArchiveState.STORED,
            Archive.verification_status == VerificationStatus.PASSED,
            Archive.drill_status != VerificationStatus.FAILED,
        )
        .order_by(Archive.taken_at.desc())
        .limit(1)
    )
    if content is not None:
        query = query.where(Archive.content == content)
    return db.session.scalar(query)


@dataclass(frozen=True, slots=True)
class ArchiveFilter:
    """Which archives to list; newest first. ``with_gone`` adds deleted and missing ones."""

    instance_id: int | None = None
    database: str = ""
    verification: VerificationStatus | None = None
    with_gone: bool = False
    offset: int = 0
    limit: int = 50


SHOWN_STATES = (ArchiveState.STORED, ArchiveState.QUARANTINED, ArchiveState.MISSING)


def list_archives(wanted: ArchiveFilter) -> tuple[Sequence[Archive], int]:
    """One page of archives, newest first, and how many there are in all."""
    query = sa.select(Archive)
    if not wanted.with_gone:
        query = query.where(Archive.state.in_(SHOWN_STATES))
    if wanted.instance_id is not None:
        query = query.where(Archive.instance_id == wanted.instance_id)
    if wanted.database:
        query = query.where(Archive.database_name == wanted.database)
    if wanted.verification is not None:
        query = query.where(Archive.verification_status == wanted.verification)
    total = db.session.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0
    page = query.order_by(Archive.taken_at.desc(), Archive.id.desc()).offset(wanted.offset).limit(wanted.limit)
    return db.session.scalars(page).all(), total


def archive_of_run(run_id: int) -> Archive | None:
    """The archive that a run made, whatever its state."""
    return db.session.scalar(sa.select(Archive).where(Archive.run_id == run_id))


def file_path(archive: Archive) -> str:
    """Absolute path of the archive's file. Raises NotFound when it is deleted or not there, and for a snapshot (a tree)."""
    if is_snapshot(archive):
        raise NotFound(
            f"Restore point {archive.id} is a snapshot: a directory tree, and not one file.",
            hint="Browse it; files and folders of it can be downloaded and restored from there.",
        )
    if archive.state not in (ArchiveState.STORED, ArchiveState.QUARANTINED):
        raise NotFound(f"Restore point {archive.id} is no longer stored ({archive.state.value}).")
    shelf = the_shelf()
    if not shelf.exists(archive.relative_path):
        raise NotFound(
            f"The file of restore point {archive.id} is not in the archive store.",
            hint="Look whether the disk is mounted, and whether somebody removed the file.",
        )
    return shelf.resolve(archive.relative_path)


def record_download(archive: Archive, *, actor: Actor, now: datetime) -> str:
    """Absolute path of the file to send; who took it goes into the audit log. Raises NotFound."""
    path = file_path(archive)
    name = f"{archive.instance_name} / {archive.database_name}"
    with writing():
        audit.record(
            actor, "archive.downloaded", subject_kind="archive", subject_id=archive.id, subject_name=name, now=now
        )
    return path


def find_manifest(archive: Archive) -> Manifest | None:
    """The side-car manifest, None when it is missing, damaged or changed. Raises NotFound when the archive's file is."""
    return read_side_car(os.path.dirname(file_path(archive)), archive.manifest_sha256)


def read_manifest(archive: Archive) -> Manifest:
    """The side-car manifest. Raises ArchiveError, NotFound."""
    found = find_manifest(archive)
    if found is None:
        raise ArchiveError(
            f"The manifest beside restore point {archive.id} is missing, damaged or not as it was written.",
            hint="The archive itself may be whole: its digest is on the run's page. Compare it by hand before you trust it.",
        )
    return found


def read_manifest_data(archive: Archive) -> Mapping[str, Any]:
    """The side-car manifest as JSON, a snapshot's too. Raises ArchiveError, NotFound."""
    return manifest_data(archive.id) if is_snapshot(archive) else read_manifest(archive).as_json()


# Proving again


def request_verification(archive_id: int, *, level: VerificationLevel, actor: Actor, now: datetime) -> Verification:
    """Ask for a verification; one that is already on its way is answered instead. Raises NotFound."""
    _require_there(get_archive(archive_id))
    with writing() as session:
        archive = get_archive(archive_id)
        active = find_active(Verification, Verification.archive_id == archive_id)
        if active is not None:
            return active
        task = add_verification(session, archive, level, triggered_by=actor.triggered_by, now=now)
        session.flush()
    ring([task.id])
    return task


def _require_there(archive: Archive) -> None:
    if is_snapshot(archive):
        require_verifiable(archive.id)
    else:
        file_path(archive)


def add_verification(
    session: Session, archive: Archive, level: VerificationLevel, *, triggered_by: str, now: datetime
) -> Verification:
    """A pending verification inside the caller's ``writing()``; ring its id after the commit."""
    task = Verification(
        type=TaskType.VERIFICATION,
        title=f"{archive.instance_name} / {archive.database_name}: verify restore point {archive.id}"[:200],
        triggered_by=triggered_by,
        instance_id=archive.instance_id,
        instance_name=archive.instance_name,
        archive_id=archive.id,
        level=level,
        time_limit_seconds=SNAPSHOT_TIME_LIMIT_SECONDS if is_snapshot(archive) else TIME_LIMIT_SECONDS,
    )
    add(task, now=now)
    return task


def execute_verification(task_id: int, *, clock: Callable[[], datetime]) -> None:
    """Execute a Verification task."""
    execute(task_id, lambda i, reporter: _verify(i, reporter, clock), clock=clock)


def _verify(task_id: int, reporter: TaskReporter, clock: Callable[[], datetime]) -> Outcome:
    task = db.session.get_one(Verification, task_id)
    archive_id, level = task.archive_id, task.level
    report = _read_again(get_archive(archive_id), level, reporter)

    def store(session: Session) -> None:
        record_report(get_archive(archive_id), report, now=clock())

    error = report.error(f"Restore point {archive_id} failed its verification")
    details: dict[str, Any] = {"archive_id": archive_id, "checks": [check.as_json() for check in report.checks]}
    return Outcome(values={"details": details}, store=store, error=error)


def _read_again(archive: Archive, level: VerificationLevel, reporter: TaskReporter) -> VerificationReport:
    if is_snapshot(archive):
        return read_again(archive.id, level, reporter)
    reporter.step("verify", "Verify")
    path, side_car, size, digest = file_path(archive), find_manifest(archive), archive.size_bytes, archive.sha256
    release()
    if side_car is None:
        return VerificationReport(level, (_without_manifest(),))
    # The row knows best what was written: archives that changed places took their manifests with them.
    expectation = replace(expectation_of_manifest(side_car), size_bytes=size, sha256=digest)
    return verify_archive(path, expectation, level, reporter)


def _without_manifest() -> Check:
    return Check(
        key="manifest",
        title="Manifest beside the archive",
        state=CheckState.FAILED,
        detail="It is missing or damaged, or not as it was written, so nobody can say what the archive must hold.",
        hint="Run a new backup. The digest on this archive's run page still tells whether the file is as it was written.",
        code=ErrorCode.CORRUPT,
        level=VerificationLevel.INTACT,
    )


def change_state(archive_id: int, state: ArchiveState, found: ArchiveState) -> bool:
    """Say of an archive whose state was ``state`` that it is ``found``; False when it is something else by now."""
    with writing() as session:
        archive = session.get_one(Archive, archive_id)
        if archive.state is not state:
            return False
        archive.state = found
    logger.warning("restore point %s is now %s", archive_id, found.value)
    return True


def record_report(archive: Archive, report: VerificationReport, *, now: datetime) -> None:
    """Keep a new verification with its archive. A failed one takes the archive out of what counts."""
    archive.report = [check.as_json() for check in report.checks]
    archive.verified_at = now
    archive.verification_status = _status(report)
    archive.verification_level = report.level if report.passed else VerificationLevel.NONE
    if is_snapshot(archive):
        note_read(archive.id, report, now)
    elif report.passed and report.level is VerificationLevel.COMPLETE:
        archive.fingerprint = dict(report.fingerprint)
