"""The filestore in a PostgreSQL backup: of the dump's moment, from here or over SSH, whole, or said what is missing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from tests.support.odoo_database import OdooDatabase, add_attachment, build_odoo_database
from tests.support.postgres import PostgresServer
from tests.support.postgres_backups import back_up
from tests.support.sshd import SshServer
from webapp.core.errors import SourceError
from webapp.core.plans import FilestorePlan, Secret
from webapp.core.status import ErrorCode, FilestoreKind
from webapp.engine.report import SilentReporter


@pytest.fixture
def fresh(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[OdooDatabase]:
    """A database that the test may change."""
    postgres_server.drop_database("fresh")
    yield build_odoo_database(postgres_server, "fresh", tmp_path / "filestores", rows=60, files=12)
    postgres_server.drop_database("fresh")


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


def test_the_guard_waits_for_a_vacuum_that_is_under_way(
    postgres_server: PostgresServer, prod: OdooDatabase, tmp_path: Path
) -> None:
    with postgres_server.connect("prod") as vacuum:
        vacuum.execute("BEGIN")
        vacuum.execute("LOCK ir_attachment IN SHARE MODE")
        threading.Timer(0.5, lambda: _quietly(vacuum)).start()

        backup = back_up(postgres_server.plan(prod.filestore.parent), "prod", tmp_path / "a.zip")

    assert backup.reporter.warnings == []


def _quietly(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    connection.execute("ROLLBACK")


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
