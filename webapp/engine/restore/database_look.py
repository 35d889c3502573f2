"""The look at a database server before a restore: can it be reached, may we, does it fit, who would be sent away."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from webapp.core.errors import HoldfastError, InvalidInput, TaskStopped
from webapp.core.naming import check_database_name
from webapp.core.reports import Check, CheckState
from webapp.core.restore_plans import RestorePlan, TargetFacts, TargetIdentity, TargetReport
from webapp.core.status import ErrorCode, RestoreTarget
from webapp.core.text import format_count, format_size, plural
from webapp.engine.answers import Answer, good
from webapp.engine.pgconnect import Access, Connection, open_access
from webapp.engine.pgtools import version_text
from webapp.engine.report import Reporter
from webapp.engine.restore.archive_look import ArchiveQuestions, refuse, warn
from webapp.engine.restore.databases import Database, find_database, list_sessions, restore_session, system_identifier
from webapp.engine.restore.filestore_look import look_at_filestore
from webapp.engine.restore.filling import wants_files

_TITLES = {
    "archive": "Archive",
    "provenance": "Where the archive comes from",
    "login": "Login",
    "version": "Server version",
    "client_tools": "Client tools",
    "rights": "Right to create databases",
    "name": "Name",
    "owner": "Owner",
    "encoding": "Encoding",
    "extensions": "Extensions",
    "connections": "Connections that will be dropped",
    "copy": "Copy of production",
    "filestore": "Filestore",
    "room": "Room",
}
_ROLE = """
SELECT r.rolname, r.rolsuper, r.rolcreatedb, r.rolsuper OR pg_has_role('pg_signal_backend', 'MEMBER')
FROM pg_roles r WHERE r.rolname = current_user
"""
_OTHERS = """
SELECT count(*) FROM pg_stat_activity a LEFT JOIN pg_roles r ON r.rolname = a.usename
WHERE a.datid = %s::bigint::oid AND a.backend_type = 'client backend'
    AND (coalesce(r.rolsuper, true) OR NOT (%s OR pg_has_role(a.usename, 'USAGE')))
