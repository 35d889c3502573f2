"""Reaching a PostgreSQL server: every setting given by us, none by the worker's environment or home directory."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import pq

from webapp.core.errors import SourceError
from webapp.core.plans import PostgresPlan
from webapp.core.status import ErrorCode
from webapp.engine.pgerrors import connect_failure, session_failure
from webapp.engine.process import clean_environment
from webapp.engine.report import Reporter
from webapp.engine.secret_files import secret_file
from webapp.engine.ssh import tunnel

Connection = psycopg.Connection[tuple[Any, ...]]

CONNECT_SECONDS = 15
_NOTHING = "/nonexistent/holdfast"
_HOST = re.compile(r"(/[^,\x00-\x1f]{0,100})|([A-Za-z0-9_:][A-Za-z0-9._:%-]{0,252})")
_SSLMODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SYSTEM_CA_FILES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
# Options without a built-in default for which an empty value does not mean «not given».
_NEUTRAL = {
    "require_auth": "none,password,md5,scram-sha-256,gss,sspi",
    "sslcertmode": "allow",
    "min_protocol_version": "3.0",
    "max_protocol_version": "3.0",
}
# The variables of libpq that no connection option overrules; they have no business in a worker at all.
_NOT_OVERRULED = ("PGSERVICE", "PGDATESTYLE", "PGTZ", "PGGEQO")
# A dump may leave a session idle for hours; none of these limits of a role or database may end it.
_NO_LIMITS = (
    "statement_timeout",
    "idle_in_transaction_session_timeout",
    "transaction_timeout",
    "idle_session_timeout",
)


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach one server, for psycopg and for client programs. Made by ``open_access``, usable inside it."""

    plan: PostgresPlan
    passfile: str
    ca_file: str
    tunnel_port: int | None

    @property
    def place(self) -> str:
        """For messages: host and port as the operator wrote them."""
        return f"{self.plan.host}:{self.plan.port}"

    def environment(self, database: str) -> dict[str, str]:
        """All that pg_dump needs to know, in variables only: a name can then be neither option nor connection string."""
        require_usable_name(database)
        plan = self.plan
        env = {
            "PGHOST": plan.host,
            "PGPORT": str(self.tunnel_port or plan.port),
            "PGUSER": plan.user,
            "PGDATABASE": database,
            "PGSSLMODE": plan.sslmode,
            "PGPASSFILE": self.passfile,
            "PGSERVICEFILE": "/dev/null",
            "PGSYSCONFDIR": _NOTHING,
            "PGOPTIONS": "",
            "PGSSLROOTCERT": self.ca_file,
            "PGSSLCERT": f"{_NOTHING}.crt",
            "PGSSLKEY": f"{_NOTHING}.key",
            "PGSSLCRL": f"{_NOTHING}.crl",
            "PGGSSENCMODE": "disable",
            "PGCONNECT_TIMEOUT": str(CONNECT_SECONDS),
            "PGAPPNAME": "holdfast",
        }
        if self.tunnel_port is not None:
            env["PGHOSTADDR"] = "127.0.0.1"
        return clean_environment(env)

    def connect(self, database: str) -> Connection:
        """A session in autocommit mode, without time limits of its own. Raises SourceError."""
        require_usable_name(database)
        try:
            connection = psycopg.connect(**self._parameters(database), autocommit=True, prepare_threshold=None)
        except psycopg.Error as error:
            raise connect_failure(error, self.plan, database) from None
        try:
            connection.execute("SET search_path = pg_catalog")
            connection.execute("SET row_security = off")
            connection.execute("SELECT set_config('lock_timeout', %s, false)", [f"{self.plan.lock_wait_seconds}s"])
            connection.execute(
                "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = ANY(%s)", [list(_NO_LIMITS)]
            )
        except psycopg.Error as error:
            connection.close()
            raise session_failure(error, self.plan, database) from None
        return connection

    def _parameters(self, database: str) -> dict[str, Any]:
        plan = self.plan
        given: dict[str, Any] = {
            "host": plan.host,
            "hostaddr": "127.0.0.1" if self.tunnel_port else "",
            "port": self.tunnel_port or plan.port,
            "user": plan.user,
            "password": plan.password.reveal(),
            "dbname": database,
            "sslmode": plan.sslmode,
            "sslrootcert": self.ca_file,
            "sslcert": f"{_NOTHING}.crt",
            "sslkey": f"{_NOTHING}.key",
            "sslcrl": f"{_NOTHING}.crl",
            "gssencmode": "disable",
            "passfile": "/dev/null",
            "options": "",
            "application_name": "holdfast",
            "client_encoding": "UTF8",
            "connect_timeout": CONNECT_SECONDS,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 6,
            "tcp_user_timeout": 120_000,
        }
        return {**_defaults_of_poisoned_options(given), **given}


