"""Intake: an archive that somebody uploads comes into the store as one of ours does, whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from webapp.core.errors import ArchiveError, SourceError, StoreError
from webapp.core.manifest import Manifest, verification_summary
from webapp.core.naming import archive_base_name, archive_directory_name
from webapp.core.reports import BackupResult, SourceFacts, VerificationReport
from webapp.core.status import ArchiveFormat, Content, ErrorCode, VerificationLevel
from webapp.core.text import format_size
from webapp.engine.archive.digest import DigestingFile
from webapp.engine.checks import ODOO_TABLES
from webapp.engine.disk import disk_error, require_free
from webapp.engine.evidence import Evidence, gather_evidence
from webapp.engine.expectation import NAMELESS, NAMELESS_YES, Expectation
from webapp.engine.intake_look import SNIFFED_BYTES, Look, kind_of, look_at
from webapp.engine.report import Reporter
from webapp.engine.shelf import TEMPORARY, Shelf, Workplace, open_shelf
from webapp.engine.verify import judge
from webapp.engine.version import own_version

_BLOCK_BYTES = 1024 * 1024
_INCOMING = "incoming"
_WORKPLACE = re.compile(r"upload-\d{1,18}")


class ByteStream(Protocol):
    """What is read: a request's body, a file."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end. Raises OSError when the sender is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakePlan:
    """One upload.

    Attributes:
        intake_id: A number of the caller's, from 1 on, that no other upload ever had: it makes the archive's directory
            unique, "…_r<intake_id>f0". No run has fence 0, so it is never taken for a run's.
        file_name: As the uploader named the file; a moment in it ("prod_2026-11-22_05-30-37.zip") is believed.
        instance_directory: Folder below the store, as in BackupPlan ("7-acme-prod", "uploads").
        database: For an archive that does not name its database itself; "" takes it from the file's name.
        expected_bytes: Announced length, for the free-space check and against truncation; None when it is not known.
        expected_sha256: The digest it must have, "" when nobody knows.
        labels: Kept in the side-car; ``origin``, ``file_name`` and ``received_at`` are added.
    """

    intake_id: int
    file_name: str
    instance_id: int
    instance_name: str
    instance_directory: str
    store_directory: str
    received_at: datetime
    database: str = ""
    expected_bytes: int | None = None
    expected_sha256: str = ""
    reserve_bytes: int = 256 * 1024 * 1024
    largest_bytes: int = 4 * 1024**4
    threads: int = 2
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Received:
    """The file in its workplace, durable."""

    archive_format: ArchiveFormat
    path: str
    size_bytes: int
    sha256: str


def take_in(stream: ByteStream, plan: IntakePlan, reporter: Reporter) -> BackupResult:
    """Receive, look, verify, and place on the shelf; in quarantine when it fails its verification.

    ``result.manifest`` has the side-car's values (database, content, format, versions, ``started_at`` = when it was taken,
    as far as the archive tells); its ``run_id`` is 0. Raises SourceError (too_large, truncated, connection_lost),
    ArchiveError (not_a_backup, hostile_archive, corrupt …), StoreError, TaskStopped; nothing is then left on the disk.
    """
    shelf = open_shelf(plan.store_directory)
    require_free(shelf.root, plan.expected_bytes or 0, plan.reserve_bytes)
    workplace = _begin(shelf, plan)
    try:
        received = _receive(stream, workplace, plan, reporter)
        reporter.step("verify", "Verify", "What the archive holds")
        look = look_at(received.path, plan.file_name, received.archive_format, reporter)
        intake = _judge(received, look, plan, reporter)
        return _place(shelf, workplace, intake, reporter)
    finally:
        shutil.rmtree(workplace.directory, ignore_errors=True)


def clear_intakes(store_directory: str, *, older_than: datetime) -> int:
    """Delete what killed uploads left below ``.tmp`` and nobody wrote to since; returns how many that were."""
    base = os.path.join(open_shelf(store_directory).root, TEMPORARY)
    count = 0
    try:
        for name in os.listdir(base):
            path = os.path.join(base, name)
            if _WORKPLACE.fullmatch(name) and _last_written(path) < older_than.timestamp():
                shutil.rmtree(path)
                count += 1
    except FileNotFoundError:
        pass  # Its owner finished meanwhile.
    except OSError as error:
        raise disk_error(error, "clear what uploads left") from error
    return count