"""


def look(plan: RestorePlan, reporter: Reporter) -> TargetReport:
    """Ask everything. Raises TaskStopped only."""
    asked = _Asked(plan, reporter)
    asked.archive()
    with ExitStack() as stack:
        opened = asked.enter(stack)
        if opened is not None:
            _Server(asked, *opened).ask()
    return TargetReport(tuple(asked.checks), asked.facts())


@dataclass(slots=True)
class _Asked:
    """The answers so far."""

    plan: RestorePlan
    reporter: Reporter
    checks: list[Check] = field(default_factory=list)
    identity: TargetIdentity | None = None
    connections: tuple[str, ...] = ()
    database_bytes: int | None = None
    free_bytes: int | None = None
    server_version: str = ""

    def ask(self, key: str, question: Callable[[], Answer]) -> bool:
        """One question; False when its answer forbids the restore."""
        self.reporter.step(key, _TITLES[key])
        try:
            state, detail, value, hint, code = question()
        except TaskStopped:
            raise
        except HoldfastError as error:
            state, detail, value, hint, code = refuse(error.message, error.code, error.hint)
        self.checks.append(Check(key, _TITLES[key], state, detail, value, hint, code))
        return state is not CheckState.FAILED

    def archive(self) -> None:
        questions = ArchiveQuestions(self.plan, self.reporter)
        self.ask("archive", questions.opens)
        self.ask("provenance", questions.provenance)

    def enter(self, stack: ExitStack) -> tuple[Access, Connection] | None:
        """A session on the server, or None."""
        opened: list[tuple[Access, Connection]] = []

        def login() -> Answer:
            server = self.plan.server
            assert server is not None
            access = stack.enter_context(open_access(server, self.reporter))
            session = restore_session(access, server.maintenance_database, self.reporter)
            connection = stack.enter_context(session)
            opened.append((access, connection))
            self.server_version = version_text(connection.info.server_version)
            return good(f"Logged in at {access.place} as {connection.info.user}.", connection.info.user)

        self.ask("login", login)
        return opened[0] if opened else None

    def facts(self) -> TargetFacts:
        manifest = self.plan.manifest
        files = manifest.filestore_bytes if wants_files(self.plan) else 0
        return TargetFacts(
            identity=self.identity,
            connections=self.connections,
            database_bytes=self.database_bytes,
            free_bytes=self.free_bytes,
            needed_bytes=files,
            server_version=self.server_version,
        )


@dataclass(slots=True)
class _Server:
    """Questions to a server that let us in."""

    asked: _Asked
    access: Access
    connection: Connection
    found: Database | None = None
    is_superuser: bool = False
    may_signal: bool = False

    @property
    def plan(self) -> RestorePlan:
        return self.asked.plan

    def ask(self) -> None:
        plan = self.plan
        archive = ArchiveQuestions(plan, self.asked.reporter)
        version = self.connection.info.server_version
        self.asked.ask("version", lambda: archive.fits_version(version))
        self.asked.ask("client_tools", lambda: archive.client_tools(version))
        self.asked.ask("rights", self.rights)
        self.asked.ask("name", self.name)
        self.asked.ask("owner", self.owner)
        self.asked.ask("encoding", lambda: archive.encoding(self.connection))
        self.asked.ask("extensions", lambda: archive.extensions(self.connection))
        if plan.target is RestoreTarget.REPLACE and self.found is not None:
            self.asked.ask("connections", self.connections)
        if plan.options.neutralise or plan.options.new_identity:
            self.asked.ask("copy", archive.may_be_copied)
        if plan.manifest.has_filestore:
            self.asked.ask("filestore", self.filestore)
        self.asked.ask("room", self.room)

    def rights(self) -> Answer:
        row = self.connection.execute(_ROLE).fetchone()
        assert row is not None
        name, self.is_superuser, may_create, self.may_signal = str(row[0]), bool(row[1]), bool(row[2]), bool(row[3])
        if self.is_superuser or may_create:
            word = "superuser" if self.is_superuser else "CREATEDB"
            return good(f"Role {name} may create databases.", word)
        return refuse(
            f"Role {name} may not create databases.", ErrorCode.PERMISSION_DENIED, f"ALTER ROLE {name} CREATEDB."
        )

    def name(self) -> Answer:
        """The name is free, or the database to replace is there; nothing of ours is in the way."""
        plan = self.plan
        names = [plan.database, plan.temporary_name]
        names += [plan.kept_name] if plan.target is RestoreTarget.REPLACE else []
        for name in names:
            try:
                check_database_name(name)
            except InvalidInput as error:
                return refuse(error.message, ErrorCode.INVALID_CONFIGURATION, error.hint)
        self.found = find_database(self.connection, plan.database)
        identifier = system_identifier(self.connection, self.access.place)
        self.asked.identity = TargetIdentity(identifier, self.found.oid if self.found else None)
        for name in names[1:]:
            if find_database(self.connection, name) is not None:
                return refuse(f"There is a database {name!r} already.", ErrorCode.TARGET_EXISTS, "Remove it first.")
        if plan.target is RestoreTarget.NEW_DATABASE:
            if self.found is None:
                return good(f"There is no database {plan.database!r} yet.", plan.database)
            hint = "Choose another name, or restore as a replacement."
            return refuse(f"There is a database {plan.database!r} already.", ErrorCode.TARGET_EXISTS, hint)
        return self._replaceable()

    def _replaceable(self) -> Answer:
        plan, found = self.plan, self.found
        if found is None:
            hint = "Restore it as a new database."
            return refuse(f"There is no database {plan.database!r} to replace.", ErrorCode.DATABASE_NOT_FOUND, hint)
        if found.is_template or found.name == self.access.plan.maintenance_database:
            return refuse(f"Database {found.name!r} belongs to the server itself.", ErrorCode.INVALID_CONFIGURATION)
        if not self._is_member(found.owner):
            hint = f"Connect as {found.owner}, or as a superuser."
            detail = f"Database {found.name!r} belongs to {found.owner}; only its owner may rename it."
            return refuse(detail, ErrorCode.PERMISSION_DENIED, hint)
        row = self.connection.execute("SELECT pg_database_size(%s::bigint::oid)", [found.oid]).fetchone()
        self.asked.database_bytes = int(row[0]) if row else None
        size = format_size(self.asked.database_bytes or 0)
        return good(f"{found.name} ({size}) will be kept as {plan.kept_name}.", size)

    def owner(self) -> Answer:
        """Who will own it: as asked, else who owns what is replaced, else we."""
        wanted = self.plan.options.owner or (self.found.owner if self.found is not None else "")
        if not wanted:
            return good(f"It will belong to {self.connection.info.user}.", self.connection.info.user)
        row = self.connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [wanted]).fetchone()
        if row is None:
            hint = "CREATE ROLE it, or choose another. Odoo lists only databases of the role it connects as."
            return refuse(f"There is no role {wanted!r} on this server.", ErrorCode.INVALID_CONFIGURATION, hint)
        if not self._is_member(wanted):
            user = self.connection.info.user
            hint = f"GRANT {wanted} TO {user}, or connect as a superuser."
            return refuse(f"{user} is not a member of {wanted!r}.", ErrorCode.PERMISSION_DENIED, hint)
        return good(f"It will belong to {wanted}.", wanted)

    def _is_member(self, role: str) -> bool:
        row = self.connection.execute("SELECT pg_has_role(%s, 'MEMBER')", [role]).fetchone()
        return row is not None and bool(row[0])

    def connections(self) -> Answer:
        """Who is connected, and whether we may send them away."""
        assert self.found is not None
        self.asked.connections = list_sessions(self.connection, self.found.oid)
        if not self.asked.connections:
            return good("Nobody is connected now.", "none")
        who = "; ".join(self.asked.connections[:5])
        row = self.connection.execute(_OTHERS, [self.found.oid, self.may_signal]).fetchone()
        if not self.is_superuser and row is not None and row[0]:
            hint = "Stop these programs, or use a role that may end their sessions (pg_signal_backend)."
            return refuse(f"These sessions cannot be ended by this role: {who}.", ErrorCode.TARGET_BUSY, hint)
        hint = "They are ended right before the swap. Stop Odoo, or it may show errors for a moment."
        count = len(self.asked.connections)
        return warn(f"Connected now: {who}.", ErrorCode.TARGET_BUSY, hint, format_count(count))

    def filestore(self) -> Answer:
        if not wants_files(self.plan):
            detail = "The archive's files are not restored; attachments of the database will lack them."
            return warn(
                detail, ErrorCode.ATTACHMENTS_MISSING, "Restore with the filestore unless it lies there already."
            )
        answer, self.asked.free_bytes = look_at_filestore(self.plan, self.found is not None, self.asked.reporter)
        return answer

    def room(self) -> Answer:
        """What it will take; how much the database server has free it does not tell."""
        manifest = self.plan.manifest
        dump = manifest.dump_bytes or manifest.size_bytes
        detail = f"The dump is {format_size(dump)} of SQL; the database takes about as much on the server's disk"
        if self.asked.database_bytes is not None:
            detail += f", beside the {format_size(self.asked.database_bytes)} of the old one"
        if wants_files(self.plan):
            count = manifest.attachment_count or 0
            words = f"{format_count(count)} {plural(count, 'file', 'files')}"
            detail += f"; its {words} take {format_size(manifest.filestore_bytes)}"
        return good(f"{detail}. The server does not tell how much it has free.", format_size(dump))
