"""What PostgreSQL's errors mean to the operator: of a connection attempt, of a session, of pg_dump."""

from __future__ import annotations

import re

import psycopg

from webapp.core.errors import SourceError
from webapp.core.plans import PostgresPlan
from webapp.core.status import ErrorCode
from webapp.core.text import strip_controls, tail_lines
from webapp.engine.process import Ending, ProcessFailed

_SHOWN = 300

GRANT_HINT = (
    "Let the role read everything: GRANT pg_read_all_data TO it (PostgreSQL 14 and later), or use the databases' owner."
)
_RLS_HINT = "Row-level security hides rows from this role: use the tables' owner, or a role with BYPASSRLS."

# (pattern in the server's or libpq's words, code, hint, permanent), the first that fits.
_Rule = tuple[str, ErrorCode, str, bool]
_CONNECT_RULES: tuple[_Rule, ...] = (
    (
        r"resolve host|translate host name|name or service not known",
        ErrorCode.DNS_FAILED,
        "Check the host name; this machine must be able to resolve it.",
        False,
    ),
    (
        r"no pg_hba\.conf entry",
        ErrorCode.AUTH_FAILED,
        "Allow this machine, user and database in the server's pg_hba.conf.",
        True,
    ),
    (
        r"password authentication failed|authentication failed|no password supplied|role .* does not exist",
        ErrorCode.AUTH_FAILED,
        "Check user name and password.",
        True,
    ),
    (
        r"database .* does not exist",
        ErrorCode.DATABASE_NOT_FOUND,
        "Choose one of the databases that the server lists.",
        True,
    ),
    (
        r"permission denied for database|not currently accepting connections",
        ErrorCode.PERMISSION_DENIED,
        "GRANT CONNECT on the database to the role.",
        True,
    ),
    (
        r"certificate|does not support ssl|ssl error|root certificate",
        ErrorCode.TLS_FAILED,
        "Check the TLS mode, and the certificate authority if the mode asks for one.",
        True,
    ),
)
_SERVER_GONE = (
    r"server closed the connection|terminating connection|connection to server|connection refused|no connection to the"
    r"|ssl connection has been closed|could not receive data|could not send data|connection reset|shutting down"
    r"|invalid snapshot identifier|could not import the requested snapshot|in recovery mode|starting up"
)
_DUMP_RULES: tuple[_Rule, ...] = (
    (r"row-level security", ErrorCode.PERMISSION_DENIED, _RLS_HINT, True),
    (r"permission denied|must be owner", ErrorCode.PERMISSION_DENIED, GRANT_HINT, True),
    (
        r"due to (lock|statement) timeout|could not obtain lock",  # --lock-wait-timeout is a statement timeout
        ErrorCode.LOCK_TIMEOUT,
        "Another session holds a lock (an update of modules, VACUUM FULL); schedule the job apart from it.",
        False,
    ),
    (
        r"server version mismatch",
        ErrorCode.CLIENT_TOO_OLD,
        "Install the client tools of the server's version on the worker.",
        True,
    ),
    (_SERVER_GONE, ErrorCode.CONNECTION_LOST, "See the server's log: it restarted, or ended our session.", False),
)
_RESTORE_RULES: tuple[_Rule, ...] = (
    (
        r'extension ".*" is not available|could not open extension control file|extension ".*" (does not exist|has no inst)',
        ErrorCode.EXTENSION_MISSING,
        "Install the extension on the target's server (for vector, the package of pgvector).",
        True,
    ),
    (
        r"permission denied|must be owner|must be superuser|must be (a )?member of|must be able to SET ROLE",
        ErrorCode.PERMISSION_DENIED,
        "Restore as a role with these rights, or have the extension created by a superuser.",
        True,
    ),
    (r"no space left on device|disk full", ErrorCode.DISK_FULL, "Free space on the target's server.", False),
    (_SERVER_GONE, ErrorCode.CONNECTION_LOST, "See the server's log: it restarted, or ended our session.", False),
)
# By SQLSTATE or its class: https://www.postgresql.org/docs/current/errcodes-appendix.html
_STATES: tuple[tuple[str, int], ...] = (("42501", 1), ("55P03", 2), ("08", 4), ("57P0", 4))


