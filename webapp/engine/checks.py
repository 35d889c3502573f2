"""Judging evidence: each check asks one question of what was read and answers with a sentence and a number."""

from __future__ import annotations

from webapp.core.reports import Check, CheckState
from webapp.core.status import ArchiveFormat, ErrorCode, VerificationLevel
from webapp.core.text import format_count, format_size, plural
from webapp.engine.archive.attachments import AttachmentFindings, attachment_key
from webapp.engine.archive.dump_scan import DumpSummary
from webapp.engine.evidence import ATTACHMENT_TABLE, DUMP_NAME, MANIFEST_NAME, Evidence
from webapp.engine.expectation import Expectation

# Odoo copies its filestore before it dumps the database, so that files created in between are missing in its zips.
# As many as this are a warning, more a failure: both limits hold.
TOLERATED_SHARE = 0.01
TOLERATED_COUNT = 100
ODOO_TABLES = ("ir_module_module", "ir_attachment", "ir_config_parameter", "res_users", "res_company")
_SHOWN = 5


def check_digest(evidence: Evidence, expectation: Expectation) -> Check:
    """Is the file on the disk the one that was written?"""
    size = format_size(evidence.size_bytes)
    if expectation.sha256 is None or expectation.size_bytes is None:
        return _answer(
            "archive_digest", "Archive unchanged", CheckState.SKIPPED, "No digest to compare with is known.", size
        )
    if evidence.size_bytes != expectation.size_bytes:
        return _failed(
            "archive_digest",
            "Archive unchanged",
            f"The file has {evidence.size_bytes} bytes; {expectation.size_bytes} were written.",
            ErrorCode.TRUNCATED if evidence.size_bytes < expectation.size_bytes else ErrorCode.CORRUPT,
        )
    if expectation.xxh128 and evidence.xxh128 != expectation.xxh128:
        detail = f"The file's XXH3 is {evidence.xxh128}; {expectation.xxh128} was written."
        return _failed("archive_digest", "Archive unchanged", detail, ErrorCode.CORRUPT)
    if not expectation.xxh128 and evidence.sha256 != expectation.sha256:
        detail = f"The file's SHA-256 is {evidence.sha256}; {expectation.sha256} was written."
        return _failed("archive_digest", "Archive unchanged", detail, ErrorCode.CORRUPT)
    kind = "XXH3 (128 bits)" if expectation.xxh128 else "SHA-256"
    detail = f"Read back from disk: size and {kind} are those of the bytes received."
    return _answer("archive_digest", "Archive unchanged", CheckState.PASSED, detail, size)


def check_members(evidence: Evidence, expectation: Expectation) -> Check:
    """Can every part of the archive be read?"""
    title = "Archive opens"
    if evidence.damage is not None:
        error = evidence.damage
        return _failed("members", title, error.message, error.code, hint=error.hint)
    if expectation.archive_format is ArchiveFormat.CUSTOM:
        return _answer("members", title, CheckState.PASSED, "pg_restore read it from the first to the last entry.")
    count = format_count(evidence.members)
    detail = f"Every member was unpacked ({format_size(evidence.plain_bytes)}), and every CRC is right."
    return _answer("members", title, CheckState.PASSED, detail, count)


def check_trailer(evidence: Evidence) -> Check:
    """Was the dump written to its end?"""
    title = "Dump complete"
    if evidence.dump_fault:
        return _complete_failed("dump_trailer", title, evidence.dump_fault, ErrorCode.CORRUPT)
    dump = evidence.dump
    if dump is None or not dump.size:
        return _complete_failed("dump_trailer", title, f"The archive holds no {DUMP_NAME}, or an empty one.")
    if not dump.complete:
        where = f"; it ends {dump.ended_in}" if dump.ended_in else ""
        detail = f"The dump lacks the last line that pg_dump writes{where}."
        return _complete_failed("dump_trailer", title, detail)
    return _complete(
        "dump_trailer", title, CheckState.PASSED, "pg_dump's last line is where it belongs.", format_size(dump.size)
    )


