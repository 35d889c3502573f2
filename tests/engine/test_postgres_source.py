"""A backup of a PostgreSQL server: its dump whole, counted, and loadable as strictly as psql can."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.odoo_database import OdooDatabase, build_odoo_database
from tests.support.postgres import PostgresServer, running_server, server_directories
from tests.support.postgres_backups import back_up
from webapp.core.errors import SourceError
from webapp.core.status import ArchiveFormat, Content, ErrorCode
from webapp.engine.pgdump import without_newer_settings
from webapp.engine.pgtools import find_tools
from webapp.engine.sources.postgres import PostgresSource


def test_the_zip_is_whole_and_loads_into_a_second_server(
    postgres_server: PostgresServer, second_server: PostgresServer, prod: OdooDatabase, scratch: Path
) -> None:
    backup = back_up(postgres_server.plan(prod.filestore.parent), "prod", scratch / "a.zip")

    assert backup.names()[:2] == ["dump.sql", "manifest.json"]
    assert backup.files() == set(prod.names)
    backup.load(second_server, "restored", scratch)
    restored = second_server.counts("restored")
    second_server.drop_database("restored")
    assert backup.facts.table_rows == restored == postgres_server.counts("prod")
    assert backup.facts.attachment_count == len(prod.names)
    assert backup.facts.missing_attachment_count == 0
    assert backup.reporter.warnings == []
    assert backup.reporter.steps == ["connect", "dump", "filestore"]


def test_the_manifest_is_odoos(postgres_server: PostgresServer, prod: OdooDatabase, tmp_path: Path) -> None:
    backup = back_up(postgres_server.plan(prod.filestore.parent), "prod", tmp_path / "a.zip")

    manifest = json.loads(backup.read("manifest.json"))
    assert manifest.pop("modules") == dict.fromkeys(
        ("account", "base", "contacts", "mail", "sale", "stock", "web"), "18.0.1.3"
    )
    assert manifest == {
        "odoo_dump": "1",
        "db_name": "prod",
        "version": "18.0",
        "version_info": [18, 0, 0, "final", 0, ""],
        "major_version": "18.0",
        "pg_version": f"{postgres_server.major}.0",
    }
    assert backup.facts.versions["odoo"] == "18.0"


def test_a_database_that_is_not_odoos_says_so(
    postgres_server: PostgresServer, second_server: PostgresServer, scratch: Path
) -> None:
    postgres_server.drop_database("plain")
    postgres_server.create_database("plain")
    postgres_server.execute("CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 500)", "plain")
    plan = postgres_server.plan(is_odoo=False)

    backup = back_up(plan, "plain", scratch / "a.zip")

    assert "odoo_dump" not in json.loads(backup.read("manifest.json"))
    assert backup.facts.table_rows == {"public.t": 500}
    assert backup.facts.attachment_count is None
    backup.load(second_server, "restored_plain", scratch)
    second_server.drop_database("restored_plain")


def test_the_custom_format_restores(
    postgres_server: PostgresServer, second_server: PostgresServer, prod: OdooDatabase, scratch: Path
) -> None:
    backup = back_up(
        postgres_server.plan(), "prod", scratch / "a.dump", content=Content.DATABASE, format=ArchiveFormat.CUSTOM
    )

    second_server.create_database("from_custom")
    argv: list[str | Path] = [
        second_server.binaries / "pg_restore",
        "--exit-on-error",
        "--no-owner",
        "-d",
        "from_custom",
        backup.path,
    ]
    done = subprocess.run(
        argv, env=second_server.environment("from_custom"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert second_server.counts("from_custom") == backup.facts.table_rows
    second_server.drop_database("from_custom")


def test_database_only_needs_no_filestore(postgres_server: PostgresServer, prod: OdooDatabase, tmp_path: Path) -> None:
    backup = back_up(postgres_server.plan(), "prod", tmp_path / "a.zip", content=Content.DATABASE)

    assert backup.names() == ["dump.sql", "manifest.json"]
    assert backup.facts.attachment_count == len(prod.names)


def test_the_custom_format_with_a_filestore_is_refused(
    postgres_server: PostgresServer, prod: OdooDatabase, tmp_path: Path
) -> None:
    with pytest.raises(SourceError) as caught:
        back_up(postgres_server.plan(), "prod", tmp_path / "a.dump", format=ArchiveFormat.CUSTOM)

    assert caught.value.code is ErrorCode.INVALID_CONFIGURATION


def test_rows_are_counted_as_pg_dump_writes_them(
    postgres_server: PostgresServer, second_server: PostgresServer, scratch: Path
) -> None:
    postgres_server.drop_database("shapes")
    postgres_server.create_database("shapes")
    postgres_server.execute(
        """
        CREATE SCHEMA "Odd.Schema"; CREATE TABLE "Odd.Schema"."a""b" (x int);
        INSERT INTO "Odd.Schema"."a""b" SELECT generate_series(1, 7);
        CREATE TABLE parent (x int); CREATE TABLE child () INHERITS (parent);
        INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (3);
        CREATE UNLOGGED TABLE unlogged (x int); INSERT INTO unlogged VALUES (1);
        CREATE TABLE parts (x int) PARTITION BY LIST (x);
        CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1); INSERT INTO parts VALUES (1), (1);
        CREATE TABLE generated (x int, y int GENERATED ALWAYS AS (x * 2) STORED); INSERT INTO generated VALUES (1);
        CREATE VIEW v AS SELECT * FROM parent; CREATE MATERIALIZED VIEW m AS SELECT * FROM parent;
        """,
        "shapes",
    )

    backup = back_up(postgres_server.plan(is_odoo=False), "shapes", scratch / "a.zip")

    assert backup.facts.table_rows == {
        'Odd.Schema.a"b': 7,
        "public.child": 1,
        "public.generated": 1,
        "public.parent": 2,
        "public.parts_1": 2,
        "public.unlogged": 1,
    }
    backup.load(second_server, "shapes", scratch)
    assert second_server.counts("shapes") == backup.facts.table_rows
    second_server.drop_database("shapes")


def test_an_encoding_that_is_not_unicode_is_kept_byte_by_byte(
    postgres_server: PostgresServer, second_server: PostgresServer, scratch: Path
) -> None:
    postgres_server.drop_database("ascii")
    statement = "CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
    postgres_server.execute(statement)
    postgres_server.execute("CREATE TABLE t (x text); INSERT INTO t VALUES (E'caf\\351'), (E'\\377\\376')", "ascii")

    backup = back_up(postgres_server.plan(is_odoo=False), "ascii", scratch / "a.zip")

    assert b"caf\xe9\n\xff\xfe\n" in backup.read("dump.sql")
    assert backup.facts.table_rows == {"public.t": 2}


def test_a_newer_pg_dump_gives_what_the_older_server_loads(
    postgres_server: PostgresServer, second_server: PostgresServer, prod: OdooDatabase, scratch: Path
) -> None:
    newer = [tools for tools in find_tools() if tools.major >= 17 > postgres_server.major]
    if not newer:
        pytest.skip("needs a server older than 17 and newer client tools")

    backup = back_up(postgres_server.plan(prod.filestore.parent), "prod", scratch / "a.zip", tools=newer)

    assert b"transaction_timeout" not in backup.read("dump.sql")[:4096]
    assert backup.facts.versions["pg_dump"] == newer[0].version
    backup.load(second_server, "from_newer", scratch)
    assert second_server.counts("from_newer") == backup.facts.table_rows
    second_server.drop_database("from_newer")


def test_the_newest_server_is_dumped_by_tools_of_its_own_age(scratch: Path, tmp_path: Path) -> None:
    newest = server_directories()[-1]
    with running_server(newest) as server:
        database = build_odoo_database(server, "prod", tmp_path / "filestores", rows=40, files=5)

        backup = back_up(server.plan(database.filestore.parent), "prod", scratch / "a.zip")

        backup.load(server, "restored", scratch)
        assert server.counts("restored") == backup.facts.table_rows == server.counts("prod")


def test_only_the_preamble_is_filtered() -> None:
    line = b"SET transaction_timeout = 0;\n"
    head = b"--\n\nSET statement_timeout = 0;\n" + line + b"SELECT pg_catalog.set_config('search_path', '', false);\n"
    row = b"COPY t FROM stdin;\n" + line + b"\\.\n"
    pieces = [head[:20], head[20:60], head[60:] + row, row]

    filtered = b"".join(without_newer_settings(iter(pieces), 15))

    assert filtered == head.replace(line, b"") + row + row
    assert b"".join(without_newer_settings(iter(pieces), 17)) == b"".join(pieces)
    assert b"".join(without_newer_settings(iter([b"short"]), 15)) == b"short"


def test_databases_are_listed_without_templates_and_maintenance(
    postgres_server: PostgresServer, prod: OdooDatabase
) -> None:
    names = PostgresSource(postgres_server.plan()).list_databases()

    assert "prod" in names
    assert not {"postgres", "template0", "template1"} & set(names)
    assert names == sorted(names)


def test_a_socket_directory_is_a_host(postgres_server: PostgresServer, prod: OdooDatabase, tmp_path: Path) -> None:
    plan = postgres_server.plan(prod.filestore.parent, host=postgres_server.socket_directory)

    assert back_up(plan, "prod", tmp_path / "a.zip").files() == set(prod.names)


def test_nothing_is_left_behind(
    postgres_server: PostgresServer, prod: OdooDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("tempfile.tempdir", str(scratch))

    back_up(postgres_server.plan(prod.filestore.parent), "prod", tmp_path / "a.zip")

    assert list(scratch.iterdir()) == []
    assert postgres_server.sessions() == []