def connect_failure(error: psycopg.Error, plan: PostgresPlan, database: str) -> SourceError:
    """A connection that did not come about."""
    text = _clean(str(error))
    for pattern, code, hint, permanent in _CONNECT_RULES:
        if re.search(pattern, text, re.I):
            return SourceError(f"{_place(plan, database)}: {text}", hint=hint, code=code, permanent=permanent)
    hint = "Check host and port, listen_addresses of the server, and firewalls in between."
    if plan.tunnel is not None:
        hint = (
            f"Check host and port as seen from {plan.tunnel.host}, and that its authorized_keys allows port-forwarding."
        )
    return SourceError(f"{_place(plan, database)}: {text}", hint=hint, code=ErrorCode.CONNECTION_FAILED)


def session_failure(error: psycopg.Error, plan: PostgresPlan, database: str) -> SourceError:
    """A statement that failed, or a session that was lost."""
    text = _clean(str(error))
    state = error.sqlstate or ""
    rule = next((_DUMP_RULES[index] for prefix, index in _STATES if state.startswith(prefix)), None)
    if rule is None and not state and isinstance(error, psycopg.OperationalError):
        rule = _DUMP_RULES[4]
    if rule is None:
        rule = next((one for one in _DUMP_RULES if re.search(one[0], text, re.I)), None)
    _, code, hint, permanent = rule or ("", ErrorCode.DUMP_FAILED, "", False)
    if code is ErrorCode.PERMISSION_DENIED and "row-level security" in text:
        hint = _RLS_HINT
    return SourceError(f"{_place(plan, database)}: {text}", hint=hint, code=code, permanent=permanent)


def dump_failure(failed: ProcessFailed, database: str) -> SourceError:
    """A pg_dump that did not end well: by its last words, its signal or its silence."""
    subject = f"Dumping database {database[:63]!r} failed"
    if failed.ending in (Ending.STALLED, Ending.TIMEOUT):
        return SourceError(
            f"{subject}: {failed.message}", hint="See what blocks it in pg_stat_activity.", code=failed.code
        )
    if failed.ending is Ending.NOT_STARTED:
        return SourceError(f"{subject}: {failed.message}", code=ErrorCode.CLIENT_MISSING, permanent=True)
    if failed.ending is Ending.SIGNAL:
        hint = "Something on this machine ended it; the kernel does when memory runs out."
        return SourceError(f"{subject}: {failed.message}", hint=hint, code=ErrorCode.DUMP_FAILED)
    for pattern, code, hint, permanent in _DUMP_RULES:
        if re.search(pattern, failed.stderr_tail, re.I):
            return SourceError(f"{subject}: {_cause(failed, pattern)}", hint=hint, code=code, permanent=permanent)
    return SourceError(f"{subject}: {failed.message} {_clean(failed.stderr_tail)}", code=ErrorCode.DUMP_FAILED)


def restore_failure(failed: ProcessFailed, database: str) -> SourceError:
    """A psql or pg_restore that did not end well: the first error that the server gave tells why."""
    subject = f"Loading the dump into {database[:63]!r} failed"
    if failed.ending is Ending.NOT_STARTED:
        return SourceError(f"{subject}: {failed.message}", code=ErrorCode.CLIENT_MISSING, permanent=True)
    if failed.ending is Ending.SIGNAL:
        hint = "Something on this machine ended it; the kernel does when memory runs out."
        return SourceError(f"{subject}: {failed.message}", hint=hint, code=ErrorCode.RESTORE_FAILED, permanent=True)
    lines = failed.stderr_tail.splitlines()
    errors = [line for line in lines if re.search(r"\b(ERROR|FATAL|PANIC):|\berror:", line)]
    said = strip_controls(" ".join(errors[:2]) or " ".join(lines[-2:]) or failed.message, _SHOWN)
    for pattern, code, hint, permanent in _RESTORE_RULES:
        if re.search(pattern, failed.stderr_tail, re.I):
            return SourceError(f"{subject}: {said}", hint=hint, code=code, permanent=permanent)
    hint = "Nothing half-made is left at the target. Verify the archive, or try another server version."
    return SourceError(f"{subject}: {said}", hint=hint, code=ErrorCode.RESTORE_FAILED, permanent=True)


def _cause(failed: ProcessFailed, pattern: str) -> str:
    lines = [line for line in failed.stderr_tail.splitlines() if re.search(pattern, line, re.I)]
    return strip_controls(lines[-1] if lines else failed.message, _SHOWN)


def _clean(text: str) -> str:
    """The last lines, where the cause stands, in one."""
    return " ".join(tail_lines(strip_controls(text), 3, _SHOWN).split())


def _place(plan: PostgresPlan, database: str) -> str:
    return f"PostgreSQL at {plan.host}:{plan.port}, database {database[:63]!r}"