def _last_written(directory: str) -> float:
    paths = [directory, *(os.path.join(directory, name) for name in os.listdir(directory))]
    return max(os.lstat(path).st_mtime for path in paths)


def _begin(shelf: Shelf, plan: IntakePlan) -> Workplace:
    # Not named as a run's: the sweeper clears those whose task does not run.
    directory = os.path.join(shelf.root, TEMPORARY, f"upload-{int(plan.intake_id)}")
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        raise StoreError(f"Upload {plan.intake_id} is being received already.", permanent=True) from None
    except OSError as error:
        raise disk_error(error, "make the upload's temporary directory") from error
    return Workplace(plan.intake_id, 0, plan.instance_directory, directory)


def _receive(stream: ByteStream, workplace: Workplace, plan: IntakePlan, reporter: Reporter) -> _Received:
    reporter.step("receive", "Receive the file", plan.file_name)
    first = _first(stream)
    archive_format = kind_of(first[:SNIFFED_BYTES])
    path = workplace.path(_INCOMING)
    with DigestingFile(path, reserve_bytes=plan.reserve_bytes, largest_bytes=plan.largest_bytes) as sink:
        block = first
        while block:
            sink.write(block)
            reporter.check()
            reporter.progress(sink.tell(), plan.expected_bytes)
            block = _read(stream)
    _require_whole(sink, plan)
    return _Received(archive_format, path, sink.tell(), sink.sha256)


def _first(stream: ByteStream) -> bytes:
    """A first block that is long enough to be recognised, if there is as much."""
    first = b""
    while len(first) < SNIFFED_BYTES and (more := _read(stream)):
        first += more
    return first


def _read(stream: ByteStream) -> bytes:
    try:
        return stream.read(_BLOCK_BYTES)
    except OSError as error:
        raise SourceError(
            "The connection broke off before the file was received whole.",
            hint="Send it again.",
            code=ErrorCode.CONNECTION_LOST,
        ) from error


def _require_whole(sink: DigestingFile, plan: IntakePlan) -> None:
    size = sink.tell()
    if plan.expected_bytes is not None and size != plan.expected_bytes:
        raise SourceError(
            f"{format_size(size)} came; {format_size(plan.expected_bytes)} were announced.",
            hint="The upload broke off. Send the file again.",
            code=ErrorCode.TRUNCATED,
        )
    if plan.expected_sha256 and sink.sha256 != plan.expected_sha256.lower():
        raise ArchiveError(
            f"The file's SHA-256 is {sink.sha256}, not the one that was given.",
            hint="It was changed or damaged on its way, or it is another file. Send it again.",
        )


@dataclass(frozen=True, slots=True)
class _Intake:
    """What was received, and what is thought of it."""

    plan: IntakePlan
    received: _Received
    look: Look
    evidence: Evidence
    expectation: Expectation
    report: VerificationReport
    taken_at: datetime

    @property
    def content(self) -> Content:
        return Content.DATABASE_AND_FILESTORE if self.expectation.has_filestore else Content.DATABASE


def _judge(received: _Received, look: Look, plan: IntakePlan, reporter: Reporter) -> _Intake:
    """Read it whole and ask what can be asked without knowing the source. Raises ArchiveError when it cannot be read."""
    expectation = _expectation(received, look, plan)
    evidence = gather_evidence(
        received.path, expectation, look_inside=True, from_disk=True, threads=plan.threads, reporter=reporter
    )
    if evidence.damage is not None:
        raise evidence.damage
    expectation = replace(expectation, is_odoo=look.is_odoo or _has_odoo_tables(evidence))
    report = judge(evidence, expectation, VerificationLevel.COMPLETE)
    for check in report.checks:
        reporter.log(f"{check.title}: {check.detail}")
    taken_at = look.taken_at if look.taken_at and look.taken_at <= plan.received_at else plan.received_at
    return _Intake(plan, received, look, evidence, expectation, report, taken_at)


