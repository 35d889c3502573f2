"""What was restored beside what should be there: rows per table, and every attachment's file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from webapp.core.reports import Check, CheckState
from webapp.core.status import ErrorCode
from webapp.core.text import format_count, plural
from webapp.engine.archive.attachments import attachment_key
from webapp.engine.archive.key_set import KeySet
from webapp.engine.evidence import Evidence
from webapp.engine.expectation import Expectation
from webapp.engine.pgconnect import Connection
from webapp.engine.pgsnapshot import STORED_NAMES

_SHOWN = 5
_FETCHED_AT_ONCE = 5000


def compare_rows(found: Mapping[str, int], expectation: Expectation, evidence: Evidence) -> Check:
    """Every table as many rows as in the source's snapshot; where the source did not count, as the dump holds."""
    title = "Rows per table"
    wanted, whose, absent = _wanted_rows(expectation, evidence)
    uncounted = evidence.dump.inserted if expectation.table_rows is None and evidence.dump is not None else set()
    differing = [
        f"{table} has {_count(found.get(table))} of {_count(wanted.get(table))}"
        for table in sorted({*wanted, *found} - uncounted)
        if found.get(table, absent) != wanted.get(table, absent)
    ]
    total = sum(found.values())
    if differing:
        more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        detail = f"Rows restored and rows {whose} differ: {'; '.join(differing[:_SHOWN])}{more}."
        hint = "Choose another restore point, and verify this one."
        code = ErrorCode.RESTORE_DIFFERS
        return Check("restored_rows", title, CheckState.FAILED, detail, f"{len(differing)} differ", hint, code)
    tables = format_count(len(found))
    detail = f"{format_count(total)} {plural(total, 'row', 'rows')} in {tables} tables, each as many as {whose}."
    return Check("restored_rows", title, CheckState.PASSED, detail, format_count(total))


def _wanted_rows(expectation: Expectation, evidence: Evidence) -> tuple[Mapping[str, int], str, int | None]:
    """Rows per table, whose they are, and what a table that is not there counts as.

    A dump names parents of partitions too, which have no rows of their own and were not counted.
    """
    if expectation.table_rows is not None:
        return expectation.table_rows, "in the source's snapshot", None
    return evidence.dump.rows if evidence.dump is not None else {}, "in the dump", 0


def _count(number: int | None) -> str:
    return "no such table" if number is None else format_count(number)


@dataclass(slots=True)
class FilesFound:
    """What lies in a filestore, by the first 64 bits of each name; filled by ``files_found``."""

    names: KeySet = field(default_factory=KeySet)
    altered: KeySet = field(default_factory=KeySet)
    count: int = 0


def files_found(digests: Iterable[tuple[str, str]]) -> FilesFound:
    """Note every file, and which of them do not have the content that their name promises."""
    found = FilesFound()
    for name, sha1 in digests:
        found.count += 1
        key = attachment_key(name)
        found.names.add(key)
        promised = name.rpartition("/")[2]
        if len(promised) == 40 and promised != sha1:
            found.altered.add(key)
    return found


def compare_files(connection: Connection, found: FilesFound, held: KeySet, evidence: Evidence) -> Check:
    """Every attachment of the restored database against the files beside it.

    ``held`` are the names in the archive: what it never had was judged by its verification, and is a warning here.
    """
    title = "Attachments"
    lost: list[str] = []
    altered: list[str] = []
    absent = expected = 0
    known_altered = evidence.attachments.mismatched if evidence.attachments is not None else 0
    with connection.transaction(), connection.cursor(name="stored_names") as cursor:
        cursor.itersize = _FETCHED_AT_ONCE
        for (name,) in cursor.execute(STORED_NAMES):
            expected += 1
            key = attachment_key(name)
            if key in found.altered:
                altered.append(name)
            elif key in found.names:
                continue
            elif key in held:
                lost.append(name)
            else:
                absent += 1
    if lost or len(altered) > known_altered:
        return _files_differ(title, lost, altered, expected)
    if absent or altered:
        detail = (
            f"{format_count(absent)} of {format_count(expected)} files were not in the archive, and"
            f" {format_count(len(altered))} had other content than their name says, as its verification said."
        )
        code = ErrorCode.ATTACHMENTS_MISSING
        return Check("restored_files", title, CheckState.WARNING, detail, format_count(found.count), code=code)
    detail = f"All {format_count(expected)} files that attachments refer to are there, each with its own SHA-1."
    return Check("restored_files", title, CheckState.PASSED, detail, format_count(found.count))


def _files_differ(title: str, lost: list[str], altered: list[str], expected: int) -> Check:
    parts = []
    if lost:
        parts.append(f"{format_count(len(lost))} of {format_count(expected)} are missing ({', '.join(lost[:_SHOWN])})")
    if altered:
        shown = ", ".join(altered[:_SHOWN])
        parts.append(f"{format_count(len(altered))} differ from the SHA-1 that names them ({shown})")
    detail = f"Files in the restored filestore: {'; '.join(parts)}."
    code = ErrorCode.RESTORE_DIFFERS
    return Check("restored_files", title, CheckState.FAILED, detail, code=code, hint="Look at the disk there.")
