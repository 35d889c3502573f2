"""Uploaded archives: what is good comes onto the shelf whole, what is not leaves nothing behind."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.archives import TRAILER, odoo_dump, odoo_manifest, odoo_zip, python_zip, store_name
from tests.support.crafted_zip import Crafted, Piece
from tests.support.postgres import PostgresServer
from tests.support.restore_pieces import dump_of, killed_at
from webapp.core.errors import ArchiveError, HoldfastError, SourceError, StoreError, TaskStopped
from webapp.core.manifest import Manifest, parse_manifest
from webapp.core.reports import BackupResult
from webapp.core.status import ArchiveFormat, Content, ErrorCode, VerificationLevel
from webapp.engine.intake import IntakePlan, clear_intakes, take_in
from webapp.engine.report import SilentReporter
from webapp.engine.shelf import open_shelf
from webapp.engine.verify import expectation_of_manifest, verify_archive

RECEIVED = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
FILES = [b"one", b"two" * 1000]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """An empty archive store."""
    open_shelf(str(tmp_path / "store"), create=True)
    return tmp_path / "store"


def _plan(store: Path, **changes: Any) -> IntakePlan:
    plan = IntakePlan(
        intake_id=31,
        file_name="upload.zip",
        instance_id=7,
        instance_name="Acme",
        instance_directory="7-acme",
        store_directory=str(store),
        received_at=RECEIVED,
        reserve_bytes=0,
    )
    return replace(plan, **changes)


def _take(data: bytes, plan: IntakePlan) -> tuple[BackupResult, Manifest]:
    result = take_in(io.BytesIO(data), plan, SilentReporter())
    return result, parse_manifest(json.loads(json.dumps(result.manifest)))


def _take_quietly(data: bytes, plan: IntakePlan, journal: object) -> None:
    take_in(io.BytesIO(data), plan, SilentReporter())


def _left(store: Path) -> list[str]:
    return sorted(str(path.relative_to(store)) for path in store.rglob("*") if path.is_file())


def test_an_odoo_zip_becomes_a_restore_point(store: Path) -> None:
    data = odoo_zip(FILES, database="acme")

    result, manifest = _take(data, _plan(store, file_name="acme_2026-11-20_05-30-37.zip", expected_bytes=len(data)))

    assert not result.quarantined
    assert result.report is not None
    assert result.report.passed
    assert result.relative_path == "7-acme/20261120-053037_acme_r31f0/20261120-053037_acme.zip"
    assert (store / result.relative_path).read_bytes() == data
    assert (manifest.run_id, manifest.database, manifest.is_odoo) == (0, "acme", True)
    assert manifest.content is Content.DATABASE_AND_FILESTORE
    assert manifest.started_at == "2026-11-20T05:30:37+00:00"
    assert manifest.versions["odoo"] == "18.0"
    assert manifest.attachment_count == 2
    assert manifest.table_rows is not None
    assert manifest.table_rows["public.res_users"] == 2
    assert manifest.labels["origin"] == "upload"
    assert os.listdir(store / ".tmp") == []


def test_it_passes_the_same_verification_again_later(store: Path) -> None:
    result, manifest = _take(odoo_zip(FILES), _plan(store))

    report = verify_archive(
        str(store / result.relative_path),
        expectation_of_manifest(manifest),
        VerificationLevel.COMPLETE,
        SilentReporter(),
    )

    assert report.passed
    assert not report.warnings


def test_a_zip_without_a_filestore_is_a_database_alone(store: Path) -> None:
    _, manifest = _take(python_zip({"dump.sql": odoo_dump([]), "manifest.json": odoo_manifest("acme")}), _plan(store))

    assert (manifest.content, manifest.has_filestore) == (Content.DATABASE, False)


def test_a_zip_without_a_manifest_is_named_after_its_file(store: Path) -> None:
    data = python_zip({"dump.sql": odoo_dump(FILES), **{f"filestore/{store_name(c)}": c for c in FILES}})

    result, manifest = _take(data, _plan(store, file_name="C:\\fake/acme_2026-11-20_05-30-37 (1).zip"))

    assert not result.quarantined
    assert (manifest.database, manifest.is_odoo) == ("acme", True)
    report = verify_archive(
        str(store / result.relative_path),
        expectation_of_manifest(manifest),
        VerificationLevel.COMPLETE,
        SilentReporter(),
    )
    assert report.passed


def test_a_zip_that_is_not_odoos_is_taken_too(store: Path) -> None:
    dump = b"CREATE TABLE public.a (id integer);\nCOPY public.a (id) FROM stdin;\n1\n\\.\n\n" + TRAILER

    result, manifest = _take(python_zip({"dump.sql": dump}), _plan(store, database="shop"))

    assert not result.quarantined
    assert (manifest.database, manifest.is_odoo) == ("shop", False)
    assert manifest.table_rows == {"public.a": 1}
    assert manifest.started_at <= RECEIVED.isoformat()


@pytest.mark.parametrize(
    ("data", "check"),
    [
        (odoo_zip(FILES, dump=odoo_dump(FILES, trailer=b"")), "dump_trailer"),
        (
            python_zip(
                {
                    "dump.sql": odoo_dump(FILES),
                    "manifest.json": odoo_manifest(),
                    f"filestore/{store_name(b'one')}": b"one",
                }
            ),
            "attachments",
        ),
        (
            python_zip(
                {
                    "dump.sql": odoo_dump([b"one"]),
                    "manifest.json": odoo_manifest(),
                    f"filestore/{store_name(b'one')}": b"two",
                }
            ),
            "attachments",
        ),
    ],
    ids=["cut dump", "missing attachment", "changed attachment"],
)
def test_what_fails_its_verification_goes_into_quarantine(data: bytes, check: str, store: Path) -> None:
    result, _ = _take(data, _plan(store))

    assert result.quarantined
    assert result.relative_path.startswith("quarantine/7-acme/")
    assert result.report is not None
    assert [c.key for c in result.report.failed] == [check]


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flipped(data: bytes) -> bytes:
    place = data.index(b"filestore/") + 80
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


REFUSED: dict[str, tuple[Callable[[], bytes], ErrorCode]] = {
    "nothing": (lambda: b"", ErrorCode.NOT_A_BACKUP),
    "a page": (lambda: b"<!DOCTYPE html><html>Database backup error</html>", ErrorCode.NOT_A_BACKUP),
    "plain SQL": (lambda: odoo_dump([]), ErrorCode.NOT_A_BACKUP),
    "gzip": (lambda: b"\x1f\x8b\x08" + bytes(50), ErrorCode.NOT_A_BACKUP),
    "an empty zip": (lambda: python_zip({}), ErrorCode.NOT_A_BACKUP),
    "another zip": (lambda: python_zip({"word/document.xml": b"<w/>"}), ErrorCode.NOT_A_BACKUP),
    "a dump in a folder": (lambda: python_zip({"backup/dump.sql": odoo_dump([])}), ErrorCode.NOT_A_BACKUP),
    "a cut zip": (lambda: _cut(odoo_zip(FILES)), ErrorCode.TRUNCATED),
    "a zip with a flipped bit": (lambda: _flipped(odoo_zip([os.urandom(3000)])), ErrorCode.CORRUPT),
    "a zip slip": (lambda: Crafted([Piece(b"dump.sql"), Piece(b"../evil")]).build(), ErrorCode.HOSTILE_ARCHIVE),
    "a damaged custom dump": (lambda: b"PGDMP\x01\x0e\x00" + bytes(3000), ErrorCode.CORRUPT),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_archive_is_refused_and_leaves_nothing(name: str, store: Path) -> None:
    make, code = REFUSED[name]

    with pytest.raises(ArchiveError) as caught:
        _take(make(), _plan(store))

    assert caught.value.code is code
    assert _left(store) == [".holdfast-store"]
    assert os.listdir(store / ".tmp") == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"expected_bytes": 10_000_000}, ErrorCode.TRUNCATED),
        ({"expected_sha256": "0" * 64}, ErrorCode.CORRUPT),
        ({"largest_bytes": 500}, ErrorCode.TOO_LARGE),
        ({"expected_bytes": 2**60}, ErrorCode.DISK_FULL),
    ],
)
def test_what_is_not_the_file_announced_is_refused(changes: dict[str, Any], code: ErrorCode, store: Path) -> None:
    with pytest.raises(HoldfastError) as caught:
        _take(odoo_zip(FILES), _plan(store, **changes))

    assert caught.value.code is code
    assert _left(store) == [".holdfast-store"]


def test_the_right_digest_is_accepted(store: Path) -> None:
    data = odoo_zip(FILES)

    result, _ = _take(data, _plan(store, expected_sha256=hashlib.sha256(data).hexdigest().upper()))

    assert not result.quarantined


class _Broken(io.BytesIO):
    """Gives some, then the connection is gone."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(100)
        if not data:
            raise ConnectionResetError
        return data


