"""Reading an archive from end to end and noting what it holds; judging it is for ``checks``."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from webapp.core.errors import ArchiveError, HoldfastError
from webapp.core.status import ArchiveFormat, ErrorCode
from webapp.engine.archive.attachments import PREFIX, AttachmentFindings, AttachmentLedger
from webapp.engine.archive.digest import file_digest, quick_digest
from webapp.engine.archive.dump_scan import DumpScanner, DumpSummary, Pick
from webapp.engine.archive.traits import AdministratorLedger, FileTraits
from webapp.engine.archive.zip_check import check_members, ignore_member
from webapp.engine.archive.zip_reader import Member, ZipArchive, open_zip
from webapp.engine.disk import disk_error
from webapp.engine.expectation import Expectation
from webapp.engine.pgtools import find_tools
from webapp.engine.process import ProcessFailed, clean_environment, stream
from webapp.engine.report import Reporter

DUMP_NAME = "dump.sql"
MANIFEST_NAME = "manifest.json"
ATTACHMENT_TABLE = "public.ir_attachment"
_MANIFEST_BYTES = 16 * 1024 * 1024
_CUSTOM_MAGIC = b"PGDMP"


@dataclass(slots=True)
class Evidence:
    """What was read. ``damage`` is the first thing that could not be read as an archive; what follows it is unknown.

    Attributes:
        sha256: Of the file; "" where ``xxh128`` was taken instead.
        members: Members unpacked with the right CRC (zip), or 0.
        dump: What the dump holds; None when it was not looked into or is not there.
        dump_fault: Why the dump could not be understood.
        manifest: manifest.json inside the zip; None when it is not there or not JSON.
        dump_packed: Bytes that the dump takes in the archive, 0 when it was not looked into.
        traits: Of the filestore's files; None when they were not looked at.
        administrators: Logins, None when the dump does not tell.
    """

    size_bytes: int = 0
    sha256: str = ""
    xxh128: str = ""
    damage: HoldfastError | None = None
    members: int = 0
    plain_bytes: int = 0
    dump: DumpSummary | None = None
    dump_fault: str = ""
    manifest: Mapping[str, Any] | None = None
    attachments: AttachmentFindings | None = None
    dump_packed: int = 0
    traits: FileTraits | None = None
    administrators: tuple[str, ...] | None = None


def gather_evidence(
    path: str, expectation: Expectation, *, look_inside: bool, from_disk: bool, threads: int, reporter: Reporter
) -> Evidence:
    """Read the whole file once for its digest and once, at the same time, for what it holds.

    ``from_disk``: not from the kernel's memory of what was just written. Raises StoreError when the disk refuses.
    """
    evidence = Evidence()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise disk_error(error, "open the archive") from error
    try:
        with ThreadPoolExecutor(1, thread_name_prefix="digest") as pool:
            kind = quick_digest if expectation.xxh128 else hashlib.sha256
            digesting = pool.submit(file_digest, descriptor, reporter, from_disk=from_disk, new_digest=kind)
            try:
                if expectation.archive_format is ArchiveFormat.ZIP:
                    _read_zip(path, expectation, evidence, _Looks(look_inside, threads, reporter))
                else:
                    _read_custom(path, descriptor, evidence, _scanner(expectation), reporter)
            except ArchiveError as error:
                evidence.damage = error
            evidence.size_bytes, digest = digesting.result()
            if expectation.xxh128:
                evidence.xxh128 = digest
            else:
                evidence.sha256 = digest
    finally:
        os.close(descriptor)
    return evidence


@dataclass(frozen=True, slots=True)
class _Looks:
    inside: bool
    threads: int
    reporter: Reporter


def _read_zip(path: str, expectation: Expectation, evidence: Evidence, looks: _Looks) -> None:
    with open_zip(path) as archive:
        if not looks.inside:
            totals = check_members(archive, ignore_member, threads=looks.threads, reporter=looks.reporter)
        else:
            reader = _ZipContents(evidence, expectation)
            totals = check_members(archive, reader.visit, threads=looks.threads, reporter=looks.reporter)
            reader.conclude(archive)
        evidence.members, evidence.plain_bytes = totals.members, totals.plain_bytes


class _ZipContents:
    """The visitor of a zip's members; the dump is seen by one thread, files by several."""

    def __init__(self, evidence: Evidence, expectation: Expectation) -> None:
        self._evidence = evidence
        self._ledger = AttachmentLedger() if expectation.has_filestore else None
        self._traits = FileTraits()
        self._dump = _scanner(expectation, self._ledger)

    def visit(self, member: Member, chunks: Iterator[bytes]) -> None:
        if member.name == DUMP_NAME:
            self._evidence.dump_packed = member.packed
            _scan_into(self._evidence, self._dump, chunks)
        elif member.name == MANIFEST_NAME:
            self._evidence.manifest = _parsed_manifest(chunks)
        elif self._ledger is not None and member.raw_name.startswith(PREFIX):
            self._ledger.take_file(member.raw_name, self._traits.watch(member, chunks))

    def conclude(self, archive: ZipArchive) -> None:
        """Compare the dump's attachments with the archive's names, when all members were visited."""
        if self._ledger is not None:
            self._evidence.attachments = self._ledger.compare(archive.name_keys)
            self._evidence.traits = self._traits


