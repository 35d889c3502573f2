"""A backup of a PostgreSQL server: one moment, whole, loadable as strictly as psql can, files included."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from tests.support.odoo_database import OdooDatabase, add_attachment, build_odoo_database
from tests.support.postgres import PostgresServer, running_server, server_directories
from tests.support.postgres_backups import back_up
from tests.support.sshd import SshServer
from webapp.core.errors import SourceError
from webapp.core.plans import FilestorePlan, Secret
from webapp.core.status import ArchiveFormat, Content, ErrorCode, FilestoreKind
from webapp.engine.pgdump import without_newer_settings
from webapp.engine.pgtools import find_tools
from webapp.engine.report import SilentReporter
from webapp.engine.sources.postgres import PostgresSource


@pytest.fixture
def fresh(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[OdooDatabase]:
    """A database that the test may change."""
    postgres_server.drop_database("fresh")
    yield build_odoo_database(postgres_server, "fresh", tmp_path / "filestores", rows=60, files=12)
    postgres_server.drop_database("fresh")


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


def test_attachments_made_during_the_backup_leave_nothing_referred_to_missing(
    postgres_server: PostgresServer, second_server: PostgresServer, fresh: OdooDatabase, scratch: Path
) -> None:
    stop = threading.Event()
    written: list[int] = []

    def write(number: int) -> None:
        made = 0
        with postgres_server.connect("fresh") as connection:
            while not stop.is_set():
                add_attachment(connection, fresh.filestore, f"{number} {made}".encode() * 50, f"new {number} {made}")
                made += 1
        written.append(made)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for writer in writers:
        writer.start()
    try:
        backups = [
            back_up(postgres_server.plan(fresh.filestore.parent), "fresh", scratch / f"{n}.zip") for n in range(4)
        ]
    finally:
        stop.set()
        for writer in writers:
            writer.join()

    assert sum(written) > 50
    for number, backup in enumerate(backups):
        backup.load(second_server, f"restored{number}", scratch)
        query = "SELECT DISTINCT store_fname FROM ir_attachment WHERE store_fname IS NOT NULL"
        referred = {row[0] for row in second_server.rows(query, f"restored{number}")}
        assert referred == backup.files()
        assert second_server.counts(f"restored{number}") == backup.facts.table_rows
        second_server.drop_database(f"restored{number}")


def test_odoos_vacuum_is_held_off_until_the_files_are_copied(
    postgres_server: PostgresServer, fresh: OdooDatabase, tmp_path: Path
) -> None:
    refused: list[str] = []

    class Reporter(SilentReporter):
        def step(self, key: str, title: str, detail: str = "") -> None:
            super().step(key, title, detail)
            if key == "filestore":
                with postgres_server.connect("fresh") as connection:
                    try:
                        connection.execute("BEGIN; SET LOCAL lock_timeout = '100ms'; LOCK ir_attachment IN SHARE MODE")
                    except psycopg.Error as error:
                        refused.append(type(error).__name__)

    back_up(postgres_server.plan(fresh.filestore.parent), "fresh", tmp_path / "a.zip", reporter=Reporter())

    assert refused == ["LockNotAvailable"]


def test_a_role_that_may_only_read_gets_a_warning_and_a_backup(
    postgres_server: PostgresServer, prod: OdooDatabase, tmp_path: Path
) -> None:
    postgres_server.execute(
        "DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN PASSWORD 'x' IN ROLE pg_read_all_data"
    )
    plan = replace(postgres_server.plan(prod.filestore.parent), user="reader", password=Secret("x"))

    backup = back_up(plan, "prod", tmp_path / "a.zip")

    assert [code for code, _ in backup.reporter.warnings] == [ErrorCode.FILESTORE_UNLOCKED]
    assert backup.facts.warnings[0][0] is ErrorCode.FILESTORE_UNLOCKED
    assert backup.files() == set(prod.names)


def test_a_missing_file_is_named_and_warned_of(
    postgres_server: PostgresServer, fresh: OdooDatabase, tmp_path: Path
) -> None:
    lost, altered = fresh.names[3], fresh.names[5]
    (fresh.filestore / lost).unlink()
    (fresh.filestore / altered).write_bytes(b"something else")

    backup = back_up(postgres_server.plan(fresh.filestore.parent), "fresh", tmp_path / "a.zip")

    assert backup.facts.missing_attachments == (lost,)
    assert backup.facts.missing_attachment_count == 1
    assert backup.facts.mismatched_attachments == (altered,)
    assert backup.files() == set(fresh.names) - {lost}
    assert {code for code, _ in backup.reporter.warnings} == {ErrorCode.ATTACHMENTS_MISSING}


@pytest.mark.parametrize("name", ["../../etc/passwd", "ab/../../x", "/etc/passwd", "s3://bucket/key", "-rf", "ab/x\ny"])
def test_a_strange_stored_name_is_never_opened(
    postgres_server: PostgresServer, fresh: OdooDatabase, tmp_path: Path, name: str
) -> None:
    with postgres_server.connect("fresh") as connection:
        connection.execute("UPDATE ir_attachment SET store_fname = %s WHERE store_fname = %s", (name, fresh.names[0]))

    backup = back_up(postgres_server.plan(fresh.filestore.parent), "fresh", tmp_path / "a.zip")

    assert backup.facts.missing_attachments == (name,)
    assert backup.files() == set(fresh.names[1:])
    assert "elsewhere" in backup.reporter.warnings[0][1]


def test_a_symbolic_link_in_the_filestore_is_not_followed(
    postgres_server: PostgresServer, fresh: OdooDatabase, tmp_path: Path
) -> None:
    name = fresh.names[0]
    (fresh.filestore / name).unlink()
    (fresh.filestore / name).symlink_to("/etc/passwd")

    backup = back_up(postgres_server.plan(fresh.filestore.parent), "fresh", tmp_path / "a.zip")

    assert name not in backup.files()
    assert backup.facts.missing_attachments == (name,)


@pytest.mark.parametrize("path", ["{root}/nosuch/{database}", "{root}/nosuch", "relative/path", "{root}"])
def test_a_filestore_that_is_not_there_is_never_a_success(
    postgres_server: PostgresServer, prod: OdooDatabase, tmp_path: Path, path: str
) -> None:
    (tmp_path / "otherdatabase").mkdir()
    plan = postgres_server.plan(path.replace("{root}", str(tmp_path)))

    with pytest.raises(SourceError) as caught:
        back_up(plan, "prod", tmp_path / "a.zip")

    assert caught.value.code is ErrorCode.FILESTORE_UNREADABLE
    assert caught.value.hint


def test_another_databases_filestore_is_never_a_success(
    postgres_server: PostgresServer, prod: OdooDatabase, tmp_path: Path
) -> None:
    (tmp_path / "other" / "ab").mkdir(parents=True)

    with pytest.raises(SourceError, match="None of the 40 files") as caught:
        back_up(postgres_server.plan(tmp_path / "other"), "prod", tmp_path / "a.zip")

    assert caught.value.code is ErrorCode.FILESTORE_UNREADABLE


def test_without_a_filestore_set_a_database_with_files_is_never_a_success(
    postgres_server: PostgresServer, prod: OdooDatabase, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match="no filestore set"):
        back_up(postgres_server.plan(), "prod", tmp_path / "a.zip")


@pytest.mark.parametrize("form", ["root", "own", "placeholder"])
def test_the_filestores_path_may_be_given_in_three_ways(
    postgres_server: PostgresServer, prod: OdooDatabase, tmp_path: Path, form: str
) -> None:
    root = prod.filestore.parent
    path = {"root": str(root), "own": str(prod.filestore), "placeholder": f"{root}/{{database}}"}[form]

    backup = back_up(postgres_server.plan(path), "prod", tmp_path / "a.zip")

    assert backup.files() == set(prod.names)


@pytest.mark.parametrize("tunnelled", [False, True])
def test_a_filestore_over_ssh_comes_whole(
    postgres_server: PostgresServer, prod: OdooDatabase, ssh_server: SshServer, tmp_path: Path, tunnelled: bool
) -> None:
    filestore = FilestorePlan(FilestoreKind.SSH, str(prod.filestore.parent), ssh_server.plan())
    plan = postgres_server.plan(filestore=filestore, tunnel=ssh_server.plan() if tunnelled else None)

    backup = back_up(plan, "prod", tmp_path / "a.zip")

    assert backup.files() == set(prod.names)
    assert backup.reporter.warnings == []
    for name in prod.names[:5]:
        assert backup.read(f"filestore/{name}") == (prod.filestore / name).read_bytes()


def test_over_ssh_missing_altered_large_and_linked_files_fare_as_locally(
    postgres_server: PostgresServer, fresh: OdooDatabase, ssh_server: SshServer, tmp_path: Path
) -> None:
    with postgres_server.connect("fresh") as connection:
        large = add_attachment(connection, fresh.filestore, b"large " * 1_500_000, "large")
    gone, altered, linked, last = fresh.names[0], fresh.names[4], fresh.names[6], fresh.names[-1]
    (fresh.filestore / gone).unlink()
    (fresh.filestore / last).unlink()
    (fresh.filestore / altered).write_bytes(b"something else")
    (fresh.filestore / linked).unlink()
    (fresh.filestore / linked).symlink_to("/etc/passwd")
    plan = postgres_server.plan(filestore=FilestorePlan(FilestoreKind.SSH, str(fresh.filestore), ssh_server.plan()))

    backup = back_up(plan, "fresh", tmp_path / "a.zip")

    assert set(backup.facts.missing_attachments) == {gone, linked, last}
    assert backup.facts.mismatched_attachments == (altered,)
    assert backup.files() == ({*fresh.names, large} - {gone, linked, last})
    assert backup.read(f"filestore/{large}") == b"large " * 1_500_000


@pytest.mark.parametrize("path", ["/nonexistent", "/nonexistent/{database}", "/etc", "/tmp/$(touch canary)"])
def test_over_ssh_a_filestore_that_is_not_there_is_never_a_success(
    postgres_server: PostgresServer, prod: OdooDatabase, ssh_server: SshServer, tmp_path: Path, path: str
) -> None:
    plan = postgres_server.plan(filestore=FilestorePlan(FilestoreKind.SSH, path, ssh_server.plan()))

    with pytest.raises(SourceError, match="no such directory") as caught:
        back_up(plan, "prod", tmp_path / "a.zip")

    assert caught.value.code is ErrorCode.FILESTORE_UNREADABLE


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
