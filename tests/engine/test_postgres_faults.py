"""What can refuse or fail a dump of PostgreSQL, pg_dump included: never a success, always the right code."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.odoo_database import OdooDatabase
from tests.support.postgres import PostgresServer
from tests.support.postgres_backups import back_up
from tests.support.redis import wait_for
from tests.support.sshd import SshServer, make_key
from webapp.core.errors import SourceError
from webapp.core.plans import FilestorePlan, Secret
from webapp.core.status import ArchiveFormat, Content, ErrorCode, FilestoreKind
from webapp.engine.pgtools import PgTools, find_tools
from webapp.engine.sources.postgres import PostgresSource

KILLS = 60


def wrapper(directory: Path, server: PostgresServer, script: str) -> list[PgTools]:
    """Tools whose pg_dump is a script around the real one, "$real"."""
    directory.mkdir(exist_ok=True)
    program = directory / "pg_dump"
    program.write_text(f"#!/bin/sh\nreal={server.binaries}/pg_dump\n{script}\n")
    program.chmod(0o755)
    return [PgTools(str(directory), server.major, f"{server.major}.0")]


@pytest.fixture
def role(postgres_server: PostgresServer) -> Iterator[str]:
    """A role without rights of its own on ``limited``, a copy of an Odoo database."""
    postgres_server.drop_database("limited")
    postgres_server.execute("DROP ROLE IF EXISTS weak; CREATE ROLE weak LOGIN PASSWORD 'weak'")
    postgres_server.create_database("limited")
    postgres_server.execute(
        "CREATE TABLE open (x int); CREATE TABLE closed (x int); INSERT INTO closed VALUES (1);"
        "GRANT SELECT ON open TO weak",
        "limited",
    )
    yield "weak"
    postgres_server.drop_database("limited")
    postgres_server.execute("DROP ROLE weak")


def test_a_table_that_may_not_be_read_fails_the_backup(
    postgres_server: PostgresServer, role: str, tmp_path: Path
) -> None:
    plan = postgres_server.plan(user=role, password=Secret("weak"), is_odoo=False)

    with pytest.raises(SourceError, match="closed") as caught:
        back_up(plan, "limited", tmp_path / "a.zip")

    assert (caught.value.code, caught.value.permanent) == (ErrorCode.PERMISSION_DENIED, True)
    assert "pg_read_all_data" in caught.value.hint
    assert postgres_server.sessions() == []


@pytest.mark.parametrize("archive_format", [ArchiveFormat.ZIP, ArchiveFormat.CUSTOM])
def test_hidden_rows_fail_the_backup(
    postgres_server: PostgresServer, role: str, tmp_path: Path, archive_format: ArchiveFormat
) -> None:
    postgres_server.execute(
        "GRANT SELECT ON closed TO weak; ALTER TABLE closed ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY none ON closed USING (false)",
        "limited",
    )
    plan = postgres_server.plan(user=role, password=Secret("weak"), is_odoo=False)

    with pytest.raises(SourceError, match="row-level security") as caught:
        back_up(plan, "limited", tmp_path / "a", format=archive_format, content=Content.DATABASE)

    assert caught.value.code is ErrorCode.PERMISSION_DENIED
    assert "BYPASSRLS" in caught.value.hint


def test_a_lock_is_waited_for_and_no_longer(
    postgres_server: PostgresServer, prod: OdooDatabase, tmp_path: Path
) -> None:
    plan = postgres_server.plan(prod.filestore.parent, lock_wait_seconds=1)
    with postgres_server.connect("prod") as holder:
        holder.execute("BEGIN")
        holder.execute("LOCK res_partner IN ACCESS EXCLUSIVE MODE")

        with pytest.raises(SourceError) as caught:
            back_up(plan, "prod", tmp_path / "a.zip")
        holder.execute("ROLLBACK")

    assert caught.value.code is ErrorCode.LOCK_TIMEOUT
    assert not caught.value.permanent


def test_pg_dump_killed_at_any_moment_is_never_a_success(
    postgres_server: PostgresServer, prod: OdooDatabase, tmp_path: Path
) -> None:
    source = random.Random(11)
    signals = (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV)
    codes = set()
    for number in range(KILLS):
        # The dump of ``prod`` is 240 kB; the cut lies anywhere in it, and the whole end may even have been written.
        cut = source.randrange(0, 235_000)
        name = signals[number % len(signals)].name.removeprefix("SIG")
        script = f'"$real" "$@" | head -c {cut}; kill -{name} $$'
        tools = wrapper(tmp_path / "tools", postgres_server, script)

        with pytest.raises(SourceError) as caught:
            back_up(postgres_server.plan(prod.filestore.parent), "prod", tmp_path / "a.zip", tools=tools)
        codes.add(caught.value.code)

    assert codes == {ErrorCode.DUMP_FAILED}
    wait_for(lambda: postgres_server.sessions() == [], "all sessions are gone")


def test_pg_dump_killed_in_the_middle_of_its_work_is_never_a_success(
    postgres_server: PostgresServer, prod: OdooDatabase, tmp_path: Path
) -> None:
    codes: set[ErrorCode] = set()
    for pause in ("0", "0.01", "0.03", "0.06"):
        tools = wrapper(tmp_path / "tools", postgres_server, f'"$real" "$@" & p=$!; sleep {pause}; kill -9 $p; wait $p')
        try:
            backup = back_up(postgres_server.plan(prod.filestore.parent), "prod", tmp_path / "a.zip", tools=tools)
        except SourceError as error:
            codes.add(error.code)
        else:  # It was faster than the signal.
            assert (
                backup.read("dump.sql").rstrip().endswith(b"complete")
                or b"unrestrict" in backup.read("dump.sql")[-200:]
            )
    assert codes <= {ErrorCode.DUMP_FAILED, ErrorCode.CONNECTION_LOST}


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ('"$real" "$@"; exit 1', ErrorCode.DUMP_FAILED),
        ("exit 1", ErrorCode.DUMP_FAILED),
        ("echo 'pg_dump: error: aborting because of server version mismatch' >&2; exit 1", ErrorCode.CLIENT_TOO_OLD),
        ("echo 'server closed the connection unexpectedly' >&2; exit 1", ErrorCode.CONNECTION_LOST),
        ("printf '\\033[31m\\377\\376 broken \\007' >&2; exit 1", ErrorCode.DUMP_FAILED),
        ("head -c 3000000 /dev/zero | tr '\\0' x >&2; echo; exit 3", ErrorCode.DUMP_FAILED),
    ],
)
def test_pg_dumps_last_words_are_understood_and_kept_short(
    postgres_server: PostgresServer, prod: OdooDatabase, tmp_path: Path, script: str, code: ErrorCode
) -> None:
    tools = wrapper(tmp_path / "tools", postgres_server, script)

    with pytest.raises(SourceError) as caught:
        back_up(postgres_server.plan(prod.filestore.parent), "prod", tmp_path / "a.zip", tools=tools)

    assert caught.value.code is code
    assert len(caught.value.message) < 1000
    assert "\x1b" not in caught.value.message


def test_client_tools_that_are_too_old_are_said_so_before_anything_is_written(
    postgres_server: PostgresServer, prod: OdooDatabase, tmp_path: Path
) -> None:
    old = [PgTools("/nonexistent", 14, "14.9")]

    with pytest.raises(SourceError, match=r"pg_dump 14\.9 cannot read a \d+\.\d+ server") as caught:
        back_up(postgres_server.plan(prod.filestore.parent), "prod", tmp_path / "a.zip", tools=old)

    assert (caught.value.code, caught.value.permanent) == (ErrorCode.CLIENT_TOO_OLD, True)
    assert f"postgresql-client-{postgres_server.major}" in caught.value.hint
    assert (tmp_path / "a.zip").stat().st_size == 0


def test_a_wrong_host_key_or_key_fails_before_anything_is_written(
    postgres_server: PostgresServer, prod: OdooDatabase, ssh_server: SshServer, tmp_path: Path
) -> None:
    _, other = make_key(tmp_path / "other")
    stranger, _ = make_key(tmp_path / "stranger")
    cases = [
        (ssh_server.plan(host_key=other), ErrorCode.HOST_KEY_MISMATCH),
        (ssh_server.plan(private_key=Secret(stranger)), ErrorCode.SSH_FAILED),
    ]
    for ssh, code in cases:
        filestore = FilestorePlan(FilestoreKind.SSH, str(prod.filestore.parent), ssh)
        for plan in (postgres_server.plan(filestore), postgres_server.plan(prod.filestore, tunnel=ssh)):
            with pytest.raises(SourceError) as caught:
                back_up(plan, "prod", tmp_path / "a.zip")
            assert caught.value.code is code
            assert (tmp_path / "a.zip").stat().st_size == 0


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"password": Secret("wrong")}, ErrorCode.AUTH_FAILED),
        ({"user": "nobody_here"}, ErrorCode.AUTH_FAILED),
        ({"port": 1}, ErrorCode.CONNECTION_FAILED),
        ({"host": "no-such-host.invalid"}, ErrorCode.DNS_FAILED),
        ({"sslmode": "require"}, ErrorCode.TLS_FAILED),
        ({"sslmode": "verify-full"}, ErrorCode.TLS_FAILED),
        ({"host": "127.0.0.1,evil.example"}, ErrorCode.INVALID_CONFIGURATION),
        ({"host": "127.0.0.1 port=1"}, ErrorCode.INVALID_CONFIGURATION),
        ({"host": ""}, ErrorCode.INVALID_CONFIGURATION),
        ({"sslmode": "none"}, ErrorCode.INVALID_CONFIGURATION),
        ({"password": Secret("a\nb")}, ErrorCode.INVALID_CONFIGURATION),
    ],
)
def test_a_server_that_cannot_be_reached_has_its_own_code(
    postgres_server: PostgresServer, changes: dict[str, object], code: ErrorCode
) -> None:
    plan = replace(postgres_server.plan(), **changes)  # type: ignore[arg-type]

    with pytest.raises(SourceError) as caught:
        PostgresSource(plan).list_databases()

    assert caught.value.code is code
    assert postgres_server.plan().password.reveal() not in caught.value.message


def test_tools_of_this_machine_fit_the_test_server(postgres_server: PostgresServer) -> None:
    assert postgres_server.major in {tools.major for tools in find_tools()}
