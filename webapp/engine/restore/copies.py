"""Copies of an Odoo database: a new identity, and made harmless, before anybody but us has seen them."""

from __future__ import annotations

import uuid

import psycopg

from webapp.core.reports import Check, CheckState
from webapp.core.restore_plans import RestoreOptions
from webapp.core.status import ErrorCode
from webapp.engine.pgconnect import Connection
from webapp.engine.restore.databases import RestoreError
from webapp.engine.restore.neutralise import neutralise, set_parameter


def make_copy(connection: Connection, options: RestoreOptions) -> list[Check]:
    """What the options ask for, all in one transaction, or nothing. Raises RestoreError."""
    if not (options.new_identity or options.neutralise):
        return []
    try:
        with connection.transaction():
            checks = [_renew_identity(connection)] if options.new_identity else []
            if options.neutralise:
                checks += neutralise(connection)
            return checks
    except psycopg.Error as error:
        code = ErrorCode.NEUTRALISE_FAILED if options.neutralise else ErrorCode.RESTORE_FAILED
        raise RestoreError(
            f"The database could not be made a copy: {str(error).splitlines()[0]}.",
            hint="It was removed again, before anybody could connect to it.",
            code=code,
        ) from error


def _renew_identity(connection: Connection) -> Check:
    """``database.uuid``, ``database.secret`` and ``database.create_date``, as Odoo makes them when it copies.

    Sessions and signatures of the original are worth nothing in the copy, and Odoo's services take it for another.
    """
    before = connection.execute("SELECT value FROM public.ir_config_parameter WHERE key = 'database.uuid'").fetchone()
    fresh = str(uuid.uuid1())
    set_parameter(connection, "database.uuid", fresh)
    set_parameter(connection, "database.secret", str(uuid.uuid4()))
    row = connection.execute("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')").fetchone()
    set_parameter(connection, "database.create_date", str(row[0]) if row else "")
    after = connection.execute("SELECT value FROM public.ir_config_parameter WHERE key = 'database.uuid'").fetchall()
    if after != [(fresh,)] or before == (fresh,):
        raise RestoreError("The copy's database.uuid could not be changed.")
    return Check("new_identity", "New identity", CheckState.PASSED, f"database.uuid is now {fresh}.")
