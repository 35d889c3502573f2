"""Databases on a server as a restore handles them: by oid, closed to others, renamed in one transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from webapp.core.errors import HoldfastError, SourceError
from webapp.core.restore_plans import TargetIdentity
from webapp.core.status import ErrorCode
from webapp.engine.pgconnect import Access, Connection, session
from webapp.engine.report import Reporter

LEAVE_SECONDS = 30
_PAUSE_SECONDS = 0.05
_FIND = """
SELECT d.oid::bigint, d.datname, d.datallowconn, d.datistemplate, r.rolname, d.datconnlimit,
    pg_encoding_to_char(d.encoding), d.datcollate, d.datctype
FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba
"""
_SESSIONS = """
SELECT coalesce(nullif(a.usename, ''), 'somebody') || coalesce(' from ' || host(a.client_addr), ' from the server itself'),
    count(*)
FROM pg_stat_activity a WHERE a.datid = %s::bigint::oid AND a.pid <> ALL (%s) AND a.backend_type = 'client backend'
GROUP BY 1 ORDER BY 2 DESC, 1
"""
_SETTINGS = """
SELECT split_part(item, '=', 1), substr(item, strpos(item, '=') + 1)
FROM pg_db_role_setting s, unnest(s.setconfig) item WHERE s.setdatabase = %s::bigint::oid AND s.setrole = 0
"""
_GRANTS = """
SELECT a.privilege_type, r.rolname, a.is_grantable
FROM pg_database d, aclexplode(d.datacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE d.oid = %s::bigint::oid AND a.grantee <> d.datdba AND (a.grantee = 0 OR r.rolname IS NOT NULL)
"""


class RestoreError(HoldfastError):
    """The target was not, or could not be, brought to what was asked for."""

    code = ErrorCode.RESTORE_FAILED
    permanent = True


@contextmanager
def restore_session(access: Access, database: str, reporter: Reporter, name: str = "") -> Iterator[Connection]:
    """A session whose errors say that a restore failed. ``name`` is shown in pg_stat_activity, for ``end_named``."""
    try:
        with session(access, database, reporter) as connection:
            if name:
                connection.execute("SELECT set_config('application_name', %s, false)", [name[:63]])
            yield connection
    except SourceError as error:
        if error.code is ErrorCode.DUMP_FAILED:  # what session_failure says when it knows no better
            raise RestoreError(error.message, hint=error.hint) from error
        raise


def end_named(connection: Connection, name: str, reporter: Reporter) -> None:
    """End the sessions of that name and wait until they are gone: what they were doing is then done, or never will be.

    A server goes on with a statement after its client was killed; only now can one look at what it left.
    """

    def gone() -> bool:
        row = connection.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = %s AND pid <> pg_backend_pid() AND usename = current_user",
            [name[:63]],
        ).fetchone()
        return row is not None and row[0] == 0

    if not await_true(gone, reporter, LEAVE_SECONDS):
        raise RestoreError("A session of the former attempt does not end.", code=ErrorCode.TARGET_BUSY)


@dataclass(frozen=True, slots=True)
class Database:
    """One database as the server's catalogue has it."""

    oid: int
    name: str
    allows_connections: bool
    is_template: bool
    owner: str
    connection_limit: int
    encoding: str
    collate: str
    ctype: str


@dataclass(frozen=True, slots=True)
class NewDatabase:
    """How a database is made. ``ctype`` "" leaves the server's own."""

    name: str
    owner: str
    encoding: str = "UTF8"
    collate: str = "C"
    ctype: str = ""


def find_database(connection: Connection, name: str) -> Database | None:
    """The database of that name, or None."""
    row = connection.execute(_FIND + "WHERE d.datname = %s", [name]).fetchone()
    return Database(*row) if row else None


def find_by_oid(connection: Connection, oid: int) -> Database | None:
    """The database with that oid whatever its name, or None."""
    row = connection.execute(_FIND + "WHERE d.oid = %s::bigint::oid", [oid]).fetchone()
    return Database(*row) if row else None


def system_identifier(connection: Connection, place: str) -> str:
    """What tells this server from all others: the cluster's identifier, where we may not ask for it its address."""
    try:
        row = connection.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFunction):
        return f"at {place}"
    assert row is not None
    return str(row[0])


def identity_of(connection: Connection, place: str, database: str) -> TargetIdentity:
    """Server and database, as they are now."""
    found = find_database(connection, database)
    return TargetIdentity(system_identifier(connection, place), found.oid if found else None)


def create_database(connection: Connection, wanted: NewDatabase) -> int:
    """An empty database; its oid.

    It is marked as a template: Odoo, which serves and runs the scheduled actions of every database that it owns and
    finds in the list, leaves templates out of that list.
    """
    statement = sql.SQL(
        "CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING {} LC_COLLATE {} {} IS_TEMPLATE true"
    ).format(
        sql.Identifier(wanted.name),
        sql.Identifier(wanted.owner),
        sql.Literal(wanted.encoding),
        sql.Literal(wanted.collate),
        sql.SQL("LC_CTYPE {}").format(sql.Literal(wanted.ctype)) if wanted.ctype else sql.SQL(""),
    )
    connection.execute(statement)
    made = find_database(connection, wanted.name)
    assert made is not None
    return made.oid


def set_open(connection: Connection, name: str, allowed: bool) -> None:
    """Whether new sessions may begin in it; those that are there stay."""
    word = sql.SQL("true" if allowed else "false")
    connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(sql.Identifier(name), word))