def check_tables(evidence: Evidence, expectation: Expectation) -> Check:
    """Are the tables there that must be?"""
    title = "Tables present"
    tables = evidence.dump.tables if evidence.dump is not None else set()
    count = format_count(len(tables))
    if expectation.is_odoo:
        missing = [name for name in ODOO_TABLES if f"public.{name}" not in tables]
        if missing:
            detail = f"The dump does not create {', '.join(missing)}: this is not a whole Odoo database."
            return _complete_failed("required_tables", title, detail)
        return _complete(
            "required_tables", title, CheckState.PASSED, "All tables that every Odoo has are there.", count
        )
    if not tables and expectation.table_rows != {}:
        return _complete_failed("required_tables", title, "The dump creates no table at all.")
    detail = f"The dump creates {count} {plural(len(tables), 'table', 'tables')}."
    return _complete("required_tables", title, CheckState.PASSED, detail, count)


def check_manifest(evidence: Evidence, expectation: Expectation) -> Check:
    """Is it the database that was asked for?"""
    title = "The right database"
    manifest = evidence.manifest
    if manifest is None or "odoo_dump" not in manifest:
        return _complete_failed("manifest_matches", title, f"The archive holds no {MANIFEST_NAME} of an Odoo backup.")
    name = manifest.get("db_name")
    if name != expectation.database:
        return _complete_failed(
            "manifest_matches",
            title,
            f"The archive says it is a backup of {str(name)[:80]!r}; {expectation.database!r} was asked for.",
            hint="Check the address and the Host header: another Odoo may have answered.",
        )
    version = str(manifest.get("version", ""))[:20]
    detail = f"{MANIFEST_NAME} names {expectation.database}" + (f", Odoo {version}." if version else ".")
    return _complete("manifest_matches", title, CheckState.PASSED, detail, version)


def check_rows(evidence: Evidence, expectation: Expectation) -> Check:
    """Does every table have as many rows as it had in the snapshot?"""
    title = "Row counts match"
    dump = evidence.dump or DumpSummary()
    total = sum(dump.rows.values())
    tables = len(dump.rows)
    value = format_count(total)
    counted = f"{value} {plural(total, 'row', 'rows')} in {format_count(tables)} {plural(tables, 'table', 'tables')}"
    if expectation.table_rows is None:
        detail = f"{counted}. The source does not tell how many it had, so there is nothing to compare with."
        return _complete("row_counts", title, CheckState.SKIPPED, detail, value)
    differing = _differing_tables(dump, expectation)
    if differing:
        more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        detail = f"Rows in the dump and in the snapshot differ: {'; '.join(differing[:_SHOWN])}{more}."
        return _complete_failed("row_counts", title, detail)
    return _complete("row_counts", title, CheckState.PASSED, f"{counted}, as counted in the same snapshot.", value)


def _differing_tables(dump: DumpSummary, expectation: Expectation) -> list[str]:
    wanted = expectation.table_rows or {}
    differing = []
    for table, count in wanted.items():
        found = dump.rows.get(table)
        if found is None and table in dump.inserted:
            continue
        if found != count:
            differing.append(
                f"{table} has {'no data' if found is None else format_count(found)} of {format_count(count)}"
            )
    # Data of a table that the dump does not create belongs to an extension's configuration and was not counted.
    unknown = sorted(table for table in dump.rows if table not in wanted and table in dump.tables)
    return differing + [f"{table} was not in the snapshot" for table in unknown]