def _expectation(received: _Received, look: Look, plan: IntakePlan) -> Expectation:
    """What the archive says of itself. Odoo for now, so that the reading looks for what only Odoo has."""
    return Expectation(
        archive_format=received.archive_format,
        database=look.database if look.named_itself else plan.database or look.database or "unnamed",
        is_odoo=True,
        has_filestore=look.files > 0,
        size_bytes=received.size_bytes,
        sha256=received.sha256,
        names_itself=look.named_itself,
    )


def _has_odoo_tables(evidence: Evidence) -> bool:
    tables = evidence.dump.tables if evidence.dump is not None else set()
    return all(f"public.{name}" in tables for name in ODOO_TABLES)


def _place(shelf: Shelf, workplace: Workplace, intake: _Intake, reporter: Reporter) -> BackupResult:
    quarantined = not intake.report.passed
    reporter.step("store", "Store", "Put into quarantine" if quarantined else "Put on the shelf")
    reporter.check()
    plan, received = intake.plan, intake.received
    manifest = _manifest(intake)
    try:
        os.rename(received.path, workplace.path(manifest.file_name))
    except OSError as error:
        raise disk_error(error, "name the archive") from error
    directory = archive_directory_name(intake.taken_at, manifest.database, plan.intake_id, 0)
    path = shelf.place(workplace, manifest, directory, quarantined=quarantined)
    return BackupResult(
        relative_path=path,
        size_bytes=received.size_bytes,
        sha256=received.sha256,
        manifest=manifest.as_json(),
        report=intake.report,
        quarantined=quarantined,
        facts=_facts(intake),
        manifest_sha256=manifest.digest,
    )


def _facts(intake: _Intake) -> SourceFacts:
    """What is known of the database, all of it read off the archive itself."""
    dump, found = intake.evidence.dump, intake.evidence.attachments
    return SourceFacts(
        snapshot_at=intake.taken_at.isoformat(),
        # Only of tables that the dump makes: rows of others belong to an extension, which adds its own.
        table_rows=None if dump is None else {name: n for name, n in dump.rows.items() if name in dump.tables},
        attachment_count=None if found is None else found.expected,
        missing_attachment_count=0 if found is None else found.missing,
        mismatched_attachment_count=0 if found is None else found.mismatched,
        dump_bytes=0 if dump is None else dump.size,
        filestore_bytes=intake.look.file_bytes,
        versions=intake.look.versions,
    )


def _manifest(intake: _Intake) -> Manifest:
    plan, facts, expectation = intake.plan, _facts(intake), intake.expectation
    labels = {**plan.labels, "origin": "upload", "file_name": plan.file_name[:200]}
    labels["received_at"] = plan.received_at.isoformat()
    if expectation.is_odoo and not expectation.names_itself:
        labels[NAMELESS] = NAMELESS_YES
    return Manifest(
        run_id=0,  # No run made it.
        fence=0,
        attempt=1,
        job_id=None,
        instance_id=plan.instance_id,
        instance_name=plan.instance_name,
        database=expectation.database,
        is_odoo=expectation.is_odoo,
        has_filestore=expectation.has_filestore,
        content=intake.content,
        archive_format=expectation.archive_format,
        file_name=archive_base_name(intake.taken_at, expectation.database) + expectation.archive_format.suffix,
        size_bytes=intake.received.size_bytes,
        sha256=intake.received.sha256,
        started_at=intake.taken_at.isoformat(),
        snapshot_at=facts.snapshot_at,
        holdfast_version=own_version(),
        dump_bytes=facts.dump_bytes,
        filestore_bytes=facts.filestore_bytes,
        attachment_count=facts.attachment_count,
        missing_attachment_count=facts.missing_attachment_count,
        mismatched_attachment_count=facts.mismatched_attachment_count,
        table_rows=facts.table_rows,
        versions=facts.versions,
        verification=verification_summary(intake.report),
        labels=labels,
    )
