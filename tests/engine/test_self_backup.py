"""Copies of Holdfast's own database: whole while others write, proved by opening, and never with a key in the clear."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.postgres import PostgresServer
from webapp.core.errors import ArchiveError, StoreError
from webapp.engine.report import SilentReporter
from webapp.engine.self_backup import (
    SelfBackupPlan,
    count_sqlite_rows,
    drop_old_self_backups,
    list_self_backups,
    prove_self_backup,
    read_self_backup,
    self_backup_name,
    write_self_backup,
)
from webapp.engine.shelf import open_shelf


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "holdfast.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('0001')")
        connection.execute("CREATE TABLE a (id INTEGER PRIMARY KEY)")
        connection.execute("CREATE TABLE b (id INTEGER PRIMARY KEY, a_id INTEGER)")
        connection.commit()
    return path


@pytest.fixture
def plan(database: Path, tmp_path: Path) -> SelfBackupPlan:
    store = tmp_path / "store"
    open_shelf(str(store), create=True)
    return SelfBackupPlan(
        store_directory=str(store),
        task_id=31,
        fence=1,
        name=self_backup_name("20261122-011500", 31, 1),
        taken_at="2026-11-22T01:15:00+00:00",
        revision="0001",
        holdfast_version="0.1.0",
        key_id="ab" * 8,
        sqlite_path=str(database),
    )


@pytest.fixture
def busy(database: Path) -> Iterator[None]:
    """A writer that adds one row to each of two tables in one transaction, all the time."""
    over = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(database, timeout=30)) as connection:
            while not over.is_set():
                with connection:
                    number = connection.execute("INSERT INTO a DEFAULT VALUES").lastrowid
                    connection.execute("INSERT INTO b (a_id) VALUES (?)", [number])

    thread = threading.Thread(target=write)
    thread.start()
    yield
    over.set()
    thread.join()


@pytest.mark.usefixtures("busy")
def test_a_copy_is_one_moment_of_a_database_that_is_written_to(plan: SelfBackupPlan) -> None:
    for number in range(5):
        copy = write_self_backup(
            replace(plan, name=self_backup_name("20261122-011500", 40 + number, 1)), SilentReporter()
        )

        with closing(sqlite3.connect(copy.database_path)) as connection:
            assert connection.execute(
                "SELECT count(*) FROM a LEFT JOIN b ON b.a_id = a.id WHERE b.id IS NULL"
            ).fetchone() == (0,)
        prove_self_backup(copy, SilentReporter())


def test_a_copy_says_what_it_is(plan: SelfBackupPlan) -> None:
    copy = write_self_backup(replace(plan, sealed_keys="{}"), SilentReporter())

    assert sorted(path.name for path in Path(copy.directory).iterdir()) == [
        "holdfast.sqlite",
        "keys.sealed",
        "manifest.json",
    ]
    assert {path.stat().st_mode & 0o777 for path in Path(copy.directory).iterdir()} == {0o600}
    assert copy.manifest.rows == {"alembic_version": 1, "a": 0, "b": 0}
    assert (copy.manifest.kind, copy.manifest.revision, copy.sealed_keys()) == ("sqlite", "0001", "{}")
    assert list_self_backups(plan.store_directory) == [copy] == [read_self_backup(copy.directory)]


def test_the_shelf_does_not_see_it(plan: SelfBackupPlan) -> None:
    write_self_backup(plan, SilentReporter())

    shelf = open_shelf(plan.store_directory)
    assert list(shelf.list_directories()) == list(shelf.list_placed()) == shelf.list_workplaces() == []


def test_what_is_no_database_of_ours_is_refused_and_leaves_nothing(plan: SelfBackupPlan, tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE t (x)")
    (tmp_path / "text.sqlite").write_text("no database at all" * 100)

    for name in ("other.sqlite", "text.sqlite"):
        with pytest.raises((ArchiveError, StoreError)):
            write_self_backup(replace(plan, sqlite_path=str(tmp_path / name)), SilentReporter())
    assert list((Path(plan.store_directory) / "self").iterdir()) == []


@pytest.mark.parametrize("damage", ["flip", "cut", "keys"])
def test_a_damaged_copy_is_found_out(plan: SelfBackupPlan, damage: str) -> None:
    copy = write_self_backup(replace(plan, sealed_keys="{}"), SilentReporter())
    path = Path(copy.database_path if damage != "keys" else copy.directory + "/keys.sealed")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data[:-1] if damage == "cut" else data)

    with pytest.raises(ArchiveError):
        prove_self_backup(copy, SilentReporter())


def test_the_newest_are_kept_and_what_a_kill_left_goes(plan: SelfBackupPlan) -> None:
    base = Path(plan.store_directory) / "self"
    (base / ".new-7-1").mkdir(parents=True)
    (base / "somebody else's").mkdir()
    names = [self_backup_name(f"2026112{day}-011500", day, 1) for day in range(1, 6)]
    for name in names:
        write_self_backup(replace(plan, name=name), SilentReporter())

    assert drop_old_self_backups(plan.store_directory, 2) == names[2::-1]
    assert sorted(path.name for path in base.iterdir()) == [*names[3:], "somebody else's"]
    assert drop_old_self_backups(plan.store_directory, 0) == [names[3]]


def test_manifests_that_lead_elsewhere_are_none(plan: SelfBackupPlan) -> None:
    copy = write_self_backup(plan, SilentReporter())
    manifest = Path(copy.directory) / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"file_name": "../../passwd"}))

    assert read_self_backup(copy.directory) is None


def test_a_copy_of_postgresql_is_proved_by_reading_it_to_its_end(
    plan: SelfBackupPlan, postgres_server: PostgresServer
) -> None:
    postgres_server.create_database("own")
    postgres_server.execute("CREATE TABLE alembic_version AS SELECT '0001' AS version_num", "own")
    postgres_server.execute("CREATE TABLE numbers AS SELECT generate_series(1, 1000) AS n", "own")
    server = postgres_server.plan()

    copy = write_self_backup(replace(plan, sqlite_path="", server=server, database="own"), SilentReporter())

    assert (copy.manifest.kind, copy.manifest.file_name) == ("postgresql", "holdfast.dump")
    assert copy.manifest.rows == {"alembic_version": 1, "numbers": 1000}
    prove_self_backup(copy, SilentReporter())


def test_rows_are_counted_whatever_tables_are_called(tmp_path: Path) -> None:
    path = tmp_path / "odd name?#%.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE alembic_version AS SELECT 1 AS x")
        connection.execute('CREATE TABLE "a ""b; DROP" (x)')
        connection.commit()

    assert count_sqlite_rows(str(path)) == {"alembic_version": 1, 'a "b; DROP': 0}
