"""What PostgreSQL really writes passes verification, whole; cut anywhere, it does not."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest

from tests.support.odoo_database import OdooDatabase
from tests.support.postgres import PostgresServer
from tests.support.postgres_backups import backup_plan
from webapp.core.errors import ArchiveError
from webapp.core.plans import NO_SECRET, OdooHttpPlan
from webapp.core.reports import BackupResult, CheckState
from webapp.core.status import ArchiveFormat, Content, VerificationLevel
from webapp.engine import backup
from webapp.engine.report import SilentReporter
from webapp.engine.shelf import Shelf, open_shelf
from webapp.engine.sources.postgres import PostgresSource
from webapp.engine.verify import Expectation, expectation_of_backup, require_structure, verify_archive


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """A new shelf."""
    return open_shelf(str(tmp_path / "store"), create=True)


def _run(shelf: Shelf, server: PostgresServer, prod: OdooDatabase, **changes: Any) -> BackupResult:
    source = server.plan(prod.filestore.parent)
    database = changes.pop("database", "prod")
    plan = backup_plan(source, database, store_directory=shelf.root, reserve_bytes=0, **changes)
    return backup.run(plan, PostgresSource(source), SilentReporter())


def _states(result: BackupResult) -> dict[str, str]:
    assert result.report is not None
    return {check.key: check.state.value for check in result.report.checks}


def test_a_zip_with_its_filestore_is_complete(
    shelf: Shelf, postgres_server: PostgresServer, prod: OdooDatabase
) -> None:
    result = _run(shelf, postgres_server, prod)

    assert set(_states(result).values()) == {"passed"}
    assert "attachments" in _states(result)
    assert not result.quarantined
    assert shelf.list_workplaces() == []


def test_a_custom_format_archive_is_parsed_to_its_end(
    shelf: Shelf, postgres_server: PostgresServer, prod: OdooDatabase
) -> None:
    result = _run(shelf, postgres_server, prod, content=Content.DATABASE, format=ArchiveFormat.CUSTOM)

    assert _states(result) == dict.fromkeys(
        ["archive_digest", "members", "dump_trailer", "required_tables", "row_counts"], "passed"
    )


def test_a_database_of_no_odoo_is_complete_too(
    shelf: Shelf, postgres_server: PostgresServer, prod: OdooDatabase
) -> None:
    postgres_server.create_database("no_odoo")
    try:
        postgres_server.execute('CREATE TABLE "a.b" (x text); INSERT INTO "a.b" VALUES (\'1\'), (NULL)', "no_odoo")
        result = _run(shelf, postgres_server, prod, database="no_odoo", content=Content.DATABASE)
    finally:
        postgres_server.drop_database("no_odoo")

    assert set(_states(result).values()) == {"passed"}
    assert result.manifest["is_odoo"] is False
    assert result.manifest["table_rows"] == {"public.a.b": 2}


def test_a_cut_custom_archive_never_passes(
    shelf: Shelf, postgres_server: PostgresServer, prod: OdooDatabase, tmp_path: Path
) -> None:
    result = _run(shelf, postgres_server, prod, content=Content.DATABASE, format=ArchiveFormat.CUSTOM)
    whole = Path(shelf.resolve(result.relative_path)).read_bytes()
    plan = backup_plan(postgres_server.plan(), "prod", content=Content.DATABASE, format=ArchiveFormat.CUSTOM)
    sent_by_odoo = dataclasses.replace(plan, source=OdooHttpPlan("https://odoo.example", NO_SECRET))
    facts = dataclasses.replace(result.facts, table_rows=None)
    known = expectation_of_backup(sent_by_odoo, facts, size_bytes=0, sha256="")
    unknown: Expectation = dataclasses.replace(known, size_bytes=None, sha256=None)
    chance = random.Random(3)
    path = tmp_path / "cut.dump"

    for length in [0, 4, len(whole) - 1, *(chance.randrange(len(whole)) for _ in range(25))]:
        path.write_bytes(whole[:length])
        with pytest.raises(ArchiveError):
            require_structure(str(path), unknown, SilentReporter())
        report = verify_archive(str(path), unknown, VerificationLevel.INTACT, SilentReporter())
        assert not report.passed, length

    path.write_bytes(whole)
    require_structure(str(path), unknown, SilentReporter())
    report = verify_archive(str(path), unknown, VerificationLevel.COMPLETE, SilentReporter())
    assert [check.key for check in report.checks if check.state is CheckState.FAILED] == []
