"""Restores to a new database and as a replacement: real servers, real archives."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.database_restores import (
    Journal,
    databases,
    files_below,
    hashes,
    new_plan,
    replace_plan,
    take_archive,
)
from tests.support.odoo_database import OdooDatabase, build_odoo_database
from tests.support.postgres import PostgresServer
from tests.support.restore_pieces import Shelved
from tests.support.rich_schema import build_rich_database, large_objects, schema_of
from webapp.core.errors import HoldfastError
from webapp.core.plans import Secret
from webapp.core.status import ArchiveFormat, Content, ErrorCode, RestoreOutcome
from webapp.engine.report import SilentReporter
from webapp.engine.restore.run import run


@pytest.fixture(scope="module")
def dump(postgres_server: PostgresServer, prod: OdooDatabase, tmp_path_factory: pytest.TempPathFactory) -> Shelved:
    """A custom-format dump of ``prod``."""
    return take_archive(
        postgres_server.plan(prod.filestore.parent),
        "prod",
        tmp_path_factory.mktemp("dump"),
        format=ArchiveFormat.CUSTOM,
        content=Content.DATABASE,
    )


def test_a_new_database_is_the_source_to_the_last_row_and_file(
    postgres_server: PostgresServer,
    second_server: PostgresServer,
    prod: OdooDatabase,
    prod_archive: Shelved,
    tmp_path: Path,
) -> None:
    plan = new_plan(prod_archive, second_server.plan(tmp_path / "filestore"), "prod_copy")
    journal = Journal()

    result = run(plan, journal, SilentReporter())

    assert result.outcome is RestoreOutcome.CREATED
    assert hashes(second_server, "prod_copy") == hashes(postgres_server, "prod")
    assert files_below(tmp_path / "filestore" / "prod_copy") == files_below(prod.filestore)
    assert journal.steps == ["create", "load", "files", "place"]
    assert databases(second_server) == {"prod_copy"}
    assert [path.name for path in (tmp_path / "filestore").iterdir()] == ["prod_copy"]
    (facts,) = second_server.rows(
        "SELECT datallowconn, datistemplate, datcollate FROM pg_database WHERE datname = 'prod_copy'"
    )
    assert facts == (True, False, "C")
    second_server.drop_database("prod_copy")


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_custom_dump_is_restored_by_parallel_jobs(
    postgres_server: PostgresServer, second_server: PostgresServer, prod: OdooDatabase, dump: Shelved, jobs: int
) -> None:
    result = run(new_plan(dump, second_server.plan(), "from_dump", jobs=jobs), Journal(), SilentReporter())

    assert result.outcome is RestoreOutcome.CREATED
    assert hashes(second_server, "from_dump") == hashes(postgres_server, "prod")
    second_server.drop_database("from_dump")


@pytest.mark.parametrize("way", ["zip", "parallel", "one transaction"])
def test_one_of_everything_survives(
    way: str, postgres_server: PostgresServer, second_server: PostgresServer, tmp_path: Path
) -> None:
    build_rich_database(postgres_server, "rich")
    archive_format = ArchiveFormat.ZIP if way == "zip" else ArchiveFormat.CUSTOM
    source = postgres_server.plan()
    archive = take_archive(source, "rich", tmp_path, format=archive_format, content=Content.DATABASE)
    if way == "one transaction":  # A grant to a role that is missing at the target keeps pg_restore from it.
        postgres_server.execute("CREATE ROLE only_here; GRANT SELECT ON parts TO only_here", "rich")
        archive = take_archive(source, "rich", tmp_path / "again", format=archive_format, content=Content.DATABASE)
        postgres_server.execute("REVOKE ALL ON parts FROM only_here; DROP ROLE only_here", "rich")

    run(new_plan(archive, second_server.plan(), "rich"), Journal(), SilentReporter())

    assert schema_of(second_server, "rich") == schema_of(postgres_server, "rich")
    assert hashes(second_server, "rich") == hashes(postgres_server, "rich")
    assert large_objects(second_server, "rich") == large_objects(postgres_server, "rich") != []
    postgres_server.drop_database("rich")
    second_server.drop_database("rich")


def test_a_replacement_keeps_the_old_database_and_its_files(
    second_server: PostgresServer,
    postgres_server: PostgresServer,
    prod: OdooDatabase,
    prod_archive: Shelved,
    tmp_path: Path,
) -> None:
    old = build_odoo_database(second_server, "live", tmp_path / "filestore", rows=20, files=5, seed=3)
    second_server.execute("ALTER DATABASE live SET work_mem = '7MB'; ALTER DATABASE live CONNECTION LIMIT 77")
    before, old_files = hashes(second_server, "live"), files_below(old.filestore)
    plan = replace_plan(prod_archive, second_server.plan(tmp_path / "filestore"), "live")

    with second_server.connect("live"):
        result = run(plan, Journal(), SilentReporter())

    assert result.outcome is RestoreOutcome.REPLACED
    assert result.kept_identity == plan.identity
    assert hashes(second_server, "live") == hashes(postgres_server, "prod")
    assert files_below(tmp_path / "filestore" / "live") == files_below(prod.filestore)
    assert result.kept_filestore == str(tmp_path / "filestore" / "live__before")
    assert files_below(Path(result.kept_filestore)) == old_files
    query = "SELECT datname, datallowconn, datconnlimit FROM pg_database WHERE datname ~ 'live' ORDER BY 1"
    assert second_server.rows(query) == [("live", True, 77), ("live__before", False, 77)]
    assert second_server.rows("SHOW work_mem", "live") == [("7MB",)]
    second_server.execute("ALTER DATABASE live__before ALLOW_CONNECTIONS true")
    assert hashes(second_server, "live__before") == before
    second_server.drop_database("live")
    second_server.drop_database("live__before")


def test_a_name_that_is_taken_is_refused_and_nothing_is_changed(
    second_server: PostgresServer, prod_archive: Shelved, tmp_path: Path
) -> None:
    second_server.create_database("taken")
    journal = Journal()

    with pytest.raises(HoldfastError) as caught:
        run(new_plan(prod_archive, second_server.plan(tmp_path), "taken"), journal, SilentReporter())

    assert caught.value.code is ErrorCode.TARGET_EXISTS
    assert journal.entries == []
    second_server.drop_database("taken")


def test_another_database_of_the_same_name_is_not_replaced(
    second_server: PostgresServer, prod_archive: Shelved, tmp_path: Path
) -> None:
    second_server.create_database("live2")
    plan = replace_plan(prod_archive, second_server.plan(tmp_path), "live2")
    second_server.drop_database("live2")
    second_server.create_database("live2")

    with pytest.raises(HoldfastError) as caught:
        run(plan, Journal(), SilentReporter())

    assert caught.value.code is ErrorCode.TARGET_CHANGED
    assert databases(second_server) == {"live2"}
    second_server.drop_database("live2")


@pytest.mark.parametrize("kind", ["prod_archive", "dump"])
def test_the_owner_asked_for_owns_everything(
    kind: str, request: pytest.FixtureRequest, second_server: PostgresServer, tmp_path: Path
) -> None:
    second_server.execute("DROP ROLE IF EXISTS odoo_owner; CREATE ROLE odoo_owner LOGIN")
    plan = new_plan(request.getfixturevalue(kind), second_server.plan(tmp_path), "owned", owner="odoo_owner")

    run(plan, Journal(), SilentReporter())

    query = (
        "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " UNION SELECT datdba::regrole::text FROM pg_database WHERE datname = 'owned'"
    )
    assert second_server.rows(query, "owned") == [("odoo_owner",)]
    second_server.drop_database("owned")


def test_a_plain_role_that_may_create_databases_is_enough(
    second_server: PostgresServer, prod_archive: Shelved, tmp_path: Path
) -> None:
    second_server.execute("CREATE ROLE plain LOGIN CREATEDB PASSWORD 'plain'")
    server = second_server.plan(tmp_path, user="plain", password=Secret("plain"))
    run(new_plan(prod_archive, server, "mine"), Journal(), SilentReporter())
    second_server.execute("INSERT INTO res_partner (name) VALUES ('new')", "mine")
    second_server.execute(
        "ALTER DATABASE mine SET log_statement = 'all'; ALTER DATABASE mine SET search_path = public, x"
    )

    result = run(replace_plan(prod_archive, server, "mine"), Journal(), SilentReporter())

    assert result.outcome is RestoreOutcome.REPLACED
    assert second_server.rows("SELECT count(*) FROM res_partner WHERE name = 'new'", "mine") == [(0,)]
    assert second_server.rows("SHOW search_path", "mine") == [("public, x",)]
    second_server.drop_database("mine")
    second_server.drop_database("mine__before")