def check_attachments(evidence: Evidence, expectation: Expectation) -> Check:
    """Is every file there that the dump refers to, and is it what its name says?"""
    found, dump = evidence.attachments, evidence.dump
    title = "Filestore complete"
    if found is None or dump is None or ATTACHMENT_TABLE not in dump.picked:
        detail = "The dump's list of attachments could not be read."
        return _complete_failed("attachments", title, detail)
    value = format_count(found.expected)
    if not found.missing and not found.mismatched:
        detail = "Every file that a row of ir_attachment refers to is there, and its SHA-1 is its name."
        if found.elsewhere:
            detail += f" {format_count(found.elsewhere)} more are kept outside the filestore."
        return _complete("attachments", title, CheckState.PASSED, detail, value)
    state, code = _judge_attachments(found, expectation)
    return Check(
        key="attachments",
        title=title if state is CheckState.FAILED else "Attachments missing",
        state=state,
        detail=_attachment_sentence(found),
        value=value,
        hint=_attachment_hint(state, expectation),
        code=code,
        level=VerificationLevel.COMPLETE,
    )


def _judge_attachments(found: AttachmentFindings, expectation: Expectation) -> tuple[CheckState, ErrorCode]:
    if expectation.own_snapshot:
        nothing_there = found.missing == found.expected > found.irregular
        if nothing_there or not _are_known(found, expectation):
            return CheckState.FAILED, ErrorCode.INCOMPLETE
        if found.mismatched > expectation.mismatched_attachment_count:
            return CheckState.FAILED, ErrorCode.CORRUPT
        return CheckState.WARNING, ErrorCode.ATTACHMENTS_MISSING
    wrong = found.missing + found.mismatched
    if wrong <= TOLERATED_COUNT and wrong <= found.expected * TOLERATED_SHARE:
        return CheckState.WARNING, ErrorCode.ATTACHMENTS_MISSING
    return CheckState.FAILED, ErrorCode.INCOMPLETE if found.missing else ErrorCode.CORRUPT


def _are_known(found: AttachmentFindings, expectation: Expectation) -> bool:
    """Whether all that is missing was missing at the source; beyond the names kept, their number decides."""
    if found.missing > expectation.missing_attachment_count:
        return False
    if expectation.missing_attachment_count > len(expectation.missing_attachments):
        return True
    known = {attachment_key(name) for name in expectation.missing_attachments}
    return all(key in known for key in found.missing_keys)


def _attachment_sentence(found: AttachmentFindings) -> str:
    parts = []
    if found.missing:
        names = ", ".join(found.missing_shown[:_SHOWN])
        parts.append(f"{format_count(found.missing)} of {format_count(found.expected)} files are missing ({names})")
    if found.mismatched:
        names = ", ".join(found.mismatched_shown[:_SHOWN])
        parts.append(f"{format_count(found.mismatched)} differ from the SHA-1 that names them ({names})")
    return "; ".join(parts) + "."


def _attachment_hint(state: CheckState, expectation: Expectation) -> str:
    if expectation.own_snapshot:
        if state is CheckState.WARNING:
            return "They are missing or damaged at the source as well; look for them in older archives."
        return "Check the path of the filestore: it must be the one of this database."
    return "Odoo copies its files before its database. Run again when it is less busy, or back up through PostgreSQL."


def skipped(key: str, title: str, why: str) -> Check:
    """A check that was not made."""
    return _complete(key, title, CheckState.SKIPPED, why)


def _answer(key: str, title: str, state: CheckState, detail: str, value: str = "") -> Check:
    return Check(key, title, state, detail, value, level=VerificationLevel.INTACT)


def _complete(key: str, title: str, state: CheckState, detail: str, value: str = "") -> Check:
    return Check(key, title, state, detail, value, level=VerificationLevel.COMPLETE)


def _failed(key: str, title: str, detail: str, code: ErrorCode, hint: str = "") -> Check:
    hint = hint or "Do not rely on this archive; run the backup again."
    return Check(key, title, CheckState.FAILED, detail, hint=hint, code=code, level=VerificationLevel.INTACT)


def _complete_failed(
    key: str, title: str, detail: str, code: ErrorCode = ErrorCode.INCOMPLETE, hint: str = ""
) -> Check:
    hint = hint or "Do not rely on this archive; run the backup again."
    return Check(key, title, CheckState.FAILED, detail, hint=hint, code=code, level=VerificationLevel.COMPLETE)
