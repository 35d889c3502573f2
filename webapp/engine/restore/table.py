"""One table to CSV, read off the dump without any server.

The data is what the dump holds, byte for byte in its own encoding, under a header of column names. NULL is an empty field,
the empty string is ``""``: PostgreSQL's ``COPY … FROM … CSV HEADER`` reads it back as it was.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import BinaryIO

from webapp.core.errors import ArchiveError
from webapp.core.reports import Check, CheckState
from webapp.core.restore_plans import RestorePlan, RestoreResult, TargetReport
from webapp.core.status import ArchiveFormat, ErrorCode, RestoreOutcome
from webapp.core.text import format_count, plural
from webapp.engine.archive.dump_scan import DumpScanner, DumpSummary
from webapp.engine.archive.rights import rights_of
from webapp.engine.disk import disk_error
from webapp.engine.process import ProcessFailed, clean_environment, stream
from webapp.engine.report import Reporter
from webapp.engine.restore.csv_rows import CsvRows
from webapp.engine.restore.dump_source import newest_tools, zip_sql
from webapp.engine.restore.ground import look_at_ground, require_ground
from webapp.engine.restore.journal import Journal
from webapp.engine.restore.landing import Landing, landing_file, settle_landing
from webapp.engine.restore.proof import require_verified

_STRANGE = re.compile(r"[^A-Za-z0-9_.-]")


def check(plan: RestorePlan, reporter: Reporter) -> TargetReport:
    """See ``checks.look_at_target``."""
    reporter.step("check", "Look at the directory", plan.options.directory)
    return look_at_ground(plan, needed_bytes=_expected_bytes(plan), may_hold_files=True, piece=_table_check(plan))


def run(plan: RestorePlan, journal: Journal, reporter: Reporter) -> RestoreResult:
    """See ``run.run``. The file appears under its name when it is whole; one that is there already is never replaced."""
    require_verified(plan, reporter)
    require_ground(plan.options.directory, may_hold_files=True)
    final = os.path.join(plan.options.directory, csv_name(plan))
    table = table_of(plan)
    reporter.step("write", "Write the table", table)
    with landing_file(plan, final, journal) as descriptor, _writing(descriptor, final) as sink:
        rows = CsvRows(sink)
        _require_table(_read(plan, rows, reporter), table)
        found = _rows_check(plan, rows)
        rights_of(plan.options).give_file(descriptor)
    detail = f"{format_count(rows.rows)} {plural(rows.rows, 'row', 'rows')} of {table}"
    return RestoreResult(
        RestoreOutcome.CREATED,
        (found,),
        tables=1,
        rows=rows.rows,
        files=1,
        message=f"Wrote {detail} to {final}",
        file_path=final,
    )


def settle(plan: RestorePlan, reporter: Reporter) -> RestoreResult:
    """See ``settle.settle``."""
    landing = Landing.from_json(plan.journal)
    if landing is None or settle_landing(landing) is RestoreOutcome.UNTOUCHED:
        return RestoreResult(RestoreOutcome.UNTOUCHED, message="Nothing was written.")
    message = f"{landing.final} was written whole"
    return RestoreResult(RestoreOutcome.CREATED, tables=1, files=1, message=message, file_path=landing.final)


def table_of(plan: RestorePlan) -> str:
    """The table as the dump's counts name it: "schema.table"."""
    piece = plan.options.piece
    return piece if "." in piece else f"public.{piece}"


def csv_name(plan: RestorePlan) -> str:
    """The file's name: that of the archive, and the table's."""
    stem = os.path.splitext(plan.manifest.file_name)[0]
    return f"{stem}_{_STRANGE.sub('_', table_of(plan))[:100]}.csv"


