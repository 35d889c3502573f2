"""Test connection for PostgreSQL: each check by itself, with what to do about it; nothing is ever changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.odoo_database import OdooDatabase, build_odoo_database
from tests.support.postgres import PostgresServer
from tests.support.sshd import SshServer, make_key
from webapp.core.plans import FilestorePlan, PostgresPlan, Secret
from webapp.core.reports import Check, CheckState
from webapp.core.status import ErrorCode, FilestoreKind
from webapp.engine.pgtools import PgTools
from webapp.engine.report import SilentReporter
from webapp.engine.sources.postgres import PostgresSource
from webapp.engine.ssh import generate_key

PASSED, FAILED = CheckState.PASSED, CheckState.FAILED
WARNING, SKIPPED = CheckState.WARNING, CheckState.SKIPPED


def probe(plan: PostgresPlan, database: str | None = "prod", tools: Any = None) -> dict[str, Check]:
    checks = PostgresSource(plan, tools=tools).probe(database, SilentReporter())
    assert all(check.detail for check in checks)
    assert all(check.hint for check in checks if check.state in (FAILED, WARNING)), checks
    return {check.key: check for check in checks}


@pytest.fixture
def weak(postgres_server: PostgresServer) -> PostgresPlan:
    """A role that may log in and no more."""
    postgres_server.execute("DROP ROLE IF EXISTS weakling; CREATE ROLE weakling LOGIN PASSWORD 'x'")
    return postgres_server.plan(user="weakling", password=Secret("x"))


def test_all_is_well(postgres_server: PostgresServer, prod: OdooDatabase) -> None:
    before = postgres_server.counts("prod")

    checks = probe(postgres_server.plan(prod.filestore.parent))

    assert {key for key, check in checks.items() if check.state is not PASSED} == set()
    assert checks["postgresql_version"].value.startswith(f"{postgres_server.major}.")
    assert checks["odoo_version"].value == "18.0"
    assert postgres_server.counts("prod") == before
    assert postgres_server.sessions() == []


def test_all_is_well_over_ssh(postgres_server: PostgresServer, prod: OdooDatabase, ssh_server: SshServer) -> None:
    filestore = FilestorePlan(FilestoreKind.SSH, str(prod.filestore.parent), ssh_server.plan())

    checks = probe(postgres_server.plan(filestore, tunnel=ssh_server.plan()))

    assert {key for key, check in checks.items() if check.state is not PASSED} == {"dns", "tcp"}


def test_another_host_key_fails_first_and_nothing_more_is_asked(
    postgres_server: PostgresServer, prod: OdooDatabase, ssh_server: SshServer, tmp_path: Path
) -> None:
    _, other = make_key(tmp_path / "other")

    checks = probe(postgres_server.plan(tunnel=ssh_server.plan(host_key=other)))

    assert checks["ssh"].code is ErrorCode.HOST_KEY_MISMATCH
    assert {check.state for key, check in checks.items() if key != "ssh"} == {SKIPPED}


@pytest.mark.parametrize(
    ("changes", "key", "code"),
    [
        ({"host": "no-such-host.invalid"}, "dns", ErrorCode.DNS_FAILED),
        ({"port": 1}, "tcp", ErrorCode.CONNECTION_FAILED),
        ({"password": Secret("wrong")}, "login", ErrorCode.AUTH_FAILED),
        ({"sslmode": "require"}, "login", ErrorCode.TLS_FAILED),
        ({"host": "a,b"}, "dns", ErrorCode.INVALID_CONFIGURATION),
    ],
)
def test_the_first_failure_names_itself(
    postgres_server: PostgresServer, changes: dict[str, Any], key: str, code: ErrorCode
) -> None:
    checks = probe(postgres_server.plan(**changes))

    assert [name for name, check in checks.items() if check.state is FAILED] == [key]
    assert checks[key].code is code
    assert checks["readable"].state is SKIPPED


def test_a_database_that_is_not_there(postgres_server: PostgresServer) -> None:
    assert probe(postgres_server.plan(), "no_such")["login"].code is ErrorCode.DATABASE_NOT_FOUND


def test_without_a_database_only_the_server_is_asked(postgres_server: PostgresServer) -> None:
    checks = probe(postgres_server.plan(), None)

    assert checks["pg_dump"].state is PASSED
    assert "readable" not in checks


def test_tables_that_may_not_be_read_are_named(
    postgres_server: PostgresServer, prod: OdooDatabase, weak: PostgresPlan
) -> None:
    checks = probe(weak)

    assert checks["readable"].code is ErrorCode.PERMISSION_DENIED
    assert "and" in checks["readable"].detail
    assert "pg_read_all_data" in checks["readable"].hint


def test_row_security_is_found(postgres_server: PostgresServer, weak: PostgresPlan) -> None:
    postgres_server.drop_database("secured")
    postgres_server.create_database("secured")
    postgres_server.execute(
        "CREATE TABLE t (x int); GRANT SELECT ON t TO weakling; ALTER TABLE t ENABLE ROW LEVEL SECURITY", "secured"
    )

    checks = probe(weak, "secured")

    assert checks["row_security"].state is FAILED
    assert "public.t" in checks["row_security"].detail
    assert checks["readable"].state is PASSED
    assert checks["odoo_version"].state is FAILED
    postgres_server.drop_database("secured")


def test_a_role_that_may_only_read_is_told_what_the_guard_needs(
    postgres_server: PostgresServer, prod: OdooDatabase
) -> None:
    postgres_server.execute(
        "DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN PASSWORD 'x' IN ROLE pg_read_all_data"
    )

    checks = probe(postgres_server.plan(prod.filestore.parent, user="reader", password=Secret("x")))

    assert checks["vacuum"].state is WARNING
    assert "GRANT INSERT" in checks["vacuum"].hint
    assert checks["readable"].state is PASSED


def test_a_blocking_lock_is_a_warning(postgres_server: PostgresServer, prod: OdooDatabase) -> None:
    with postgres_server.connect("prod") as holder:
        holder.execute("BEGIN")
        holder.execute("LOCK res_partner IN ACCESS EXCLUSIVE MODE")

        checks = probe(postgres_server.plan(prod.filestore.parent))
        holder.execute("ROLLBACK")

    assert checks["locks"].state is WARNING
    assert "res_partner" in checks["locks"].detail


def test_old_client_tools_fail_before_any_night(postgres_server: PostgresServer, prod: OdooDatabase) -> None:
    checks = probe(postgres_server.plan(), tools=[PgTools("/nonexistent", 14, "14.1")])

    assert checks["pg_dump"].code is ErrorCode.CLIENT_TOO_OLD


def test_a_filestore_that_is_not_there_or_another_ones(
    postgres_server: PostgresServer, prod: OdooDatabase, tmp_path: Path
) -> None:
    (tmp_path / "prod").mkdir()

    missing = probe(postgres_server.plan("/nonexistent/filestore"))
    wrong = probe(postgres_server.plan(tmp_path))

    assert missing["filestore"].code is ErrorCode.FILESTORE_UNREADABLE
    assert "does not hold" in wrong["filestore"].detail


def test_a_file_with_other_content_is_noticed(postgres_server: PostgresServer, tmp_path: Path) -> None:
    postgres_server.drop_database("altered")
    database = build_odoo_database(postgres_server, "altered", tmp_path, rows=20, files=2)
    for name in database.names:
        (database.filestore / name).write_bytes(b"x")

    assert probe(postgres_server.plan(tmp_path), "altered")["filestore"].state is FAILED
    postgres_server.drop_database("altered")


def test_a_tunnel_that_the_host_forbids_says_what_to_allow(
    postgres_server: PostgresServer, prod: OdooDatabase, ssh_server: SshServer
) -> None:
    private, public = generate_key()
    with open(ssh_server.directory / "authorized_keys", "a") as file:
        file.write(f"restrict {public}\n")

    checks = probe(postgres_server.plan(tunnel=ssh_server.plan(private_key=private)))

    assert checks["ssh"].state is PASSED
    assert checks["login"].state is FAILED
    assert "port-forwarding" in checks["login"].hint
