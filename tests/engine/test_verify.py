"""Verification passes what is whole, and nothing else: each fault is found by the check that should find it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import xxhash

from tests.support.archives import (
    MOMENT,
    MemorySink,
    copy_block,
    odoo_dump,
    odoo_manifest,
    odoo_rows,
    odoo_zip,
    python_zip,
    sha1,
    store_name,
    written,
)
from webapp.core.errors import ArchiveError, StoreError
from webapp.core.plans import Previous
from webapp.core.reports import CheckState, VerificationReport
from webapp.core.status import ArchiveFormat, ErrorCode, VerificationLevel
from webapp.engine.archive.zip_writer import ZipWriter
from webapp.engine.report import SilentReporter
from webapp.engine.verify import Expectation, require_structure, verify_archive

FILES = [b"one" * 500, b"two", os.urandom(3000)]


def _expected(data: bytes, **changes: object) -> Expectation:
    expectation = Expectation(
        archive_format=ArchiveFormat.ZIP,
        database="prod",
        is_odoo=True,
        has_filestore=True,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        table_rows=odoo_rows(FILES),
        own_snapshot=True,
    )
    return dataclasses.replace(expectation, **changes)  # type: ignore[arg-type]


def _verify(
    directory: Path, data: bytes, level: VerificationLevel = VerificationLevel.COMPLETE, **changes: object
) -> VerificationReport:
    return verify_archive(written(directory, data), _expected(data, **changes), level, SilentReporter())


def _states(report: VerificationReport) -> dict[str, str]:
    return {check.key: check.state.value for check in report.checks}


def _failures(report: VerificationReport) -> dict[str, ErrorCode | None]:
    return {check.key: check.code for check in report.failed}


def _zip(dump: bytes, files: dict[str, bytes] | None = None, manifest: bytes | None = None) -> bytes:
    members = {"dump.sql": dump, "manifest.json": odoo_manifest() if manifest is None else manifest}
    if files is None:
        files = {store_name(content): content for content in FILES}
    return python_zip(members | {f"filestore/{name}": content for name, content in files.items()})


def test_a_whole_archive_passes_with_evidence(tmp_path: Path) -> None:
    report = _verify(tmp_path, odoo_zip(FILES))

    assert report.passed
    assert _states(report) == dict.fromkeys(
        [
            "archive_digest",
            "members",
            "dump_trailer",
            "required_tables",
            "manifest_matches",
            "row_counts",
            "attachments",
        ],
        "passed",
    )
    values = {check.key: check.value for check in report.checks}
    assert (values["row_counts"], values["attachments"], values["members"]) == ("10", "3", "5")
    assert "10 rows in 5 tables, as counted in the same snapshot" in report.checks[5].detail


def test_intact_looks_at_the_archive_only(tmp_path: Path) -> None:
    report = _verify(tmp_path, _zip(b"nonsense"), VerificationLevel.INTACT)

    assert report.passed
    assert list(_states(report)) == ["archive_digest", "members"]


def test_an_archive_of_odoo_itself_passes_without_row_counts(tmp_path: Path) -> None:
    report = _verify(tmp_path, _zip(odoo_dump(FILES)), table_rows=None, own_snapshot=False)

    assert report.passed
    assert _states(report)["row_counts"] == "skipped"


def test_every_truncation_and_every_bit_flip_is_found(tmp_path: Path) -> None:
    data = odoo_zip(FILES)
    chance = random.Random(2026)
    expectation = _expected(data)

    for turn in range(300):
        place = chance.randrange(len(data))
        broken = bytearray(data[:place] if turn % 2 else data)
        if turn % 2 == 0:
            broken[place] ^= 1 << chance.randrange(8)
        path = written(tmp_path, bytes(broken))
        for level in (VerificationLevel.INTACT, VerificationLevel.COMPLETE):
            report = verify_archive(path, expectation, level, SilentReporter())
            assert not report.passed, (turn, place, level)
            assert report.checks[0].state is CheckState.FAILED


def test_right_after_the_writing_the_cheaper_digest_finds_every_bit_flip(tmp_path: Path) -> None:
    data = odoo_zip(FILES)
    quick = xxhash.xxh3_128_hexdigest(data)

    whole = _verify(tmp_path, data, xxh128=quick)

    assert whole.passed
    assert "XXH3" in whole.checks[0].detail
    for place in random.Random(2).sample(range(len(data)), 40):
        damaged = data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]
        report = _verify(tmp_path, damaged, sha256=hashlib.sha256(data).hexdigest(), xxh128=quick)
        assert _failures(report)["archive_digest"] is ErrorCode.CORRUPT


def test_truncations_are_found_without_a_digest_too(tmp_path: Path) -> None:
    data = odoo_zip(FILES)
    expectation = _expected(data, size_bytes=None, sha256=None)
    chance = random.Random(2027)

    for length in [0, *(chance.randrange(len(data)) for _ in range(200))]:
        report = verify_archive(
            written(tmp_path, data[:length]), expectation, VerificationLevel.INTACT, SilentReporter()
        )
        assert list(_failures(report)) == ["members"], length


def test_the_archive_of_another_run_is_found_out(tmp_path: Path) -> None:
    data = odoo_zip(FILES)
    report = verify_archive(
        written(tmp_path, odoo_zip([])), _expected(data), VerificationLevel.INTACT, SilentReporter()
    )

    assert list(_failures(report)) == ["archive_digest"]


@pytest.mark.parametrize(
    ("dump", "check"),
    [
        (b"", "dump_trailer"),
        (odoo_dump(FILES)[:-80], "dump_trailer"),
        (odoo_dump(FILES)[:1200], "dump_trailer"),
        (odoo_dump(FILES, trailer=b""), "dump_trailer"),
        (odoo_dump(FILES) + b"DROP TABLE x;", "dump_trailer"),
        (b"COPY a.b.c.d FROM stdin;\n\\.\n" + odoo_dump(FILES), "dump_trailer"),
        (b"--\n-- PostgreSQL database dump complete\n--\n", "required_tables"),
        (odoo_dump(FILES).replace(b"res_users", b"res_losers"), "required_tables"),
        (odoo_dump(FILES).replace(b"2\talice\n", b""), "row_counts"),
        (
            odoo_dump(FILES, extra=b"CREATE TABLE public.new (a int);\n" + copy_block("public.new", ["a"], [["1"]])),
            "row_counts",
        ),
    ],
)
def test_a_dump_that_is_not_whole_is_found(dump: bytes, check: str, tmp_path: Path) -> None:
    report = _verify(tmp_path, _zip(dump))

    assert check in _failures(report)
    assert {check.state for check in report.checks[:2]} == {CheckState.PASSED}


def test_data_of_an_extensions_tables_needs_no_count(tmp_path: Path) -> None:
    dump = odoo_dump(FILES, extra=copy_block("public.spatial_ref_sys", ["srid"], [["1"]]))

    assert _verify(tmp_path, _zip(dump)).passed


def test_an_archive_without_a_dump_is_incomplete(tmp_path: Path) -> None:
    report = _verify(tmp_path, python_zip({"manifest.json": odoo_manifest()}))

    assert _failures(report)["dump_trailer"] is ErrorCode.INCOMPLETE


@pytest.mark.parametrize("manifest", [b"", b"[]", b"{}", b"{" * 5000, odoo_manifest("other"), b"\xff"])
def test_another_database_is_found(manifest: bytes, tmp_path: Path) -> None:
    report = _verify(tmp_path, _zip(odoo_dump(FILES), manifest=manifest))

    assert list(_failures(report)) == ["manifest_matches"]


def test_a_missing_file_fails_an_archive_of_our_own(tmp_path: Path) -> None:
    data = _zip(odoo_dump(FILES), {store_name(content): content for content in FILES[1:]})

    report = _verify(tmp_path, data)

    assert _failures(report) == {"attachments": ErrorCode.INCOMPLETE}
    assert store_name(FILES[0])[:12] in report.failed[0].detail


def test_a_file_that_was_missing_at_the_source_is_a_warning(tmp_path: Path) -> None:
    data = _zip(odoo_dump(FILES), {store_name(content): content for content in FILES[1:]})

    report = _verify(tmp_path, data, missing_attachments=(store_name(FILES[0]),), missing_attachment_count=1)

    assert report.passed
    assert [check.code for check in report.warnings] == [ErrorCode.ATTACHMENTS_MISSING]


def test_another_file_than_the_known_one_is_a_failure(tmp_path: Path) -> None:
    data = _zip(odoo_dump(FILES), {store_name(content): content for content in FILES[1:]})

    report = _verify(tmp_path, data, missing_attachments=(store_name(FILES[1]),), missing_attachment_count=1)

    assert _failures(report) == {"attachments": ErrorCode.INCOMPLETE}


def test_no_file_at_all_is_a_failure_even_when_known(tmp_path: Path) -> None:
    names = tuple(store_name(content) for content in FILES)

    report = _verify(tmp_path, _zip(odoo_dump(FILES), {}), missing_attachments=names, missing_attachment_count=3)

    assert _failures(report) == {"attachments": ErrorCode.INCOMPLETE}


@pytest.mark.parametrize(("known", "state"), [(0, "failed"), (1, "warning")])
def test_content_that_differs_from_its_name_is_found(known: int, state: str, tmp_path: Path) -> None:
    files = {store_name(content): content for content in FILES} | {store_name(FILES[0]): b"something else"}

    report = _verify(tmp_path, _zip(odoo_dump(FILES), files), mismatched_attachment_count=known)

    assert _states(report)["attachments"] == state


@pytest.mark.parametrize(("missing", "state"), [(0, "passed"), (2, "warning"), (3, "failed")])
def test_odoos_own_archives_may_lack_one_in_a_hundred(missing: int, state: str, tmp_path: Path) -> None:
    files = [b"%d" % number for number in range(200)]
    data = _zip(odoo_dump(files), {store_name(content): content for content in files[missing:]})

    report = _verify(tmp_path, data, table_rows=None, own_snapshot=False)

    assert _states(report)["attachments"] == state


def test_more_than_a_hundred_missing_files_are_never_tolerated(tmp_path: Path) -> None:
    files = [b"%d" % number for number in range(11_000)]
    data = _zip(odoo_dump(files), {store_name(content): content for content in files[101:]})

    report = _verify(tmp_path, data, table_rows=None, own_snapshot=False)

    assert _failures(report) == {"attachments": ErrorCode.INCOMPLETE}


def test_files_that_no_row_refers_to_and_marks_are_left_alone(tmp_path: Path) -> None:
    files = {store_name(content): content for content in [*FILES, b"orphan"]}
    name = store_name(b"orphan")

    report = _verify(tmp_path, _zip(odoo_dump(FILES), files | {f"checklist/{name}": b"", f"{name[:-1]}x": b"odd"}))

    assert report.passed


def test_files_kept_elsewhere_are_counted_apart(tmp_path: Path) -> None:
    dump = odoo_dump(FILES).replace(b"999\ta url\t\\N", b"999\ta url\ts3://bucket/abc")

    report = _verify(tmp_path, _zip(dump))

    assert report.passed
    assert "1 more are kept outside" in report.checks[-1].detail


def test_odd_names_must_be_there_too(tmp_path: Path) -> None:
    dump = odoo_dump(FILES).replace(b"999\ta url\t\\N", b"999\ta url\told/style name")
    files = {store_name(content): content for content in FILES}

    assert not _verify(tmp_path, _zip(dump, files)).passed
    assert _verify(tmp_path, _zip(dump, files | {"old/style name": b"x"})).passed


def test_a_database_of_no_odoo_needs_one_table(tmp_path: Path) -> None:
    table = b"CREATE TABLE public.t (a int);\n" + copy_block("public.t", ["a"], [["1"]])
    trailer = b"--\n-- PostgreSQL database dump complete\n--\n"
    plain: dict[str, Any] = {"is_odoo": False, "has_filestore": False}

    assert _verify(tmp_path, python_zip({"dump.sql": table + trailer}), table_rows={"public.t": 1}, **plain).passed
    assert _verify(tmp_path, python_zip({"dump.sql": trailer}), table_rows={}, **plain).passed
    empty = _verify(tmp_path, python_zip({"dump.sql": trailer}), table_rows=None, **plain)
    assert list(_failures(empty)) == ["required_tables"]


def _previous(size: int, rows: int | None = None, files: int | None = None) -> Previous:
    return Previous(size, rows, files, datetime(2026, 11, 21, 2, 30, tzinfo=UTC))


@pytest.mark.parametrize(
    ("previous", "code"),
    [
        (_previous(10_000_000), ErrorCode.SIZE_COLLAPSED),
        (_previous(5000, rows=1000), ErrorCode.ROWS_COLLAPSED),
        (_previous(5000, files=1000), ErrorCode.ATTACHMENTS_MISSING),
        (_previous(5000, rows=10, files=3), None),
        (_previous(5000, rows=19, files=7), None),
    ],
)
def test_a_collapse_since_the_archive_before_is_a_warning(
    previous: Previous, code: ErrorCode | None, tmp_path: Path
) -> None:
    report = _verify(tmp_path, odoo_zip(FILES), previous=previous)

    assert report.passed
    assert [check.code for check in report.warnings] == ([code] if code else [])
    assert report.checks[-1].key == "comparison"


def test_hostile_archives_fail_with_their_own_code(tmp_path: Path) -> None:
    data = python_zip({"dump.sql": odoo_dump(FILES), "../evil": b"x"})

    report = _verify(tmp_path, data)

    assert _failures(report) == {"members": ErrorCode.HOSTILE_ARCHIVE}
    assert _states(report)["dump_trailer"] == "skipped"


@pytest.mark.parametrize("content", [b"", b"<html>", b"PGDMP\x01\x0e\x00 nonsense"])
def test_what_is_no_custom_archive_fails(content: bytes, tmp_path: Path) -> None:
    report = _verify(
        tmp_path, content, VerificationLevel.INTACT, archive_format=ArchiveFormat.CUSTOM, has_filestore=False
    )

    assert list(_failures(report)) == ["members"]


def test_even_without_verification_an_archive_must_have_an_end(tmp_path: Path) -> None:
    data = odoo_zip(FILES)
    require_structure(written(tmp_path, data), _expected(data), SilentReporter())

    with pytest.raises(ArchiveError) as caught:
        require_structure(written(tmp_path, data[:-1]), _expected(data), SilentReporter())

    assert caught.value.code is ErrorCode.TRUNCATED


def test_a_vanished_file_is_the_stores_fault(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        verify_archive(str(tmp_path / "gone"), _expected(b""), VerificationLevel.INTACT, SilentReporter())


def test_large_members_are_verified_as_streams(tmp_path: Path) -> None:
    big = os.urandom(1 << 20) * 5
    sink = MemorySink()
    with ZipWriter(sink, modified_at=MOMENT, reporter=SilentReporter()) as writer:
        writer.add_stream("dump.sql", [odoo_dump([big])])
        writer.add_bytes("manifest.json", odoo_manifest())
        writer.add_bytes(f"filestore/{store_name(big)}", big, sha1=sha1(big))

    assert _verify(tmp_path, bytes(sink.data), table_rows=odoo_rows([big])).passed
