"""One moment of a database, held open: pg_dump, the row counts and the list of attachments all see the very same."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC

import psycopg
from psycopg import sql

from webapp.engine.pgconnect import Access, Connection, cut, session
from webapp.engine.report import Reporter

_FETCHED_AT_ONCE = 5000

IS_ODOO = """
SELECT to_regclass('public.ir_module_module') IS NOT NULL AND EXISTS (SELECT FROM pg_attribute
    WHERE attrelid = to_regclass('public.ir_attachment') AND attname = 'store_fname' AND NOT attisdropped)
"""
# The tables whose rows pg_dump writes: plain tables and partitions, of extensions only those registered as configuration
# (with their filter), no temporary ones, and no unlogged ones on a standby, which cannot read them.
DUMPED_TABLES = """
SELECT n.nspname, c.relname, coalesce(e.extcondition[array_position(e.extconfig, c.oid)], '')
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
    AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
LEFT JOIN pg_extension e ON e.oid = d.refobjid
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
    AND (e.oid IS NULL OR c.oid = ANY (e.extconfig))
    AND NOT (c.relpersistence = 'u' AND pg_is_in_recovery())
ORDER BY pg_relation_size(c.oid) DESC
"""
STORED_NAMES = """
SELECT store_fname FROM public.ir_attachment WHERE store_fname <> '' GROUP BY store_fname ORDER BY store_fname COLLATE "C"
"""
_TOTALS = """
SELECT count(*), coalesce(sum(size), 0)::bigint
FROM (SELECT max(file_size) AS size FROM public.ir_attachment WHERE store_fname <> '' GROUP BY store_fname) files
"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An exported snapshot; it lives as long as its session. Made by ``open_snapshot``.

    Attributes:
        taken_at: ISO 8601 UTC by the server's clock.
        is_odoo: Whether the database has Odoo's tables.
        guarded: Whether Odoo's vacuum is kept from deleting files while the snapshot lives.
        guard_refusal: Why it is not guarded, or "".
    """

    connection: Connection
    access: Access
    database: str
    id: str
    taken_at: str
    server_version_num: int
    is_odoo: bool
    guarded: bool
    guard_refusal: str

    def attachment_totals(self) -> tuple[int, int]:
        """How many files the attachments refer to, and their bytes as Odoo noted them."""
        row = self.connection.execute(_TOTALS).fetchone()
        assert row is not None
        return int(row[0]), int(row[1])

    def stored_names(self) -> Iterator[str]:
        """Every file name the attachments refer to, once, in byte order; fetched bit by bit."""
        with self.connection.cursor(name="stored_names") as cursor:
            cursor.itersize = _FETCHED_AT_ONCE
            for row in cursor.execute(STORED_NAMES):
                yield row[0]

    def installed_modules(self) -> dict[str, str | None]:
        """Installed modules and their versions, as Odoo puts them into its manifest."""
        rows = self.connection.execute(
            "SELECT name, latest_version FROM public.ir_module_module WHERE state = 'installed' ORDER BY name"
        )
        return {row[0]: row[1] for row in rows}


@contextmanager
def open_snapshot(access: Access, database: str, *, guard: bool, reporter: Reporter) -> Iterator[Snapshot]:
    """Take a snapshot and hold it.

    With ``guard``, a ROW EXCLUSIVE lock on ir_attachment is taken first. Odoo's vacuum deletes files only under a SHARE
    lock on that table, which waits 10 s for ours and then gives up (``_gc_file_store``); readers and writers notice
    nothing. A role or server that may not lock gets an unguarded snapshot.
    """
    with session(access, database, reporter) as connection:
        refusal = _begin_guarded(connection) if guard else "not asked for"
        if refusal:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        row = connection.execute("SELECT pg_export_snapshot(), clock_timestamp()").fetchone()
        assert row is not None
        odoo = connection.execute(IS_ODOO).fetchone()
        yield Snapshot(
            connection,
            access,
            database,
            id=row[0],
            taken_at=row[1].astimezone(UTC).isoformat(timespec="milliseconds"),
            server_version_num=connection.info.server_version,
            is_odoo=bool(odoo and odoo[0]),
            guarded=not refusal,
            guard_refusal=refusal if guard else "",
        )


def _begin_guarded(connection: Connection) -> str:
    """Begin with the lock, before anything fixes the snapshot; "" or why it was refused, with no transaction left open."""
    try:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE")
        connection.execute("LOCK TABLE public.ir_attachment IN ROW EXCLUSIVE MODE")
    except (
        psycopg.errors.InsufficientPrivilege,
        psycopg.errors.LockNotAvailable,
        psycopg.errors.ReadOnlySqlTransaction,
        psycopg.errors.FeatureNotSupported,
        psycopg.errors.UndefinedTable,
        psycopg.errors.InvalidSchemaName,
        psycopg.errors.ObjectNotInPrerequisiteState,
    ) as error:
        connection.execute("ROLLBACK")
        return error.diag.message_primary or "refused"
    return ""


@contextmanager
def counting(snapshot: Snapshot, reporter: Reporter) -> Iterator[Future[dict[str, int]]]:
    """Count the rows of every dumped table in a session and thread of their own, while inside.

    The future's result is rows per "schema.table"; leaving early cuts the session.
    """
    with (
        session(snapshot.access, snapshot.database, reporter) as connection,
        ThreadPoolExecutor(1, thread_name_prefix="counting") as pool,
    ):
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot.id)))
        future = pool.submit(count_rows, connection, reporter)
        try:
            yield future
        finally:
            if not future.done():
                cut(connection)


def count_rows(connection: Connection, reporter: Reporter) -> dict[str, int]:
    """Rows per "schema.table" of every table whose rows pg_dump writes, as the session's transaction sees them."""
    counts: dict[str, int] = {}
    for schema, table, condition in connection.execute(DUMPED_TABLES).fetchall():
        reporter.check()
        query = sql.SQL("SELECT count(*) FROM ONLY {} ").format(sql.Identifier(schema, table))
        # The condition is SQL that the extension registered for pg_dump, which runs it in the same way.
        row = connection.execute(query + sql.SQL(condition)).fetchone()
        assert row is not None
        counts[f"{schema}.{table}"] = int(row[0])
    return dict(sorted(counts.items()))
