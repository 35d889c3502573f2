"""Questions to a restored database of Odoo: would it start, for whom, and is it of the day it claims to be?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from psycopg import sql

from webapp.core.manifest import Manifest
from webapp.core.reports import Check, CheckState
from webapp.core.text import format_ago, format_count, plural
from webapp.engine.archive.attachments import AttachmentLedger
from webapp.engine.drill.cluster import Connection
from webapp.engine.drill.questions import failed
from webapp.engine.report import Reporter

STALE = timedelta(days=3)
CLOCK_TOLERANCE = timedelta(hours=1)
ROWS_AT_ONCE = 10_000
_SHOWN = 5
_MODULES = """
SELECT count(*) FILTER (WHERE state = 'installed'),
  coalesce((array_agg(name || ' (' || state || ')' ORDER BY name)
    FILTER (WHERE state IN ('to install', 'to upgrade', 'to remove')))[1:6], '{}'),
  max(latest_version) FILTER (WHERE name = 'base')
FROM public.ir_module_module
"""
_USERS = "SELECT count(*) FROM public.res_users WHERE active"
# Tables that a working Odoo writes to all the time; the newest row stands in for the large ones.
_WRITTEN = (
    "ir_cron",
    "res_users",
    "res_users_log",
    "ir_attachment",
    "mail_message",
    "ir_config_parameter",
    "res_partner",
)
_DATED = """
SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'write_date' AND NOT attisdropped
JOIN pg_attribute i ON i.attrelid = c.oid AND i.attname = 'id' AND NOT i.attisdropped
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.atttypid = 'timestamp'::regtype AND c.relname = ANY(%s)
"""
_CHECKSUM = """
SELECT count(*) FROM pg_attribute WHERE attrelid = 'public.ir_attachment'::regclass AND attname = 'checksum' AND NOT attisdropped
"""


def check_odoo(session: Connection, manifest: Manifest, taken_at: str) -> list[Check]:
    """All of them."""
    modules = session.execute(_MODULES).fetchone()
    assert modules is not None  # an aggregate
    installed, pending, base = modules
    return [
        _check_modules(int(installed), list(pending)),
        _check_users(session),
        _check_version(str(base or ""), manifest.versions.get("odoo", "")),
        _check_freshness(session, taken_at),
    ]


def _check_modules(installed: int, pending: Sequence[str]) -> Check:
    title, value = "Odoo's modules", format_count(installed)
    if not installed:
        return failed(
            "odoo_modules", title, "No module is installed: an Odoo would not start with this database.", value
        )
    if pending:
        detail = f"Half-way through a change: {', '.join(pending[:_SHOWN])}."
        hint = "The backup was taken while modules were being installed, or the source has been left like this."
        return failed("odoo_modules", title, detail, value, hint)
    number = plural(installed, "module is", "modules are")
    return Check("odoo_modules", title, CheckState.PASSED, f"{value} {number} installed, none half-way.", value)


def _check_users(session: Connection) -> Check:
    row = session.execute(_USERS).fetchone()
    count = int(row[0]) if row else 0
    if not count:
        return failed("odoo_users", "Users", "No user is active: nobody could sign in.", "0")
    detail = f"{format_count(count)} active {plural(count, 'user', 'users')}."
    return Check("odoo_users", "Users", CheckState.PASSED, detail, format_count(count))


def _check_version(base: str, claimed: str) -> Check:
    title = "Odoo's version"
    if not base:
        return failed("odoo_version", title, "Module base has no version.")
    if not claimed:
        detail = f"Module base is of version {base}; the manifest names none to compare with."
        return Check("odoo_version", title, CheckState.SKIPPED, detail, base)
    if series(base) != series(claimed):
        detail = f"Module base is of version {base}, and the manifest says Odoo {claimed}."
        return failed("odoo_version", title, detail, base)
    return Check(
        "odoo_version", title, CheckState.PASSED, f"Module base is of version {base}, as the manifest says.", base
    )


def series(version: str) -> tuple[str, ...]:
    """("18", "0") for 18.0, 18.0.1.3, 18.0+e; ("18", "2") for saas~18.2."""
    numbers: Sequence[str] = re.findall(r"\d+", version.split("+", 1)[0])
    return tuple(numbers[:2])


def _check_freshness(session: Connection, taken_at: str) -> Check:
    """The newest change, beside the time of the backup. A quiet database is a warning at most."""
    title = "Newest change"
    newest: datetime | None = None
    for (table,) in session.execute(_DATED, [list(_WRITTEN)]).fetchall():
        query = sql.SQL("SELECT max(write_date) FROM (SELECT write_date FROM {} ORDER BY id DESC LIMIT 1000) AS last")
        row = session.execute(query.format(sql.Identifier("public", table))).fetchone()
        if row and row[0] is not None and (newest is None or row[0] > newest):
            newest = row[0]
    if newest is None:
        return Check("odoo_freshness", title, CheckState.SKIPPED, "No table tells when it was last written.")
    taken, at = datetime.fromisoformat(taken_at).astimezone(UTC), newest.replace(tzinfo=UTC)
    said = f"{at:%Y-%m-%d %H:%M} UTC"
    if at > taken + CLOCK_TOLERANCE:
        detail = f"{said}, which is after the backup was taken: some clock is wrong."
        return Check("odoo_freshness", title, CheckState.WARNING, detail, said, "Compare the clocks of the servers.")
    if at < taken - STALE:
        detail = f"{said}: nothing was written in the {format_ago(at, taken).removesuffix(' ago')} before the backup."
        hint = "Look whether this is the database that people work with, not an old copy of it."
        return Check("odoo_freshness", title, CheckState.WARNING, detail, said, hint)
    return Check("odoo_freshness", title, CheckState.PASSED, f"{said}, shortly before the backup was taken.", said)


def read_attachments(session: Connection, ledger: AttachmentLedger, reporter: Reporter) -> None:
    """Give the ledger the files that the restored rows refer to."""
    row = session.execute(_CHECKSUM).fetchone()
    column = b"checksum" if row and row[0] else b"NULL"
    with session.transaction(), session.cursor(name="attachments") as cursor:
        cursor.itersize = ROWS_AT_ONCE
        cursor.execute(
            b"SELECT convert_to(store_fname, 'UTF8'), convert_to(" + column + b"::text, 'UTF8')"
            b" FROM public.ir_attachment WHERE store_fname IS NOT NULL"
        )
        while rows := cursor.fetchmany(ROWS_AT_ONCE):
            reporter.check()
            ledger.take_rows(rows)