def test_a_connection_that_breaks_off_leaves_nothing(store: Path) -> None:
    with pytest.raises(SourceError) as caught:
        take_in(_Broken(odoo_zip(FILES)[:500]), _plan(store), SilentReporter())

    assert caught.value.code is ErrorCode.CONNECTION_LOST
    assert os.listdir(store / ".tmp") == []


class _Stopping(SilentReporter):
    """Stops as soon as it is asked."""

    def check(self) -> None:
        raise TaskStopped("Cancelled.")


def test_a_stop_leaves_nothing(store: Path) -> None:
    with pytest.raises(TaskStopped):
        take_in(io.BytesIO(odoo_zip(FILES)), _plan(store), _Stopping())

    assert os.listdir(store / ".tmp") == []


def test_two_uploads_do_not_share_a_number(store: Path) -> None:
    (store / ".tmp" / "upload-31").mkdir()

    with pytest.raises(StoreError):
        _take(odoo_zip(FILES), _plan(store))

    assert (store / ".tmp" / "upload-31").is_dir()


def test_what_killed_uploads_left_is_cleared_when_it_is_old(store: Path) -> None:
    left, running = store / ".tmp" / "upload-30", store / ".tmp" / "31-1"
    for directory in (left, running):
        directory.mkdir()
        (directory / "incoming").write_bytes(b"half")
    now = datetime.now(UTC)

    assert clear_intakes(str(store), older_than=now - timedelta(hours=1)) == 0
    assert clear_intakes(str(store), older_than=now + timedelta(hours=1)) == 1
    assert running.is_dir()
    assert not left.exists()