def _table_check(plan: RestorePlan) -> Check:
    title, table, counts = "Table is in the archive", table_of(plan), plan.manifest.table_rows
    if not plan.options.piece:
        detail, hint = "No table was named.", "Write it as schema.table, such as public.res_partner."
        return Check("piece", title, CheckState.FAILED, detail, hint=hint, code=ErrorCode.INVALID_CONFIGURATION)
    if counts is None:
        detail = f"Whether the dump holds {table} shows when it is read: nothing counted its tables."
        return Check("piece", title, CheckState.PASSED, detail, table)
    if table not in counts:
        return Check(
            "piece", title, CheckState.FAILED, f"The archive holds no table {table}.", hint=_near(table, counts)
        )
    count = format_count(counts[table])
    return Check("piece", title, CheckState.PASSED, f"{table} had {count} rows.", count)


def _expected_bytes(plan: RestorePlan) -> int:
    """The table's share of the dump, by its rows; 0 when nothing was counted."""
    total = plan.manifest.row_total
    if not total or plan.manifest.table_rows is None:
        return 0
    return plan.manifest.dump_bytes * plan.manifest.table_rows.get(table_of(plan), 0) // total


def _near(table: str, tables: Iterable[str]) -> str:
    found = get_close_matches(table, tables, n=3)
    return f"Do you mean {' or '.join(found)}?" if found else "Write it as schema.table, as PostgreSQL names it."


@contextmanager
def _writing(descriptor: int, final: str) -> Iterator[BinaryIO]:
    """A buffered file on the descriptor; what the disk refuses is said in words."""
    try:
        with open(descriptor, "wb", buffering=1024 * 1024, closefd=False) as file:
            yield file
    except OSError as error:
        raise disk_error(error, f"write {final}") from error


def _read(plan: RestorePlan, rows: CsvRows, reporter: Reporter) -> DumpSummary:
    scanner = DumpScanner({table_of(plan): rows})
    with _sql(plan, reporter) as (chunks, size):
        done = 0
        for chunk in chunks:
            reporter.check()
            scanner.feed(chunk)
            done += len(chunk)
            reporter.progress(done, size)
    return scanner.finish()


@contextmanager
def _sql(plan: RestorePlan, reporter: Reporter) -> Iterator[tuple[Iterator[bytes], int | None]]:
    if plan.archive_format is ArchiveFormat.ZIP:
        with zip_sql(plan.archive_path) as found:
            yield found
        return
    schema, _, name = table_of(plan).partition(".")
    argv = [newest_tools().program("pg_restore"), "--file=-", "--data-only", f"--schema={schema}", f"--table={name}"]
    with stream([*argv, plan.archive_path], env=clean_environment(), reporter=reporter) as chunks:
        yield _translated(chunks), None


def _translated(chunks: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from chunks
    except ProcessFailed as error:
        said = error.stderr_tail.splitlines()[-1:] or [error.message]
        raise ArchiveError(f"pg_restore could not read the archive: {said[0]}", code=ErrorCode.CORRUPT) from error


def _require_table(summary: DumpSummary, table: str) -> None:
    if table in summary.picked and table not in summary.inserted and summary.complete:
        return
    hint = ""
    if not summary.complete:
        why = f"the dump ends {summary.ended_in or 'too early'}"
    elif table in summary.inserted:
        why = "the dump holds its rows as INSERT statements"
        hint = "Restore the whole dump to a new database, and export the table from there."
    elif table in summary.tables:
        why = "the dump creates it, but holds no rows of its own for it"
        hint = "The rows of a partitioned table are in its partitions: name one of them."
    else:
        why, hint = "the archive does not hold it", _near(table, summary.rows)
    raise ArchiveError(
        f"The table {table} cannot be written: {why}.", hint=hint, code=ErrorCode.INCOMPLETE, permanent=True
    )


def _rows_check(plan: RestorePlan, rows: CsvRows) -> Check:
    title, count = "Row count matches", format_count(rows.rows)
    expected = (plan.manifest.table_rows or {}).get(table_of(plan))
    if expected is None:
        detail = f"{count} rows; nothing tells how many the source had."
        return Check("row_counts", title, CheckState.SKIPPED, detail, count)
    if rows.rows != expected:
        raise ArchiveError(
            f"{count} rows were written; the snapshot had {format_count(expected)}.", code=ErrorCode.RESTORE_DIFFERS
        )
    return Check("row_counts", title, CheckState.PASSED, f"{count} rows, as counted in the snapshot.", count)
