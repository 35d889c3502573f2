"""Content hashes: two databases hold the same rows, or one can say in which table they differ."""

from __future__ import annotations

import hashlib

from psycopg import sql

from webapp.engine.pgconnect import Connection
from webapp.engine.pgsnapshot import DUMPED_TABLES
from webapp.engine.report import Reporter

_FETCHED_AT_ONCE = 5000
# How values are written must not depend on the role or the server.
_SETTINGS = {
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "xmlbinary": "base64",
}
_SEQUENCES = """
SELECT schemaname, sequencename FROM pg_sequences WHERE schemaname <> 'information_schema' AND schemaname !~ '^pg_'
"""


def content_hashes(connection: Connection, reporter: Reporter, *, sequences: bool = True) -> dict[str, str]:
    """SHA-256 per "schema.table" over its rows as text, ordered; and per sequence over its state.

    It sees what the session's transaction sees, so the caller decides about the snapshot. Call it inside a transaction.
    Sequences know no snapshots: leave them out where somebody may have moved them on.
    """
    for name, value in _SETTINGS.items():
        connection.execute("SELECT set_config(%s, %s, false)", [name, value])
    found = {}
    for schema, table, condition in connection.execute(DUMPED_TABLES).fetchall():
        # One MD5 per row is what is sorted and sent; a row without columns has no text. The condition is SQL that an
        # extension registered for pg_dump.
        query = sql.SQL("SELECT coalesce(md5(t::text), '') FROM (SELECT * FROM ONLY {} {}) t ORDER BY 1").format(
            sql.Identifier(schema, table), sql.SQL(condition)
        )
        found[f"{schema}.{table}"] = _hash(connection, query, reporter)
    for schema, sequence in connection.execute(_SEQUENCES).fetchall() if sequences else ():
        query = sql.SQL("SELECT md5(concat_ws(' ', last_value, is_called)) FROM {}").format(
            sql.Identifier(schema, sequence)
        )
        found[f"{schema}.{sequence}"] = _hash(connection, query, reporter)
    return dict(sorted(found.items()))


def _hash(connection: Connection, query: sql.Composed, reporter: Reporter) -> str:
    digest = hashlib.sha256()
    with connection.cursor(name="content") as cursor:
        cursor.itersize = _FETCHED_AT_ONCE
        for (row,) in cursor.execute(query):
            digest.update(row.encode())
            digest.update(b"\n")
    reporter.check()
    return digest.hexdigest()


def differences(wanted: dict[str, str], found: dict[str, str]) -> list[str]:
    """Tables and sequences whose content differs, or that only one has; in order."""
    return sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