def inherit_settings(connection: Connection, old: Database, new_name: str) -> list[str]:
    """Connection limit, settings and grants that belong to the database itself, which no dump holds.

    Answers with the settings that this role may not make.
    """
    name = sql.Identifier(new_name)
    limit = sql.Literal(old.connection_limit)
    connection.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(name, limit))
    refused = []
    for setting, value in connection.execute(_SETTINGS, [old.oid]).fetchall():
        statement = sql.SQL("ALTER DATABASE {} SET {} FROM CURRENT")
        try:
            with connection.transaction():
                # Through a session's value: a list such as search_path cannot be written as one literal.
                connection.execute("SELECT set_config(%s, %s, true)", [setting, value])
                connection.execute(statement.format(name, sql.SQL(".").join(map(sql.Identifier, setting.split(".")))))
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.CantChangeRuntimeParam):
            refused.append(str(setting))
    grants = connection.execute(_GRANTS, [old.oid]).fetchall()
    with connection.transaction():
        if grants:
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
        for privilege, grantee, grantable in grants:
            whom = sql.Identifier(grantee) if grantee else sql.SQL("PUBLIC")
            option = sql.SQL("WITH GRANT OPTION" if grantable and grantee else "")
            grant = sql.SQL("GRANT {} ON DATABASE {} TO {} {}")
            connection.execute(grant.format(sql.SQL(privilege), name, whom, option))
    return refused


def list_sessions(connection: Connection, oid: int, but: tuple[int, ...] = ()) -> tuple[str, ...]:
    """Who is in it, in words: "odoo from 10.0.0.4 (3)"."""
    rows = connection.execute(_SESSIONS, [oid, list(but)]).fetchall()
    return tuple(f"{who} ({count})" if count > 1 else str(who) for who, count in rows)


def end_sessions(connection: Connection, oid: int, reporter: Reporter, but: tuple[int, ...] = ()) -> None:
    """End every session in it, and wait until they are gone. Raises RestoreError(target_busy)."""
    try:
        ended = await_true(lambda: _terminate(connection, oid, but), reporter, LEAVE_SECONDS)
    except psycopg.errors.InsufficientPrivilege:
        ended = False
    if not ended:
        raise _busy(list_sessions(connection, oid, but))


def _terminate(connection: Connection, oid: int, but: tuple[int, ...]) -> bool:
    row = connection.execute(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datid = %s::bigint::oid AND pid <> ALL (%s) AND backend_type = 'client backend'",
        [oid, list(but)],
    ).fetchone()
    return row is not None and row[0] == 0


def await_true(question: Callable[[], bool], reporter: Reporter, seconds: float) -> bool:
    """Ask again and again until it is true; False after so many seconds."""
    deadline = time.monotonic() + seconds
    while not question():
        reporter.check()
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE_SECONDS)
    return True


def _busy(sessions: tuple[str, ...]) -> RestoreError:
    who = "; ".join(sessions[:5]) or "somebody"
    return RestoreError(
        f"These sessions could not be ended: {who}.",
        hint="Stop Odoo and other programs, or use a role that may end their sessions (pg_signal_backend).",
        code=ErrorCode.TARGET_BUSY,
    )


def drop_database(connection: Connection, found: Database, reporter: Reporter) -> None:
    """Drop this very database, whoever is in it; no other that may have taken its name meanwhile."""
    now = find_by_oid(connection, found.oid)
    if now is None:
        return
    if now.is_template:
        connection.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(sql.Identifier(now.name)))
    set_open(connection, now.name, False)
    end_sessions(connection, now.oid, reporter)
    connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(now.name)))


@dataclass(frozen=True, slots=True)
class Renaming:
    """One database gets another name; ``opened`` also lets others in and takes the template's mark off."""

    oid: int
    old: str
    new: str
    opened: bool = False


def rename_together(connection: Connection, renamings: list[Renaming]) -> None:
    """All of them or none, in one transaction; the oids are checked inside it. Raises RestoreError."""
    try:
        with connection.transaction():
            for one in renamings:
                statement = "ALTER DATABASE {} RENAME TO {}"
                connection.execute(sql.SQL(statement).format(sql.Identifier(one.old), sql.Identifier(one.new)))
                found = find_database(connection, one.new)
                if found is None or found.oid != one.oid:
                    raise changed(f"Database {one.old!r} is no longer the one that was looked at.")
                if one.opened:
                    statement = "ALTER DATABASE {} IS_TEMPLATE false ALLOW_CONNECTIONS true"
                    connection.execute(sql.SQL(statement).format(sql.Identifier(one.new)))
    except psycopg.errors.DuplicateDatabase as error:
        raise RestoreError(str(error).splitlines()[0].capitalize() + ".", code=ErrorCode.TARGET_EXISTS) from error
    except psycopg.errors.InvalidCatalogName as error:
        raise changed(str(error).splitlines()[0].capitalize() + ".") from error
    except psycopg.errors.ObjectInUse as error:
        raise RestoreError(str(error).splitlines()[0].capitalize() + ".", code=ErrorCode.TARGET_BUSY) from error


def changed(why: str) -> RestoreError:
    """The target is not what was confirmed."""
    return RestoreError(
        why, hint="Look at the target again, then start the restore anew.", code=ErrorCode.TARGET_CHANGED
    )
