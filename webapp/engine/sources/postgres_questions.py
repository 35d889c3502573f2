"""What *Test connection* asks inside a database and of a file of its filestore."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from webapp.core.plans import PostgresPlan
from webapp.core.reports import CheckState
from webapp.core.status import ErrorCode
from webapp.core.text import format_size
from webapp.engine.answers import Answer, good
from webapp.engine.pgconnect import Connection
from webapp.engine.pgerrors import GRANT_HINT, session_failure
from webapp.engine.pgsnapshot import IS_ODOO
from webapp.engine.report import Reporter
from webapp.engine.sources.filestore import Filestore, sha1_of
from webapp.engine.sources.filestores import filestore_of

_SAMPLES = 3
_SHOWN = 5
_RELATIONS = """
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND c.relpersistence <> 't'
    AND NOT EXISTS (SELECT FROM pg_depend d LEFT JOIN pg_extension e ON e.oid = d.refobjid
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e' AND NOT c.oid = ANY (e.extconfig))
"""
_UNREADABLE = f"""
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) {_RELATIONS}
    AND ((c.relkind IN ('r', 'p', 'm') AND NOT has_table_privilege(c.oid, 'SELECT'))
        OR (c.relkind = 'S' AND NOT has_sequence_privilege(c.oid, 'SELECT'))
        OR NOT has_schema_privilege(n.oid, 'USAGE'))
ORDER BY 1
"""
_ROW_SECURITY = f"""
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) {_RELATIONS}
    AND c.relkind IN ('r', 'p') AND row_security_active(c.oid)
ORDER BY 1
"""
_LOCKS = """
SELECT c.relname, coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0)::int
FROM pg_locks l JOIN pg_class c ON c.oid = l.relation LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.mode = 'AccessExclusiveLock' AND l.granted AND l.pid <> pg_backend_pid() AND c.relkind IN ('r', 'p')
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY 2 DESC
"""
_GUARD = """
SELECT pg_is_in_recovery(), has_table_privilege('public.ir_attachment', 'INSERT')
    OR has_table_privilege('public.ir_attachment', 'UPDATE') OR has_table_privilege('public.ir_attachment', 'DELETE')
"""
_SAMPLE = """
SELECT DISTINCT store_fname FROM (
    SELECT store_fname FROM public.ir_attachment WHERE store_fname ~ '^[0-9a-f]{2,3}/[0-9a-f]{40}$'
    ORDER BY file_size NULLS LAST LIMIT 50) small
LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class DatabaseQuestions:
    """Questions to one database. Each raises SourceError or answers."""

    connection: Connection
    plan: PostgresPlan
    database: str

    def readable(self) -> Answer:
        """Whether pg_dump will be able to read everything."""
        names = [str(row[0]) for row in self.query(_UNREADABLE)]
        if names:
            detail = f"Not readable for this role: {_some(names)}."
            return CheckState.FAILED, detail, f"{len(names)} not readable", GRANT_HINT, ErrorCode.PERMISSION_DENIED
        return good("The role may read every table and sequence.", "all")

    def row_security(self) -> Answer:
        """Whether policies would hide rows."""
        names = [str(row[0]) for row in self.query(_ROW_SECURITY)]
        if names:
            detail = f"Policies may hide rows of {_some(names)}; pg_dump refuses to dump such tables."
            hint = "Use the tables' owner, or a role with BYPASSRLS."
            return CheckState.FAILED, detail, f"{len(names)} tables", hint, ErrorCode.PERMISSION_DENIED
        return good("No policy hides rows from this role.", "none")

    def locks(self) -> Answer:
        """Whether somebody holds a lock now that a dump would wait for."""
        rows = self.query(_LOCKS)
        if not rows:
            return good("No session holds an ACCESS EXCLUSIVE lock now.", "none")
        detail = f"A session has held an ACCESS EXCLUSIVE lock on {rows[0][0]} for {rows[0][1]} s."
        hint = (
            f"A dump waits {self.plan.lock_wait_seconds} s for it, then fails; schedule the job apart from such work."
        )
        return CheckState.WARNING, detail, str(len(rows)), hint, ErrorCode.LOCK_TIMEOUT

    def odoo_version(self) -> Answer:
        """Whether it is an Odoo database, and which."""
        if not self.is_odoo():
            detail = f"Database {self.database!r} has no ir_module_module or ir_attachment."
            hint = "Choose a database of Odoo, or the kind PostgreSQL only."
            return CheckState.FAILED, detail, "", hint, ErrorCode.INVALID_CONFIGURATION
        rows = self.query("SELECT latest_version FROM public.ir_module_module WHERE name = 'base'")
        version = str(rows[0][0]) if rows and rows[0][0] else "unknown"
        return good(f"Module base is of version {version}.", ".".join(version.split(".")[:2]))

    def vacuum(self) -> Answer:
        """Whether Odoo can be kept from deleting files while they are copied."""
        if not self.is_odoo():
            return CheckState.SKIPPED, "Not an Odoo database.", "", "", None
        (in_recovery, may_write), *_ = self.query(_GUARD)
        if may_write and not in_recovery:
            return good("The role may lock ir_attachment against Odoo's vacuum, which hinders nobody else.", "yes")
        why = "A standby takes no such lock" if in_recovery else "The role may not lock ir_attachment"
        detail = f"{why}: files that Odoo deletes during a backup may be missing from it."
        hint = "GRANT INSERT ON ir_attachment TO the role (nothing is ever inserted), or use the databases' owner."
        return CheckState.WARNING, detail, "no", hint, ErrorCode.FILESTORE_UNLOCKED

    def is_odoo(self) -> bool:
        """Whether it has Odoo's tables."""
        return bool(self.query(IS_ODOO)[0][0])

    def query(self, text: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """All rows; errors as SourceError."""
        try:
            return self.connection.execute(text.encode(), parameters or None).fetchall()
        except psycopg.Error as error:
            raise session_failure(error, self.plan, self.database) from error


@dataclass(frozen=True, slots=True)
class FilestoreQuestions:
    """Questions to the filestore of one database."""

    database: DatabaseQuestions
    reporter: Reporter

    def readable(self) -> Answer:
        """Whether the directory is there, and a few small files with their right content."""
        if not self.database.is_odoo():
            return CheckState.SKIPPED, "Not an Odoo database.", "", "", None
        filestore = self._filestore()
        directory = filestore.locate(self.reporter)
        names = [str(row[0]) for row in self.database.query(_SAMPLE, [_SAMPLES])]
        wrong = [name for name in names if not _is_whole(filestore.read(name, self.reporter), name)]
        if wrong:
            detail = f"{directory} does not hold {_some(wrong)} as the database refers to it."
            hint = "The path may be another database's filestore, or a copy that is not complete."
            return CheckState.FAILED, detail, "incomplete", hint, ErrorCode.FILESTORE_UNREADABLE
        seen = f"{len(names)} sampled files have the right SHA-1" if names else "no file is referred to yet"
        return good(f"{directory}: {seen}.", f"{len(names)} of {len(names)}" if names else "empty")

    def space(self) -> Answer:
        """How much is free there; a backup itself takes no space at the source."""
        free = self._filestore().free_bytes(self.reporter)
        if free is None:
            return CheckState.SKIPPED, "The host does not tell.", "", "", None
        return good(f"{format_size(free)} free; a backup takes no space at the source.", format_size(free))

    def _filestore(self) -> Filestore:
        return filestore_of(self.database.plan.filestore, self.database.database)


def _is_whole(data: bytes | None, name: str) -> bool:
    return data is not None and hashlib.sha1(data, usedforsecurity=False).hexdigest() == sha1_of(name)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