@dataclass(frozen=True, slots=True)
class _Dump:
    """A scanner, and who waits for what it finds."""

    scanner: DumpScanner
    administrators: AdministratorLedger | None


def _scanner(expectation: Expectation, ledger: AttachmentLedger | None = None) -> _Dump:
    administrators = AdministratorLedger() if expectation.is_odoo else None
    picks = administrators.picks() if administrators is not None else {}
    if ledger is not None:
        picks[ATTACHMENT_TABLE] = Pick(("store_fname", "checksum"), ledger.take_rows)
    return _Dump(DumpScanner(picks), administrators)


def _scan_into(evidence: Evidence, dump: _Dump, chunks: Iterator[bytes]) -> None:
    for chunk in chunks:
        try:
            dump.scanner.feed(chunk)
        except ArchiveError as error:
            # The rest is left to whoever checks the CRCs.
            evidence.dump_fault = error.message
            return
    evidence.dump = dump.scanner.finish()
    if dump.administrators is not None:
        evidence.administrators = dump.administrators.conclude(evidence.dump.picked)


def _parsed_manifest(chunks: Iterator[bytes]) -> Mapping[str, Any] | None:
    text = bytearray()
    for chunk in chunks:
        text += chunk
        if len(text) > _MANIFEST_BYTES:
            return None
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _read_custom(path: str, descriptor: int, evidence: Evidence, dump: _Dump, reporter: Reporter) -> None:
    """A full parse: a listing of the archive's contents sees neither truncation nor damage."""
    if os.pread(descriptor, len(_CUSTOM_MAGIC), 0) != _CUSTOM_MAGIC:
        code = ErrorCode.NOT_A_BACKUP if os.fstat(descriptor).st_size else ErrorCode.TRUNCATED
        raise ArchiveError("The file is not an archive of PostgreSQL's custom format.", code=code)
    tools = find_tools()
    if not tools:
        hint = "Install PostgreSQL's client programs on the worker."
        raise ArchiveError(
            "No pg_restore was found to read the archive with.", hint=hint, code=ErrorCode.CLIENT_MISSING
        )
    newest = max(tools, key=lambda one: one.major)
    argv = [newest.program("pg_restore"), "--file=-", path]
    try:
        with stream(argv, env=clean_environment(), reporter=reporter) as chunks:
            _scan_into(evidence, dump, chunks)
            for _ in chunks:
                reporter.check()
    except ProcessFailed as error:
        said = error.stderr_tail.splitlines()[-1:] or [error.message]
        cut = "end of file" in error.stderr_tail
        raise ArchiveError(
            f"pg_restore could not read the archive to its end: {said[0]}",
            hint="The dump broke off or was damaged on its way: look at the source's log at this time, then back up again.",
            code=ErrorCode.TRUNCATED if cut else ErrorCode.CORRUPT,
        ) from error
