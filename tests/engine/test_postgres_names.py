"""Names and surroundings that want to be something else: an option, a connection string, another server, a path."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from tests.support.odoo_database import OdooDatabase
from tests.support.postgres import SUPERUSER, PostgresServer
from tests.support.postgres_backups import back_up
from webapp.core.errors import SourceError
from webapp.core.plans import Secret
from webapp.core.status import ArchiveFormat, Content, ErrorCode
from webapp.engine.pgtools import PgTools
from webapp.engine.sources.postgres import PostgresSource


class Listener:
    """Where an attacker waits: counts who connects, and pretends to be nobody."""

    def __init__(self) -> None:
        self.connections = 0
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen()
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            connection.close()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


# "{port}" becomes the attacker's port.
HOSTILE = [
    "host=127.0.0.1 port={port}",
    "hostaddr=127.0.0.1 port={port}",
    "dbname=postgres host=127.0.0.1 port={port}",
    "postgresql://127.0.0.1:{port}/postgres",
    "postgres://evil@127.0.0.1:{port}/x",
    "postgresql:///x?host=127.0.0.1&port={port}",
    "port={port}",
    "a=b",
    "=",
    "-f/tmp/holdfast-canary",
    "--file=/tmp/holdfast-canary",
    "--host=127.0.0.1",
    "-h127.0.0.1",
    "-",
    "--",
    "a b",
    " leading and trailing ",
    "quote'quote",
    'double"quote',
    "back\\slash",
    "semi;colon",
    "$(touch /tmp/holdfast-canary)",
    "`touch /tmp/holdfast-canary`",
    "new\nline",
    "tab\tand\rreturn",
    "%s %(x)s {{}}",
    "../../etc/passwd",
    "..",
    "slash/slash",
    "ünïcödé 東京 🙂",
    "\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe",
    "x" * 63,
    "*",
    "service=evil",
    "\x1b[31mred",
    "</script><b>",
]


@pytest.mark.parametrize("pattern", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_database_name_is_backed_up_and_nobody_else_is_called(
    postgres_server: PostgresServer, second_server: PostgresServer, listener: Listener, scratch: Path, pattern: str
) -> None:
    name = pattern.replace("{port}", str(listener.port))
    postgres_server.drop_database(name)
    postgres_server.create_database(name)
    try:
        marker = f"canary {HOSTILE.index(pattern)}"
        with postgres_server.connect(name) as connection:
            connection.execute("CREATE TABLE marker (x text)")
            connection.execute("INSERT INTO marker VALUES (%s)", (marker,))
            connection.execute(sql.SQL("CREATE TABLE {} (x int)").format(sql.Identifier(name)))
        plan = postgres_server.plan(is_odoo=False)

        assert name in PostgresSource(plan).list_databases()
        backup = back_up(plan, name, scratch / "a.zip")
        if set(pattern) & {"=", "-"}:
            back_up(plan, name, scratch / "a.dump", content=Content.DATABASE, format=ArchiveFormat.CUSTOM)

        backup.load(second_server, "restored_name", scratch)
        assert second_server.rows("SELECT x FROM marker", "restored_name") == [(marker,)]
        assert backup.facts.table_rows == {"public.marker": 1, f"public.{name}": 0}
        assert json.loads(backup.read("manifest.json"))["db_name"] == name
        assert listener.connections == 0
        assert not Path("/tmp/holdfast-canary").exists()
    finally:
        second_server.drop_database("restored_name")
        postgres_server.drop_database(name)


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_what_cannot_be_a_name_is_refused(postgres_server: PostgresServer, tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match="not a usable database name") as caught:
        back_up(postgres_server.plan(is_odoo=False), name, tmp_path / "a.zip")

    assert caught.value.code is ErrorCode.INVALID_CONFIGURATION


@pytest.mark.parametrize("user", ["-U x", "a=b host=127.0.0.1", "us er'\\", 'dou"ble', "postgresql://x"])
def test_a_hostile_role_name_is_a_role_name(postgres_server: PostgresServer, tmp_path: Path, user: str) -> None:
    postgres_server.drop_database("of_role")
    postgres_server.create_database("of_role")
    role = sql.Identifier(user)
    password = "p:a\\s's =\"w "
    with postgres_server.connect() as connection:
        connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(role))
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(password)))

    backup = back_up(
        postgres_server.plan(is_odoo=False, user=user, password=Secret(password)), "of_role", tmp_path / "a.zip"
    )

    assert backup.names()[0] == "dump.sql"


def test_the_environment_and_home_of_the_worker_are_ignored(
    postgres_server: PostgresServer,
    prod: OdooDatabase,
    listener: Listener,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = tmp_path / "home"
    (home / ".postgresql").mkdir(parents=True)
    (home / ".postgresql" / "root.crt").write_text("poison")
    (home / ".postgresql" / "postgresql.crt").write_text("poison")
    (home / ".psqlrc").write_text("\\! touch /tmp/holdfast-canary\n")
    passfile = home / ".pgpass"
    passfile.write_text("*:*:*:*:poison\n")
    passfile.chmod(0o600)
    service = home / ".pg_service.conf"
    service.write_text(f"[evil]\nhost=127.0.0.1\nport={listener.port}\nuser=evil\n")
    poison = {
        "HOME": str(home),
        "PGHOST": "127.0.0.1",
        "PGHOSTADDR": "127.0.0.1",
        "PGPORT": str(listener.port),
        "PGUSER": "evil",
        "PGDATABASE": f"host=127.0.0.1 port={listener.port}",
        "PGPASSWORD": "poison",
        "PGPASSFILE": str(passfile),
        "PGSERVICE": "evil",
        "PGSERVICEFILE": str(service),
        "PGSYSCONFDIR": str(home),
        "PGOPTIONS": "-c search_path=evil -c statement_timeout=1",
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": "/nonexistent",
        "PGCLIENTENCODING": "LATIN1",
        "PGAPPNAME": "evil",
        "PGTZ": "Pacific/Apia",
        "PGDATESTYLE": "nonsense",
        "PGGEQO": "nonsense",
        "PGTARGETSESSIONATTRS": "read-only",
        "PGREQUIREAUTH": "none",
        "PGCHANNELBINDING": "require",
        "PGGSSENCMODE": "require",
        "PGLOADBALANCEHOSTS": "random",
        "PGSSLCERTMODE": "require",
        "PGMINPROTOCOLVERSION": "3.2",
        "PGMAXPROTOCOLVERSION": "3.2",
        "PGSSLMINPROTOCOLVERSION": "TLSv1.3",
        "PGSSLMAXPROTOCOLVERSION": "TLSv1",
        "PGREQUIREPEER": "evil",
        "PGSSLCRLDIR": "/nonexistent",
        "PGSSLNEGOTIATION": "direct",
    }
    for key, value in poison.items():
        monkeypatch.setenv(key, value)

    names = PostgresSource(postgres_server.plan()).list_databases()
    backup = back_up(postgres_server.plan(prod.filestore.parent), "prod", tmp_path / "a.zip")

    assert "prod" in names
    assert backup.files() == set(prod.names)
    assert "ünï" in backup.read("dump.sql").decode()
    assert listener.connections == 0
    assert not Path("/tmp/holdfast-canary").exists()


def test_no_secret_is_on_a_command_line_or_in_an_environment(
    postgres_server: PostgresServer, prod: OdooDatabase, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    tools_directory = tmp_path / "tools"
    tools_directory.mkdir()
    program = tools_directory / "pg_dump"
    program.write_text(
        f"#!/bin/sh\n{{ tr '\\0' '\\n' < /proc/$$/cmdline; env; stat -Lc %a \"$PGPASSFILE\"; }} > {seen}\n"
        f'exec {postgres_server.binaries}/pg_dump "$@"\n'
    )
    program.chmod(0o755)
    tools = [PgTools(str(tools_directory), postgres_server.major, "15.0")]

    back_up(postgres_server.plan(prod.filestore.parent), "prod", tmp_path / "a.zip", tools=tools)

    text = seen.read_text()
    password = postgres_server.plan().password.reveal()
    assert password not in text
    assert "600" in text.splitlines()
    assert f"PGUSER={SUPERUSER}" in text
    assert password not in json.dumps(dict(os.environ))
