"""Questions to a restored database that every PostgreSQL database is asked. Each answers with a check and its evidence.

All are asked as the loader, which is no superuser: whatever the dump put into the database can do no more while it is read
than while it was loaded. The session's own settings win over any that the dump gave to role or database.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from webapp.core.reports import Check, CheckState
from webapp.core.restore_plans import OwnQuestion
from webapp.core.status import ErrorCode
from webapp.core.text import format_count, plural, strip_controls
from webapp.engine.drill.cluster import Cluster, Connection
from webapp.engine.drill.crew import Work, run_works
from webapp.engine.pgsnapshot import DUMPED_TABLES
from webapp.engine.report import Reporter

OWN_SECONDS = 60
LONGEST_SECONDS = 3600
_SHOWN = 5
_CONSTRAINTS = """
SELECT count(*), coalesce((array_agg(conrelid::regclass || ': ' || conname) FILTER (WHERE NOT convalidated))[1:6], '{}')
FROM pg_constraint WHERE connamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
"""
_INDEXES = """
SELECT count(*), coalesce((array_agg(i.indexrelid::regclass::text) FILTER (WHERE NOT (indisvalid AND indisready)))[1:6], '{}')
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relkind = 'i' AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace)
"""
# Sequences that fill a whole-number column: owned by it (serial) or part of it (identity).
_SEQUENCES = """
SELECT sn.nspname, s.relname, tn.nspname, t.relname, a.attname, q.seqincrement
FROM pg_depend d
JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_namespace sn ON sn.oid = s.relnamespace
JOIN pg_sequence q ON q.seqrelid = s.oid AND q.seqincrement > 0 AND NOT q.seqcycle
JOIN pg_class t ON t.oid = d.refobjid AND t.relkind IN ('r', 'p') JOIN pg_namespace tn ON tn.oid = t.relnamespace
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
  AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
