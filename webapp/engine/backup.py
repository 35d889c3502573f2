"""One backup, from the source to an archive on the shelf: written once, read back, then placed in a single rename."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from webapp.core.manifest import Manifest, verification_summary
from webapp.core.naming import archive_base_name, archive_directory_name
from webapp.core.plans import BackupPlan
from webapp.core.reports import BackupResult, SourceFacts, VerificationReport
from webapp.core.status import ErrorCode, VerificationLevel
from webapp.core.text import format_size
from webapp.engine.archive.digest import DigestingFile
from webapp.engine.disk import require_free
from webapp.engine.report import Reporter, tell_check
from webapp.engine.shelf import Shelf, Workplace, open_shelf
from webapp.engine.sources.base import Source
from webapp.engine.verify import Expectation, expectation_of_backup, require_structure, verify_archive
from webapp.engine.version import own_version

# What the next archive may need beside the one before it: databases grow, and not evenly.
ROOM_FOR_GROWTH = 1.5


@dataclass(frozen=True, slots=True)
class _Written:
    """An archive's file, durable in its workplace."""

    facts: SourceFacts
    file_name: str
    size_bytes: int
    sha256: str
    expectation: Expectation


def run(plan: BackupPlan, source: Source, reporter: Reporter) -> BackupResult:
    """Back up one database as the plan says.

    1. Prepare: the store is there and has room. 2. The source writes its archive to a new file below ``.tmp``, digested
    on the way and synced. 3. Verify by reading it back. 4. Store: side-car manifest, syncs, one rename; an archive that
    failed its verification goes into quarantine and the result says so.

    Raises SourceError, ArchiveError, StoreError or TaskStopped; nothing of the run is then left on the disk.
    """
    reporter.step("prepare", "Prepare", "Archive store and free space")
    shelf = open_shelf(plan.store_directory)
    require_free(shelf.root, int(plan.expected_bytes * ROOM_FOR_GROWTH), plan.reserve_bytes)
    reporter.log(f"{format_size(shelf.free_bytes())} free in the archive store")
    reporter.check()
    workplace = shelf.begin(plan)
    try:
        written = _write(plan, source, workplace, reporter)
        reporter.check()
        report = _verify(plan, workplace, written, reporter)
        reporter.check()
        return _store(plan, _Finished(shelf, workplace, written, report), reporter)
    finally:
        # After a placing there is nothing left to discard; after anything else nothing may be left.
        shelf.discard(workplace)


def _write(plan: BackupPlan, source: Source, workplace: Workplace, reporter: Reporter) -> _Written:
    name = archive_base_name(plan.started_at, plan.database) + plan.format.suffix
    with DigestingFile(
        workplace.path(name), reserve_bytes=plan.reserve_bytes, largest_bytes=plan.largest_bytes
    ) as sink:
        facts = source.write_archive(plan, sink, reporter)
        reporter.check()
    size, sha256 = sink.tell(), sink.sha256
    reporter.log(f"{format_size(size)} written, SHA-256 {sha256}")
    expectation = expectation_of_backup(plan, facts, size_bytes=size, sha256=sha256, xxh128=sink.xxh128)
    require_structure(workplace.path(name), expectation, reporter)
    return _Written(facts, name, size, sha256, expectation)


def _verify(plan: BackupPlan, workplace: Workplace, written: _Written, reporter: Reporter) -> VerificationReport | None:
    if plan.verification is VerificationLevel.NONE:
        return None
    reporter.step("verify", "Verify", "Read back from disk")
    report = verify_archive(
        workplace.path(written.file_name),
        written.expectation,
        plan.verification,
        reporter,
        threads=plan.compression_threads,
    )
    for check in report.checks:
        tell_check(check, f"{check.title}: {check.detail}", reporter, code=ErrorCode.INCOMPLETE)
    return report


@dataclass(frozen=True, slots=True)
class _Finished:
    shelf: Shelf
    workplace: Workplace
    written: _Written
    report: VerificationReport | None


def _store(plan: BackupPlan, finished: _Finished, reporter: Reporter) -> BackupResult:
    quarantined = finished.report is not None and not finished.report.passed
    reporter.step("store", "Store", "Put into quarantine" if quarantined else "Put on the shelf")
    reporter.check()
    written = finished.written
    manifest = _manifest(plan, finished)
    directory = archive_directory_name(plan.started_at, plan.database, plan.run_id, plan.fence)
    # From here on the task is not asked to stop any more: the archive is complete, and placing it takes a moment.
    path = finished.shelf.place(finished.workplace, manifest, directory, quarantined=quarantined)
    as_written: Mapping[str, Any] = manifest.as_json()
    return BackupResult(
        relative_path=path,
        size_bytes=written.size_bytes,
        sha256=written.sha256,
        manifest=as_written,
        report=finished.report,
        quarantined=quarantined,
        facts=written.facts,
        manifest_sha256=manifest.digest,
    )


def _manifest(plan: BackupPlan, finished: _Finished) -> Manifest:
    written, facts = finished.written, finished.written.facts
    return Manifest(
        run_id=plan.run_id,
        fence=plan.fence,
        attempt=plan.attempt,
        job_id=plan.job_id,
        instance_id=plan.instance_id,
        instance_name=plan.instance_name,
        database=plan.database,
        is_odoo=written.expectation.is_odoo,
        has_filestore=written.expectation.has_filestore,
        content=plan.content,
        archive_format=plan.format,
        file_name=written.file_name,
        size_bytes=written.size_bytes,
        sha256=written.sha256,
        started_at=plan.started_at.isoformat(),
        snapshot_at=facts.snapshot_at,
        holdfast_version=own_version(),
        dump_bytes=facts.dump_bytes,
        filestore_bytes=facts.filestore_bytes,
        attachment_count=facts.attachment_count,
        missing_attachment_count=facts.missing_attachment_count,
        missing_attachments=facts.missing_attachments,
        mismatched_attachment_count=facts.mismatched_attachment_count,
        mismatched_attachments=facts.mismatched_attachments,
        table_rows=None if facts.table_rows is None else dict(facts.table_rows),
        versions=dict(facts.versions),
        warnings=tuple({"code": code.value, "message": message} for code, message in facts.warnings),
        verification=verification_summary(finished.report),
        labels=dict(plan.labels),
    )
