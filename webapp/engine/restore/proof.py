"""The archive is proved before a target is touched; what was unpacked is compared with what the archive promised."""

from __future__ import annotations

import os

from webapp.core.errors import ArchiveError
from webapp.core.manifest import Manifest
from webapp.core.reports import Check, CheckState, VerificationReport
from webapp.core.restore_plans import RestorePlan
from webapp.core.status import ErrorCode, VerificationLevel
from webapp.core.text import format_count, format_size
from webapp.engine.archive.unpack import UnpackSummary
from webapp.engine.disk import disk_error
from webapp.engine.evidence import Evidence, gather_evidence
from webapp.engine.expectation import expectation_of_manifest
from webapp.engine.report import Reporter
from webapp.engine.verify import judge

_SHOWN = 5


def require_verified(plan: RestorePlan, reporter: Reporter, *, threads: int = 2) -> VerificationReport:
    """Read the archive whole, from the disk, and ask of it everything its manifest promises.

    Raises ArchiveError with the first check that failed: then nothing was touched. StoreError, TaskStopped.
    """
    return prove(plan, reporter, threads=threads)[0]


def prove(plan: RestorePlan, reporter: Reporter, *, threads: int = 2) -> tuple[VerificationReport, Evidence]:
    """As ``require_verified``, with what was read."""
    reporter.step("verify", "Verify the archive", plan.manifest.file_name)
    expectation = expectation_of_manifest(plan.manifest)
    evidence = gather_evidence(
        plan.archive_path, expectation, look_inside=True, from_disk=True, threads=threads, reporter=reporter
    )
    report = judge(evidence, expectation, VerificationLevel.COMPLETE)
    if not report.passed:
        first = report.failed[0]
        raise ArchiveError(
            f"The archive is not what was stored: {first.detail}",
            hint="The target was not touched. Choose another restore point.",
            code=first.code or ErrorCode.CORRUPT,
            permanent=True,
        )
    return report, evidence


def seal_of(path: str) -> tuple[int, ...]:
    """What changes when a file is replaced or written to: the archive that was proved must be the one that is restored."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError as error:
        raise disk_error(error, "open the archive") from error
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def filestore_check(found: UnpackSummary, manifest: Manifest) -> Check:
    """Were the attachments' files written as their names promise?"""
    title, count = "Files match their SHA-1", format_count(found.files)
    if not found.mismatched:
        detail = f"{count} files ({format_size(found.size_bytes)}) were written; the SHA-1 of each is its name."
        return Check("restored_files", title, CheckState.PASSED, detail, count)
    names = ", ".join(found.mismatched_shown[:_SHOWN])
    detail = f"{format_count(found.mismatched)} of {count} files differ from the SHA-1 that names them ({names})."
    # Archives that Odoo made hold whatever lay in its filestore; their verification has judged that.
    known = manifest.table_rows is None or found.mismatched <= manifest.mismatched_attachment_count
    return Check(
        "restored_files",
        title,
        CheckState.WARNING if known else CheckState.FAILED,
        detail,
        count,
        hint="They were so at the source; look for them in older archives." if known else "",
        code=ErrorCode.ATTACHMENTS_MISSING if known else ErrorCode.RESTORE_DIFFERS,
    )


def require_right(check: Check) -> Check:
    """The check itself. Raises ArchiveError(restore_differs) when it failed."""
    if check.state is CheckState.FAILED:
        raise ArchiveError(check.detail, hint=check.hint, code=check.code or ErrorCode.RESTORE_DIFFERS, permanent=True)
    return check
