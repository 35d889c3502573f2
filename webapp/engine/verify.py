"""Verification: an archive is read back from disk and asked whether it is whole, intact and what the source had."""

from __future__ import annotations

from webapp.core.errors import ArchiveError
from webapp.core.reports import Check, VerificationReport
from webapp.core.status import ArchiveFormat, VerificationLevel
from webapp.engine import checks
from webapp.engine.archive.zip_reader import open_zip
from webapp.engine.comparison import Measures, compare
from webapp.engine.evidence import Evidence, gather_evidence
from webapp.engine.expectation import Expectation, expectation_of_backup, expectation_of_manifest
from webapp.engine.fingerprint import fingerprint_of
from webapp.engine.report import Reporter

__all__ = [
    "Expectation",
    "expectation_of_backup",
    "expectation_of_manifest",
    "judge",
    "require_structure",
    "verify_archive",
]


def verify_archive(
    path: str,
    expectation: Expectation,
    level: VerificationLevel,
    reporter: Reporter,
    *,
    threads: int = 2,
    from_disk: bool = True,
) -> VerificationReport:
    """Every check of ``level`` and of the levels below it, with its evidence, in a fixed order.

    An archive that is not right is an answer, not an error. Raises StoreError when the disk cannot be read, TaskStopped.

    - *intact*: size and digest (XXH3 right after the writing, SHA-256 later) are those of the bytes received; every
      member can be unpacked and its CRC is right
      (custom format: pg_restore reads it to its end).
    - *complete*: the dump has its last line and the tables it must have; it is the database asked for; every table has
      the rows it had in the snapshot; every attachment's file is there and is what its name says; compared with the
      archive before.
    """
    if level is VerificationLevel.NONE:
        return VerificationReport(level, ())
    whole = level is VerificationLevel.COMPLETE
    evidence = gather_evidence(
        path, expectation, look_inside=whole, from_disk=from_disk, threads=threads, reporter=reporter
    )
    return judge(evidence, expectation, level)


def judge(evidence: Evidence, expectation: Expectation, level: VerificationLevel) -> VerificationReport:
    """The checks of ``verify_archive`` for what was read of an archive before."""
    whole = level is VerificationLevel.COMPLETE
    found = [checks.check_digest(evidence, expectation), checks.check_members(evidence, expectation)]
    if whole and evidence.damage is None:
        found += _completeness(evidence, expectation)
    elif whole:
        why = "The archive cannot be read, so its contents were not looked at."
        found.append(checks.skipped("dump_trailer", "Dump complete", why))
    return VerificationReport(level, tuple(found), fingerprint_of(evidence, expectation.archive_format).as_json())


def _completeness(evidence: Evidence, expectation: Expectation) -> list[Check]:
    found = [checks.check_trailer(evidence), checks.check_tables(evidence, expectation)]
    if expectation.is_odoo and expectation.names_itself and expectation.archive_format is ArchiveFormat.ZIP:
        found.append(checks.check_manifest(evidence, expectation))
    found.append(checks.check_rows(evidence, expectation))
    if expectation.has_filestore:
        found.append(checks.check_attachments(evidence, expectation))
    if expectation.previous is not None:
        found.append(compare(_measures(evidence), expectation.previous))
    return found


def _measures(evidence: Evidence) -> Measures:
    rows = sum(evidence.dump.rows.values()) if evidence.dump is not None else None
    files = evidence.attachments.expected if evidence.attachments is not None else None
    return Measures(evidence.size_bytes, rows, files)


def require_structure(path: str, expectation: Expectation, reporter: Reporter) -> None:
    """The least that is asked of every archive, also when no verification is wanted: that it has an end.

    A zip must have its directory; a custom-format archive that Odoo sent, which says nowhere how long it is, must be
    readable to its end. Raises ArchiveError.
    """
    if expectation.archive_format is ArchiveFormat.ZIP:
        open_zip(path).close()
        return
    if not expectation.own_snapshot:
        evidence = gather_evidence(path, expectation, look_inside=False, from_disk=False, threads=1, reporter=reporter)
        if evidence.damage is not None:
            raise ArchiveError(evidence.damage.message, hint=evidence.damage.hint, code=evidence.damage.code)
