"""What Odoo made of an archive: a backup of the result is taken, and compared with the archive.

Odoo answers success also when psql met errors: then whole tables are empty, as a COPY succeeds or fails as one. Since it
lets its own scheduled actions at the new database at once, small differences are its housekeeping and only said.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from webapp.core.plans import BackupPlan, OdooHttpPlan
from webapp.core.reports import Check, CheckState
from webapp.core.restore_plans import RestorePlan
from webapp.core.status import ArchiveFormat, Content, ErrorCode
from webapp.core.text import format_count
from webapp.engine.archive.digest import DigestingFile
from webapp.engine.archive.dump_scan import DumpScanner, Pick, Row
from webapp.engine.disk import disk_error
from webapp.engine.evidence import Evidence, gather_evidence
from webapp.engine.expectation import Expectation
from webapp.engine.http import HttpLimits
from webapp.engine.report import Reporter
from webapp.engine.restore.dump_source import custom_sql, newest_tools, zip_sql
from webapp.engine.shelf import SENTINEL, TEMPORARY
from webapp.engine.sources.odoo_http import OdooHttpSource

_RESERVE_BYTES = 256 * 1024 * 1024
_SHOWN = 5
_UUID = "database.uuid"
_NEUTRALISED = "database.is_neutralized"
# What Odoo writes and cleans by itself, also while nobody works with the database.
_VOLATILE = re.compile(
    r"public\.(bus_.*|ir_logging|ir_cron_trigger|ir_cron_progress|ir_profile|res_users_log|res_device_log|ir_sessions?)"
)
# Modules whose neutralize.sql empties or shortens tables: mail, keys, tokens, connections to other services.
_EMPTIED = re.compile(
    r"public\.(.*(mail|iap|payment|webhook|push|token|oauth|account_online|sms|social|calendar|cron|device|api_?key)"
    r".*|ir_config_parameter|ir_act_server.*)"
)


def work_directory(plan: RestorePlan) -> str:
    """Where the result's backup is put: beside the archives where there is a store, and no other attempt's."""
    name = f"odoo-{int(plan.task_id)}-{int(plan.fence)}"
    above = os.path.dirname(plan.archive_path)
    while above != os.path.dirname(above):
        if os.path.lexists(os.path.join(above, SENTINEL)):
            return os.path.join(above, TEMPORARY, name)
        above = os.path.dirname(above)
    return os.path.join(tempfile.gettempdir(), f"holdfast-{name}")


@contextmanager
def taken_back(plan: RestorePlan, source: OdooHttpPlan, limits: HttpLimits, reporter: Reporter) -> Iterator[str]:
    """The path of a backup of the restored database, while inside. Raises SourceError, StoreError, TaskStopped."""
    directory = work_directory(plan)
    try:
        os.mkdir(directory, 0o700)
    except OSError as error:
        raise disk_error(error, "make a place for the comparison") from error
    try:
        path = os.path.join(directory, "result")
        with DigestingFile(path, reserve_bytes=_RESERVE_BYTES) as sink:
            OdooHttpSource(source, limits=limits).write_archive(_backup(plan, source), sink, reporter)
        yield path
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def compare(plan: RestorePlan, path: str, archive: Evidence, reporter: Reporter) -> list[Check]:
    """The result's backup at ``path`` against the archive. Raises ArchiveError, StoreError, TaskStopped."""
    reporter.step("compare", "Compare the result", plan.database)
    expectation = Expectation(
        archive_format=_format(plan),
        database=plan.database,
        is_odoo=True,
        has_filestore=plan.manifest.has_filestore,
    )
    found = gather_evidence(path, expectation, look_inside=True, from_disk=False, threads=2, reporter=reporter)
    if found.damage is not None:
        raise found.damage
    before = _notes(plan.archive_path, plan.archive_format, reporter)
    after = _notes(path, expectation.archive_format, reporter)
    checks = [_compare_rows(plan, archive, found, before)]
    if plan.manifest.has_filestore:
        checks.append(_compare_files(archive, found))
    if plan.options.neutralise:
        checks.append(_neutralised(after))
    if plan.options.new_identity:
        checks.append(_identity(before, after))
    return checks


def _format(plan: RestorePlan) -> ArchiveFormat:
    return ArchiveFormat.ZIP if plan.manifest.has_filestore else ArchiveFormat.CUSTOM


def _backup(plan: RestorePlan, source: OdooHttpPlan) -> BackupPlan:
    with_files = plan.manifest.has_filestore
    return BackupPlan(
        run_id=plan.task_id,
        fence=plan.fence,
        attempt=1,
        instance_id=0,
        instance_name="",
        instance_directory="",
        job_id=None,
        database=plan.database,
        content=Content.DATABASE_AND_FILESTORE if with_files else Content.DATABASE,
        format=_format(plan),
        source=source,
        store_directory="",
        started_at=datetime.now(UTC),
    )


@dataclass(slots=True)
class _Notes:
    """What a dump says in its rows: parameters, and the tables of wizards, which Odoo empties."""

    parameters: dict[str, str] = field(default_factory=dict)
    transient: set[str] = field(default_factory=set)

    def take_parameters(self, rows: list[Row]) -> None:
        for key, value in rows:
            if key in (_UUID.encode(), _NEUTRALISED.encode()) and value is not None:
                self.parameters[key.decode()] = value.decode("utf-8", "replace")

    def take_models(self, rows: list[Row]) -> None:
        for model, transient in rows:
            if model and transient == b"t":
                self.transient.add("public." + model.decode("utf-8", "replace").replace(".", "_"))


