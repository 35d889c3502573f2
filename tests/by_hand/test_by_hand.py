"""docs/restore-by-hand.sh: standard tools alone restore what Holdfast stored, and refuse what is damaged."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.by_hand.script import SCRIPT, restore_by_hand
from tests.support.database_restores import databases, files_below, hashes, take_archive
from tests.support.odoo_database import OdooDatabase
from tests.support.postgres import PostgresServer
from webapp.core.status import ArchiveFormat, Content

pytestmark = pytest.mark.slow
CUSTOM = {"format": ArchiveFormat.CUSTOM, "content": Content.DATABASE}


@pytest.fixture
def zipped(postgres_server: PostgresServer, prod: OdooDatabase, scratch: Path) -> Path:
    """The directory of a zip archive of prod with its filestore."""
    shelved = take_archive(postgres_server.plan(prod.filestore.parent), "prod", scratch)
    return Path(shelved.path).parent


@pytest.fixture
def dumped(postgres_server: PostgresServer, prod: OdooDatabase, scratch: Path) -> Path:
    """The directory of a custom archive of prod."""
    return Path(take_archive(postgres_server.plan(), "prod", scratch, **CUSTOM).path).parent


def test_the_script_uses_none_of_our_code() -> None:
    text = SCRIPT.read_text()

    assert not re.search(r"^[^#]*(holdfast|webapp|\.venv)", text, re.MULTILINE)
    assert set(re.findall(r"^import (.+)$", text, re.MULTILINE)) == {"json, sys"}


def test_a_zip_comes_back_with_every_row_and_every_file(
    zipped: Path, postgres_server: PostgresServer, second_server: PostgresServer, prod: OdooDatabase, scratch: Path
) -> None:
    done = restore_by_hand(second_server, zipped, "by hand", scratch / "files")

    assert (done.returncode, done.stderr) == (0, "")
    assert hashes(second_server, "by hand") == hashes(postgres_server, "prod")
    kept = {name: data for name, data in files_below(prod.filestore).items() if name in prod.names}
    assert files_below(scratch / "files") == kept
    second_server.drop_database("by hand")


def test_a_custom_archive_comes_back_with_every_row(
    dumped: Path, postgres_server: PostgresServer, second_server: PostgresServer
) -> None:
    done = restore_by_hand(second_server, dumped, "by_hand")

    assert (done.returncode, done.stderr) == (0, "")
    assert hashes(second_server, "by_hand") == hashes(postgres_server, "prod")
    second_server.drop_database("by_hand")


def test_what_is_not_as_it_was_written_is_refused_before_the_server_is_asked(
    zipped: Path, second_server: PostgresServer
) -> None:
    archive = next(zipped.glob("*.zip"))
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    before = databases(second_server)

    done = restore_by_hand(second_server, zipped, "by_hand")

    assert (done.returncode, "not what was written" in done.stderr) == (1, True)
    assert databases(second_server) == before


def test_a_database_or_filestore_that_is_there_is_never_touched(
    dumped: Path, second_server: PostgresServer, scratch: Path
) -> None:
    second_server.create_database("mine")
    second_server.execute("CREATE TABLE kept AS SELECT 1 AS x", "mine")
    (scratch / "files").mkdir()

    assert restore_by_hand(second_server, dumped, "mine").returncode == 1
    assert restore_by_hand(second_server, dumped, "other", scratch / "files").returncode == 1

    assert second_server.rows("SELECT x FROM kept", "mine") == [(1,)]
    assert "other" not in databases(second_server)
    second_server.drop_database("mine")


def test_rows_that_are_missing_are_found_out(dumped: Path, second_server: PostgresServer) -> None:
    manifest = dumped / "manifest.json"
    data = json.loads(manifest.read_text())
    data["table_rows"]["public.res_partner"] += 1
    manifest.write_text(json.dumps(data))

    done = restore_by_hand(second_server, dumped, "by_hand")

    assert (done.returncode, "rows differ" in done.stderr) == (1, True)
    second_server.drop_database("by_hand")
