"""Copies of production: another identity, harmless, and nobody saw them before they were."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.database_restores import Journal, databases, new_plan, take_archive
from tests.support.odoo_database import build_odoo_database
from tests.support.odoo_outward import add_outward_tables, outward_ways
from tests.support.postgres import PostgresServer
from tests.support.restore_pieces import Shelved
from webapp.core.errors import HoldfastError
from webapp.core.status import ArchiveFormat, Content, ErrorCode
from webapp.engine.report import SilentReporter
from webapp.engine.restore.run import run


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where filestores and archives lie."""
    return tmp_path_factory.mktemp("copies")


@pytest.fixture(scope="module")
def production(postgres_server: PostgresServer, root: Path) -> Iterator[str]:
    """A database that sends, fetches, pays and calls out."""
    build_odoo_database(postgres_server, "outward", root / "filestore", rows=30, files=5)
    add_outward_tables(postgres_server, "outward")
    yield "outward"
    postgres_server.drop_database("outward")


@pytest.fixture(scope="module")
def archives(postgres_server: PostgresServer, production: str, root: Path) -> dict[ArchiveFormat, Shelved]:
    """It in both formats."""
    source = postgres_server.plan(root / "filestore")
    zipped = take_archive(source, production, root / "zip")
    custom = take_archive(source, production, root / "custom", format=ArchiveFormat.CUSTOM, content=Content.DATABASE)
    return {ArchiveFormat.ZIP: zipped, ArchiveFormat.CUSTOM: custom}


def parameters(server: PostgresServer, database: str) -> dict[str, str]:
    return dict(server.rows("SELECT key, value FROM ir_config_parameter", database))


@pytest.mark.parametrize("archive_format", [ArchiveFormat.ZIP, ArchiveFormat.CUSTOM])
def test_a_neutralised_copy_reaches_nobody(
    archive_format: ArchiveFormat,
    archives: dict[ArchiveFormat, Shelved],
    postgres_server: PostgresServer,
    second_server: PostgresServer,
    tmp_path: Path,
) -> None:
    assert len(outward_ways(postgres_server, "outward")) == 17
    server = second_server.plan(tmp_path)

    plan = new_plan(archives[archive_format], server, "staging", neutralise=True, new_identity=True)
    result = run(plan, Journal(), SilentReporter())

    assert outward_ways(second_server, "staging") == []
    assert {"new_identity", "neutralised"} <= {check.key for check in result.checks}
    before, after = parameters(postgres_server, "outward"), parameters(second_server, "staging")
    assert after["database.is_neutralized"] == "true"
    assert after["database.uuid"] != before["database.uuid"]
    assert after["database.secret"] != before["database.secret"]
    assert after["database.create_date"].startswith("20")
    assert after["web.base.url"] == before["web.base.url"]
    views = second_server.rows("SELECT key, active FROM ir_ui_view ORDER BY 1", "staging")
    assert views == [("web.login", True), ("web.neutralize_banner", True)]
    assert second_server.rows("SELECT cron_name FROM ir_cron WHERE active", "staging") == [("Autovacuum",)]
    second_server.drop_database("staging")