ORDER BY 1, 2
"""


@contextmanager
def asking(cluster: Cluster, *, seconds: int = LONGEST_SECONDS) -> Iterator[Connection]:
    """A session for questions: nothing can be changed in it by accident, and none takes for ever."""
    options = "-c search_path=pg_catalog -c default_transaction_read_only=on -c row_security=off -c lock_timeout=60000"
    session = cluster.connect(options=f"{options} -c statement_timeout={seconds * 1000}")
    try:
        yield session
    finally:
        session.close()


@dataclass(slots=True)
class RowCounts:
    """Rows per table as they are in the restored database."""

    counts: dict[str, int]

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.counts.values())


def count_all(sessions: Sequence[Connection], reporter: Reporter) -> RowCounts:
    """Count every table that a dump has rows of, in parallel. Raises WorkFailed."""
    counts: dict[str, int] = {}
    works = []
    for schema, table, condition in sessions[0].execute(DUMPED_TABLES).fetchall():
        name = f"{schema}.{table}"
        query = sql.SQL("SELECT count(*) FROM ONLY {} ").format(sql.Identifier(schema, table)) + sql.SQL(condition)

        def take(cursor: psycopg.Cursor[tuple[object, ...]], name: str = name) -> None:
            row = cursor.fetchone()
            counts[name] = int(str(row[0])) if row else 0

        works.append(Work(query.as_bytes(sessions[0]), name, exclusive=False, take=take))
    run_works(sessions, works, reporter.check)
    return RowCounts(dict(sorted(counts.items())))


def check_rows(found: RowCounts, wanted: Mapping[str, int] | None, dumped: Mapping[str, int]) -> Check:
    """Has every table the rows that the manifest says, or, where the source could not count, those of the dump?"""
    title = "Rows per table"
    expected = dict(wanted) if wanted is not None else {name: dumped[name] for name in dumped if name in found.counts}
    differing = [
        f"{name} has {format_count(found.counts[name]) if name in found.counts else 'no'} rows of {format_count(count)}"
        for name, count in expected.items()
        if found.counts.get(name) != count
    ]
    differing += [
        f"{name} has {format_count(count)} rows and was not in the {'snapshot' if wanted is not None else 'dump'}"
        for name, count in found.counts.items()
        if count and name not in expected
    ]
    value = format_count(found.total)
    if differing:
        more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        detail = f"Restored and expected rows differ: {'; '.join(differing[:_SHOWN])}{more}."
        return failed("drill_rows", title, detail, value)
    by = "counted in the snapshot" if wanted is not None else "that the dump holds"
    tables = len(found.counts)
    detail = f"{value} rows in {format_count(tables)} {plural(tables, 'table', 'tables')}, exactly those {by}."
    return Check("drill_rows", title, CheckState.PASSED, detail, value)


def check_constraints(session: Connection) -> Check:
    """Are all constraints validated, and all indexes usable?"""
    title = "Constraints and indexes"
    constraints, open_ones = _row(session, _CONSTRAINTS)
    indexes, broken = _row(session, _INDEXES)
    if broken:
        detail = f"Indexes that PostgreSQL will not use: {', '.join(map(str, broken[:_SHOWN]))}."
        return failed("drill_constraints", title, detail, format_count(len(broken)))
    counted = f"{format_count(constraints)} constraints and {format_count(indexes)} indexes were made"
    if open_ones:
        detail = f"{counted}; not validated, as at the source: {', '.join(map(str, open_ones[:_SHOWN]))}."
        hint = "Rows that break them may exist at the source: ALTER TABLE … VALIDATE CONSTRAINT tells there."
        return Check("drill_constraints", title, CheckState.WARNING, detail, format_count(constraints), hint)
    detail = f"{counted}; every row keeps every constraint."
    return Check("drill_constraints", title, CheckState.PASSED, detail, format_count(constraints))


def check_sequences(session: Connection) -> Check:
    """Would the next number of each sequence be a new one?"""
    title = "Sequences"
    behind = []
    rows = session.execute(_SEQUENCES).fetchall()
    for schema, name, table_schema, table, column, increment in rows:
        query = sql.SQL("SELECT (SELECT max({}) FROM {}), last_value, is_called FROM {}").format(
            sql.Identifier(column), sql.Identifier(table_schema, table), sql.Identifier(schema, name)
        )
        largest, last, is_called = _row(session, query)
        following = last + increment if is_called else last
        if largest is not None and largest >= following:
            behind.append(f"{schema}.{name} gives {following}, {table}.{column} has {largest}")
    value = format_count(len(rows))
    if behind:
        detail = f"Sequences behind their tables, as at the source: {'; '.join(behind[:_SHOWN])}."
        hint = "The next row would be refused as a duplicate, at the source as well: set them right there (setval)."
        return Check("drill_sequences", title, CheckState.WARNING, detail, value, hint)
    number = plural(len(rows), "sequence is", "sequences are")
    return Check("drill_sequences", title, CheckState.PASSED, f"{value} {number} ahead of their tables.", value)


def ask_own(cluster: Cluster, questions: Sequence[OwnQuestion]) -> list[Check]:
    """The job's own questions, each in a session of its own: read-only, and at most a minute."""
    found = []
    for number, question in enumerate(questions, 1):
        title = f"Own question {number}"
        shown = strip_controls(" ".join(question.query.split()), 200)
        try:
            with asking(cluster, seconds=OWN_SECONDS) as session:
                session.execute("SET search_path = public, pg_catalog")
                answer = _first_value(session.execute(question.query.encode()))
        except psycopg.Error as error:
            said = strip_controls(error.diag.message_primary or str(error), 200)
            found.append(failed(f"own_{number}", title, f"{shown}: {said}."))
            continue
        wanted = question.expected.strip()
        value = strip_controls("nothing" if answer is None else answer, 80)
        if answer is not None and answer.strip() == wanted:
            found.append(Check(f"own_{number}", title, CheckState.PASSED, f"{shown}: {value}, as expected.", value))
        else:
            detail = f"{shown}: {value}; expected was {strip_controls(wanted, 80)}."
            found.append(failed(f"own_{number}", title, detail, value))
    return found


def _first_value(cursor: psycopg.Cursor[tuple[object, ...]]) -> str | None:
    """The first column of the first row as PostgreSQL writes it; NULL is "", no row is None."""
    result = cursor.pgresult
    if result is None or not result.ntuples or not result.nfields:
        return None
    return (result.get_value(0, 0) or b"").decode("utf-8", "replace")


def failed(key: str, title: str, detail: str, value: str = "", hint: str = "") -> Check:
    """A question answered wrongly."""
    hint = hint or "Do not rely on this restore point; run a new backup and look at its drill."
    return Check(key, title, CheckState.FAILED, detail, value, hint, ErrorCode.DRILL_FAILED)


def _row(session: Connection, query: str | sql.Composed) -> tuple[Any, ...]:
    text = query.encode() if isinstance(query, str) else query
    row = session.execute(text).fetchone()
    assert row is not None  # an aggregate, or a sequence's one row
    return row
