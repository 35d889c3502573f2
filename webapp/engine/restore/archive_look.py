"""Questions about an archive beside the server that it should go to."""

from __future__ import annotations

import os

from webapp.core.errors import ArchiveError
from webapp.core.reports import CheckState
from webapp.core.restore_plans import RestorePlan
from webapp.core.status import ArchiveFormat, ErrorCode
from webapp.core.text import format_size
from webapp.engine.answers import Answer, good
from webapp.engine.pgconnect import Connection
from webapp.engine.pgtools import choose, server_major, version_text
from webapp.engine.report import Reporter
from webapp.engine.restore.dump_source import DumpHead, newest_tools, read_head

# Before version 13 no extension was trusted, and there was no such column.
_EXTENSIONS = """
SELECT e.name, bool_or(v.superuser AND NOT coalesce((to_jsonb(v) ->> 'trusted')::boolean, false))
FROM pg_available_extensions e JOIN pg_available_extension_versions v
    ON v.name = e.name AND v.version = e.default_version
WHERE e.name = ANY (%s) GROUP BY e.name
"""
_ENCODINGS = "SELECT pg_char_to_encoding(%s)"


def refuse(detail: str, code: ErrorCode, hint: str = "", value: str = "") -> Answer:
    """An answer that forbids the restore."""
    return CheckState.FAILED, detail, value, hint, code


def warn(detail: str, code: ErrorCode | None, hint: str = "", value: str = "") -> Answer:
    """An answer that a person should know."""
    return CheckState.WARNING, detail, value, hint, code


class ArchiveQuestions:
    """Each raises HoldfastError or answers."""

    def __init__(self, plan: RestorePlan, reporter: Reporter) -> None:
        self._plan = plan
        self._reporter = reporter
        self._head: DumpHead | None = None

    def head(self) -> DumpHead:
        """What stands before the dump's first table, read once. Raises ArchiveError."""
        if self._head is None:
            self._head = read_head(self._plan.archive_path, self._plan.archive_format, self._reporter)
        return self._head

    def opens(self) -> Answer:
        """It is there, as long as it was, and its dump begins as one; all of it is verified when the restore begins."""
        try:
            found = os.stat(self._plan.archive_path, follow_symlinks=False).st_size
        except OSError as error:
            raise ArchiveError(
                f"The archive's file cannot be read: {error.strerror}.",
                hint="Find out who removed it; choose another restore point.",
                code=ErrorCode.ARCHIVE_MISSING,
            ) from error
        wanted = self._plan.manifest.size_bytes
        if found != wanted:
            code = ErrorCode.TRUNCATED if found < wanted else ErrorCode.CORRUPT
            return refuse(
                f"The archive has {found} bytes; {wanted} were stored.", code, "Choose another restore point."
            )
        self.head()
        detail = f"{format_size(found)}. It is verified from end to end before the target is touched."
        return good(detail, format_size(found))

    def provenance(self) -> Answer:
        """A dump runs as whoever restores it: one that was not taken by us deserves a thought."""
        labels = self._plan.manifest.labels
        if labels.get("origin") != "upload":
            return good(
                f"A backup of {self._plan.manifest.instance_name} / {self._plan.manifest.database}, taken by us."
            )
        name = labels.get("file_name", self._plan.manifest.file_name)
        return warn(
            f"{name!r} was uploaded; it is not one of our own backups. Restoring it runs its SQL as the role that restores.",
            None,
            "Restore it only if you know who made it, and rather as a plain role than as a superuser.",
            "uploaded",
        )

    def fits_version(self, version_num: int) -> Answer:
        """A server older than the source's may not understand the dump."""
        source = self._plan.manifest.versions.get("postgresql", "")
        here = version_text(version_num)
        major = source.split(".")[0]
        if not major.isdigit() or int(major) < 10:
            return good(f"PostgreSQL {here}; which version the archive comes from is not known.", here)
        if server_major(version_num) < int(major):
            return refuse(
                f"PostgreSQL {here} is older than {source}, which the archive was taken from.",
                ErrorCode.TARGET_TOO_OLD,
                f"Choose a server of version {major} or later.",
                here,
            )
        return good(f"PostgreSQL {here}; the archive was taken from {source}.", here)

    def client_tools(self, version_num: int) -> Answer:
        """psql, and pg_restore where the archive needs it."""
        tools = choose(version_num)
        if self._plan.archive_format is ArchiveFormat.CUSTOM:
            newest = newest_tools()
            return good(f"pg_restore {newest.version} reads the archive, psql {tools.version} is there.", tools.version)
        return good(f"psql {tools.version} in {tools.directory}.", tools.version)

    def encoding(self, connection: Connection) -> Answer:
        """The server must know the encoding of the database."""
        wanted = self.head().encoding
        row = connection.execute(_ENCODINGS, [wanted]).fetchone()
        if row is None or int(row[0]) < 0:
            return refuse(f"The server does not know the encoding {wanted[:40]!r}.", ErrorCode.INVALID_CONFIGURATION)
        return good(f"{wanted}, as in the dump.", wanted)

    def extensions(self, connection: Connection) -> Answer:
        """Every extension that the dump creates must be there, and be one that this role may create."""
        wanted = [name for name in self.head().extensions if name != "plpgsql"]
        found: dict[str, bool] = dict(connection.execute(_EXTENSIONS, [wanted]).fetchall())
        missing = [name for name in wanted if name not in found]
        if missing:
            hint = "Install it on the target's server (for vector, the package of pgvector)."
            detail = f"The server does not have: {', '.join(missing)}."
            return refuse(detail, ErrorCode.EXTENSION_MISSING, hint, f"{len(missing)} missing")
        row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
        barred = [name for name in wanted if found[name]]
        owner = self._plan.options.owner
        if barred and (not (row and row[0]) or (owner and owner != connection.info.user)):
            hint = "Restore as a superuser who also owns the database, or leave the extension out of the source."
            detail = f"Only a superuser may create: {', '.join(barred)}."
            return refuse(detail, ErrorCode.PERMISSION_DENIED, hint, ", ".join(barred))
        return good(f"Available: {', '.join(wanted)}." if wanted else "The dump needs none.", str(len(wanted)))

    def may_be_copied(self) -> Answer:
        """Only what we know can be made harmless."""
        if not self._plan.manifest.is_odoo:
            detail = "The archive is not one of an Odoo, so it can be given no new identity and not be neutralised."
            return refuse(detail, ErrorCode.INVALID_CONFIGURATION, "Leave these options off.")
        wanted = self._plan.options
        words = (("gets a new identity", wanted.new_identity), ("is neutralised", wanted.neutralise))
        return good(f"The copy {' and '.join(word for word, on in words if on)} before anybody can connect to it.")