def test_a_copy_that_is_not_asked_to_be_one_stays_as_it_was(
    archives: dict[ArchiveFormat, Shelved],
    postgres_server: PostgresServer,
    second_server: PostgresServer,
    tmp_path: Path,
) -> None:
    plan = new_plan(archives[ArchiveFormat.ZIP], second_server.plan(tmp_path), "twin")
    run(plan, Journal(), SilentReporter())

    assert parameters(second_server, "twin") == parameters(postgres_server, "outward")
    assert set(outward_ways(second_server, "twin")) == set(outward_ways(postgres_server, "outward"))
    second_server.drop_database("twin")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("ALTER TABLE payment_provider RENAME COLUMN state TO status", "payment_provider has no column state"),
        (
            "CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.active = true; RETURN NEW; END';"
            "CREATE TRIGGER again BEFORE UPDATE ON ir_cron FOR EACH ROW EXECUTE FUNCTION again()",
            "Scheduled actions: 3 are left",
        ),
        ("ALTER TABLE ir_mail_server ADD COLUMN novel varchar NOT NULL DEFAULT NULL", "Mail server that goes nowhere"),
    ],
    ids=["another column", "a trigger that undoes it", "no dummy server possible"],
)
def test_what_cannot_be_made_harmless_is_not_restored_at_all(
    change: str, words: str, postgres_server: PostgresServer, second_server: PostgresServer, tmp_path: Path
) -> None:
    postgres_server.drop_database("odd")
    build_odoo_database(postgres_server, "odd", tmp_path / "filestore", rows=5, files=1)
    add_outward_tables(postgres_server, "odd")
    if "novel" in change:
        postgres_server.execute("DELETE FROM ir_mail_server", "odd")
    postgres_server.execute(change, "odd")
    archive = take_archive(postgres_server.plan(tmp_path / "filestore"), "odd", tmp_path)

    with pytest.raises(HoldfastError) as caught:
        run(
            new_plan(archive, second_server.plan(tmp_path / "target"), "odd", neutralise=True),
            Journal(),
            SilentReporter(),
        )

    assert caught.value.code is ErrorCode.NEUTRALISE_FAILED
    assert words in caught.value.message
    assert "odd" not in databases(second_server)
    assert databases(second_server) == set()
    postgres_server.drop_database("odd")


def test_a_copy_of_an_older_odoo_is_neutralised_too(
    postgres_server: PostgresServer, second_server: PostgresServer, tmp_path: Path
) -> None:
    build_odoo_database(postgres_server, "odoo15", tmp_path / "filestore", rows=5, files=1, serie="15.0")
    add_outward_tables(postgres_server, "odoo15")
    older = (
        "ALTER TABLE ir_mail_server DROP COLUMN smtp_authentication; DROP TABLE ir_ui_view, mail_push_device;"
        "ALTER TABLE payment_provider RENAME TO payment_acquirer; ALTER TABLE ir_act_server DROP COLUMN webhook_url"
    )
    postgres_server.execute(older, "odoo15")
    archive = take_archive(postgres_server.plan(tmp_path / "filestore"), "odoo15", tmp_path)

    run(
        new_plan(archive, second_server.plan(tmp_path / "target"), "copy15", neutralise=True),
        Journal(),
        SilentReporter(),
    )

    assert second_server.rows("SELECT smtp_host FROM ir_mail_server WHERE active", "copy15") == [("invalid",)]
    assert second_server.rows("SELECT DISTINCT state FROM payment_acquirer", "copy15") == [("disabled",)]
    postgres_server.drop_database("odoo15")
    second_server.drop_database("copy15")


def test_nobody_gets_in_or_finds_it_in_the_list_before_it_is_harmless(
    archives: dict[ArchiveFormat, Shelved], second_server: PostgresServer, tmp_path: Path
) -> None:
    """A program as eager as Odoo's cron workers: it enters every database that Odoo would list, and looks around."""
    seen: set[str] = set()
    stop = threading.Event()

    def eager() -> None:
        listed = "SELECT datname FROM pg_database WHERE datname ~ 'staging' AND NOT datistemplate AND datallowconn"
        with second_server.connect() as catalogue:
            while not stop.is_set():
                for (name,) in catalogue.execute(listed).fetchall():
                    try:
                        with second_server.connect(name) as inside:
                            row = inside.execute("SELECT count(*) FROM ir_cron WHERE active").fetchone()
                            seen.add(f"{name}: {row[0] if row else None}")
                    except psycopg.Error:
                        seen.add(f"{name}: refused")

    watcher = threading.Thread(target=eager)
    watcher.start()
    try:
        plan = new_plan(archives[ArchiveFormat.ZIP], second_server.plan(tmp_path), "staging", neutralise=True)
        run(plan, Journal(), SilentReporter())
        deadline = time.monotonic() + 20
        while not seen and time.monotonic() < deadline:
            stop.wait(0.01)
    finally:
        stop.set()
        watcher.join()

    assert seen - {"staging: refused"} == {"staging: 1"}
    second_server.drop_database("staging")
