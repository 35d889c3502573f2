"""From one version of PostgreSQL to another, with the extensions that Odoo uses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.database_restores import Journal, databases, hashes, new_plan, take_archive
from tests.support.odoo_database import build_odoo_database
from tests.support.postgres import PostgresServer, running_server, server_directories
from webapp.core.errors import HoldfastError
from webapp.core.status import ArchiveFormat, Content, ErrorCode, RestoreOutcome
from webapp.engine.report import SilentReporter
from webapp.engine.restore.checks import look_at_target
from webapp.engine.restore.run import run

pytestmark = pytest.mark.skipif(len(server_directories()) < 2, reason="two versions of PostgreSQL are needed")
DUMP_ONLY = {"format": ArchiveFormat.CUSTOM, "content": Content.DATABASE}


@pytest.fixture(scope="module")
def newer_server() -> Iterator[PostgresServer]:
    """A server of the newest version there is."""
    with running_server(server_directories()[-1]) as server:
        yield server


@pytest.mark.parametrize("changes", [{}, DUMP_ONLY], ids=["zip", "custom"])
def test_upwards(
    changes: dict[str, object],
    postgres_server: PostgresServer,
    newer_server: PostgresServer,
    tmp_path: Path,
) -> None:
    build_odoo_database(postgres_server, "older", tmp_path / "files", rows=20, files=3)
    archive = take_archive(postgres_server.plan(tmp_path / "files"), "older", tmp_path, **changes)
    plan = new_plan(archive, newer_server.plan(tmp_path / "target"), "up")

    assert look_at_target(plan, SilentReporter()).allowed
    assert run(plan, Journal(), SilentReporter()).outcome is RestoreOutcome.CREATED

    assert hashes(newer_server, "up") == hashes(postgres_server, "older")
    postgres_server.drop_database("older")
    newer_server.drop_database("up")


@pytest.mark.parametrize("changes", [{}, DUMP_ONLY], ids=["zip", "custom"])
def test_downwards_is_advised_against_and_yet_strict(
    changes: dict[str, object],
    postgres_server: PostgresServer,
    newer_server: PostgresServer,
    tmp_path: Path,
) -> None:
    build_odoo_database(newer_server, "newer", tmp_path / "files", rows=20, files=3)
    archive = take_archive(newer_server.plan(tmp_path / "files"), "newer", tmp_path, **changes)
    plan = new_plan(archive, postgres_server.plan(tmp_path / "target"), "down")

    report = look_at_target(plan, SilentReporter())
    result = run(plan, Journal(), SilentReporter())

    assert [check.code for check in report.checks if check.code] == [ErrorCode.TARGET_TOO_OLD]
    assert result.outcome is RestoreOutcome.CREATED
    assert hashes(postgres_server, "down") == hashes(newer_server, "newer")
    newer_server.drop_database("newer")
    postgres_server.drop_database("down")


def test_an_extension_that_only_the_source_has_is_named(
    postgres_server: PostgresServer, newer_server: PostgresServer, tmp_path: Path
) -> None:
    newer_server.create_database("vectors")
    newer_server.execute(
        "CREATE EXTENSION vector; CREATE TABLE t (v vector(3)); INSERT INTO t VALUES ('[1,2,3]')", "vectors"
    )
    archive = take_archive(newer_server.plan(), "vectors", tmp_path, content=Content.DATABASE)

    again = new_plan(archive, newer_server.plan(), "again")
    assert run(again, Journal(), SilentReporter()).outcome is RestoreOutcome.CREATED
    plan = new_plan(archive, postgres_server.plan(), "without")
    codes = {check.key: check.code for check in look_at_target(plan, SilentReporter()).checks if check.code}
    with pytest.raises(HoldfastError) as caught:
        run(plan, Journal(), SilentReporter())

    assert codes["extensions"] is caught.value.code is ErrorCode.EXTENSION_MISSING
    assert "without" not in databases(postgres_server)
    for name in ("again", "vectors"):
        newer_server.drop_database(name)