def test_killed_at_any_step_an_upload_is_on_the_shelf_whole_or_not_at_all(store: Path, tmp_path: Path) -> None:
    data = odoo_zip(FILES)
    seen = set()

    for step in range(1, 100):
        plan = _plan(store, intake_id=step)
        died = killed_at(step, partial(_take_quietly, data, plan), tmp_path / "none")
        clear_intakes(str(store), older_than=datetime.now(UTC) + timedelta(hours=1))
        placed = [one for one in open_shelf(str(store)).list_placed() if one.run_id == step]
        assert all(one.manifest is not None and one.size_bytes == len(data) for one in placed)
        assert os.listdir(store / ".tmp") == []
        seen.add(len(placed))
        if not died:
            break

    assert seen == {0, 1}


def test_a_moment_in_the_future_is_not_believed(store: Path) -> None:
    _, manifest = _take(odoo_zip(FILES), _plan(store, file_name="acme_2030-01-01_00-00-00.zip"))

    assert manifest.started_at == RECEIVED.isoformat()


def test_a_zip_stamped_by_its_tool_is_dated_by_that(store: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("dump.sql", (2025, 3, 4, 5, 6, 8)), odoo_dump([]))

    _, manifest = _take(buffer.getvalue(), _plan(store))

    assert manifest.started_at == "2025-03-04T05:06:08+00:00"


def test_a_custom_dump_of_pg_dump_is_taken(store: Path, postgres_server: PostgresServer) -> None:
    postgres_server.create_database("shop with space")
    postgres_server.execute("CREATE TABLE a AS SELECT generate_series(1, 7) AS id", "shop with space")
    now, data = datetime.now(UTC), dump_of(postgres_server, "shop with space", "-Fc")

    result, manifest = _take(data, _plan(store, file_name="x.dump", received_at=now + timedelta(minutes=1)))

    assert not result.quarantined
    assert manifest.archive_format is ArchiveFormat.CUSTOM
    assert manifest.database == "shop with space"
    assert manifest.table_rows == {"public.a": 7}
    assert re.match(r"\d+\.\d+", manifest.versions["postgresql"])
    assert abs(datetime.fromisoformat(manifest.started_at) - now) < timedelta(minutes=5)
    assert result.relative_path.endswith(".dump")


def test_every_cut_of_a_custom_dump_is_refused(store: Path, postgres_server: PostgresServer) -> None:
    postgres_server.create_database("cuts")
    postgres_server.execute("CREATE TABLE a AS SELECT generate_series(1, 5000) AS id", "cuts")
    data = dump_of(postgres_server, "cuts", "-Fc")

    for length in (6, 100, len(data) // 2, len(data) - 100):
        with pytest.raises(ArchiveError):
            _take(data[:length], _plan(store))
    assert _left(store) == [".holdfast-store"]