def _notes(path: str, archive_format: ArchiveFormat, reporter: Reporter) -> _Notes:
    notes = _Notes()
    scanner = DumpScanner(
        {
            "public.ir_config_parameter": Pick(("key", "value"), notes.take_parameters),
            "public.ir_model": Pick(("model", "transient"), notes.take_models),
        }
    )
    for chunk in _sql(path, archive_format, reporter):
        reporter.check()
        scanner.feed(chunk)
    scanner.finish()
    return notes


def _sql(path: str, archive_format: ArchiveFormat, reporter: Reporter) -> Iterator[bytes]:
    if archive_format is ArchiveFormat.ZIP:
        with zip_sql(path) as (chunks, _):
            yield from chunks
    else:
        with custom_sql(path, newest_tools(), reporter) as chunks:
            yield from chunks


def _compare_rows(plan: RestorePlan, archive: Evidence, found: Evidence, notes: _Notes) -> Check:
    title = "Rows per table"
    wanted = plan.manifest.table_rows or _counts(archive)
    there = _counts(found)
    lost: list[str] = []
    fewer: list[str] = []
    cleaned: list[str] = []
    for table, count in sorted(wanted.items()):
        now = there.get(table)
        if now is not None and now >= count:
            continue
        text = f"{table} has {'no data' if now is None else format_count(now)} of {format_count(count)}"
        tolerated = _VOLATILE.fullmatch(table) or table in notes.transient
        if plan.options.neutralise and _EMPTIED.fullmatch(table):
            tolerated = True
        if tolerated:
            cleaned.append(text)
        else:
            (lost if now is None or now * 2 < count else fewer).append(text)
    total = format_count(sum(there.values()))
    if lost:
        detail = f"Odoo says that it restored the backup, but data is missing: {_some(lost)}."
        hint = "Odoo ignores errors of psql. Its log, and a restore to PostgreSQL, tell which."
        return Check("restored_rows", title, CheckState.FAILED, detail, total, hint, ErrorCode.RESTORE_DIFFERS)
    if fewer:
        detail = f"Some rows are not there: {_some(fewer)}. Every other table has all its rows."
        hint = "Odoo's own clean-up may have removed them, which begins as soon as it serves the database. Look at these tables."
        code = ErrorCode.RESTORE_DIFFERS
        return Check("restored_rows", title, CheckState.WARNING, detail, total, hint, code)
    if cleaned:
        detail = f"Odoo cleans up at once: {_some(cleaned)}. Every other table has all its rows."
        return Check("restored_rows", title, CheckState.PASSED, detail, total)
    detail = f"{total} rows in {format_count(len(wanted))} tables: none has fewer than the archive."
    return Check("restored_rows", title, CheckState.PASSED, detail, total)


def _counts(evidence: Evidence) -> Mapping[str, int]:
    return evidence.dump.rows if evidence.dump is not None else {}


def _some(texts: list[str]) -> str:
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return "; ".join(texts[:_SHOWN]) + more


def _compare_files(archive: Evidence, found: Evidence) -> Check:
    title = "Attachments"
    before, after = archive.attachments, found.attachments
    if before is None or after is None:
        detail = "The result's attachments could not be read."
        return Check("restored_files", title, CheckState.FAILED, detail, code=ErrorCode.RESTORE_DIFFERS)
    count = format_count(after.expected)
    if after.missing > before.missing or after.mismatched > before.mismatched:
        shown = ", ".join((*after.missing_shown, *after.mismatched_shown)[:_SHOWN])
        detail = f"{format_count(after.missing + after.mismatched)} of {count} files are missing or damaged ({shown})."
        hint = (
            "A filestore directory of that name was left at Odoo, so that files land beside it: remove it there first."
        )
        return Check("restored_files", title, CheckState.FAILED, detail, count, hint, ErrorCode.RESTORE_DIFFERS)
    detail = f"Odoo has every one of the {count} files that the archive has."
    return Check("restored_files", title, CheckState.PASSED, detail, count)


def _neutralised(after: _Notes) -> Check:
    title = "Neutralised"
    if after.parameters.get(_NEUTRALISED, "").lower() in ("true", "t", "1"):
        return Check("neutralised", title, CheckState.PASSED, f"{_NEUTRALISED} is set in the new database.")
    detail = f"{_NEUTRALISED} is not set in the new database: it may send mail and run scheduled actions."
    hint = "Odoo 16.0 and later neutralise on restore. Restore through PostgreSQL instead."
    return Check("neutralised", title, CheckState.FAILED, detail, hint=hint, code=ErrorCode.NEUTRALISE_FAILED)


def _identity(before: _Notes, after: _Notes) -> Check:
    title = "New identity"
    uuid = after.parameters.get(_UUID)
    if uuid and uuid != before.parameters.get(_UUID):
        return Check("identity", title, CheckState.PASSED, "The new database has an identity of its own.")
    detail = "The new database has the identity of the one that was backed up."
    return Check("identity", title, CheckState.FAILED, detail, code=ErrorCode.RESTORE_DIFFERS)