@contextmanager
def open_access(plan: PostgresPlan, reporter: Reporter) -> Iterator[Access]:
    """Prepare what reaching the server needs (tunnel, password file, certificates); all of it is gone afterwards."""
    require_usable(plan)
    for variable in _NOT_OVERRULED:
        os.environ.pop(variable, None)
    with ExitStack() as stack:
        port = None
        if plan.tunnel is not None:
            port = stack.enter_context(tunnel(plan.tunnel, plan.host, plan.port, reporter=reporter))
        yield Access(
            plan,
            passfile=stack.enter_context(secret_file(_passfile_line(plan.password.reveal()))),
            ca_file=_ca_file(plan, stack),
            tunnel_port=port,
        )


@contextmanager
def session(access: Access, database: str, reporter: Reporter) -> Iterator[Connection]:
    """A session that is closed on the way out and cut when the task must end; its errors become SourceError."""
    reporter.check()
    connection = access.connect(database)
    try:
        with reporter.on_stop(lambda: cut(connection)):
            yield connection
    except psycopg.Error as error:
        reporter.check()  # An error because we were stopped is a stop.
        raise session_failure(error, access.plan, database) from error
    finally:
        connection.close()


def cut(connection: Connection) -> None:
    """End a session from another thread: cancel what it runs, then close its socket under it."""
    with contextlib.suppress(psycopg.Error, OSError):
        connection.cancel_safe(timeout=3)
    with contextlib.suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as shared:
        shared.shutdown(socket.SHUT_RDWR)


def require_usable(plan: PostgresPlan) -> None:
    """Raises SourceError (permanent) for a host or TLS mode that libpq would read as something else."""
    if not _HOST.fullmatch(plan.host):
        raise _unusable("host name", plan.host)
    if plan.sslmode not in _SSLMODES:
        raise _unusable("TLS mode", plan.sslmode)
    if "\0" in plan.user or not plan.user:
        raise _unusable("user name", plan.user)
    if re.search(r"[\x00\n\r]", plan.password.reveal()):
        raise SourceError(
            "The password holds a line break, which PostgreSQL's programs cannot read.",
            code=ErrorCode.INVALID_CONFIGURATION,
            permanent=True,
        )


def require_usable_name(database: str) -> None:
    """Raises SourceError (permanent) for what cannot be a database's name."""
    if not database or "\0" in database:
        raise _unusable("database name", database)


def _unusable(what: str, value: str) -> SourceError:
    return SourceError(
        f"{value[:80]!r} is not a usable {what}.",
        hint=f"Correct the {what} in the instance.",
        code=ErrorCode.INVALID_CONFIGURATION,
        permanent=True,
    )


def _passfile_line(password: str) -> str:
    """One line for every host, database and user: https://www.postgresql.org/docs/current/libpq-pgpass.html."""
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    return f"*:*:*:*:{escaped}\n"


def _ca_file(plan: PostgresPlan, stack: ExitStack) -> str:
    """The authorities to trust: the plan's own, or the system's where the mode asks for a check.

    In mode ``require`` libpq starts to check as soon as a file is there, so then we name none.
    """
    if plan.ssl_root_cert_pem:
        return stack.enter_context(secret_file(plan.ssl_root_cert_pem))
    if not plan.sslmode.startswith("verify"):
        return f"{_NOTHING}.pem"
    named = ssl.get_default_verify_paths().cafile
    return next((path for path in (named, *_SYSTEM_CA_FILES) if path and os.path.exists(path)), f"{_NOTHING}.pem")


def _defaults_of_poisoned_options(given: dict[str, Any]) -> dict[str, str]:
    """Settings that undo what PG* variables of this process would tell libpq beyond what we give."""
    undone: dict[str, str] = {}
    for option in pq.Conninfo.get_defaults():
        keyword = option.keyword.decode()
        if option.envvar is None or option.envvar.decode() not in os.environ or keyword in given:
            continue
        undone[keyword] = option.compiled.decode() if option.compiled else _NEUTRAL.get(keyword, "")
    return undone
