"""Whole backups over HTTP, from the server to the shelf: honest ones are kept and verified, all others leave nothing."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support import http_faults as faults
from tests.support.odoo_database import build_odoo_database
from tests.support.odoo_failures import FAILURES, Failure, failing_server
from tests.support.odoo_like import Database, OdooLike
from tests.support.odoo_runs import backup_plan, custom, source_for
from tests.support.odoo_zip import attachments, dump_sql, odoo_zip
from tests.support.postgres import running_server
from webapp.core.errors import HoldfastError
from webapp.core.plans import BackupPlan
from webapp.core.reports import BackupResult
from webapp.core.status import ErrorCode, VerificationLevel
from webapp.engine import backup
from webapp.engine.report import SilentReporter
from webapp.engine.shelf import Shelf, open_shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """An empty store."""
    return open_shelf(str(tmp_path / "store"), create=True)


def _plan(odoo: OdooLike, shelf: Shelf, **changes: Any) -> BackupPlan:
    return replace(backup_plan(odoo, **changes), store_directory=shelf.root, reserve_bytes=0)


def _back_up(odoo: OdooLike, shelf: Shelf, **changes: Any) -> BackupResult:
    return backup.run(_plan(odoo, shelf, **changes), source_for(odoo), SilentReporter())


def _nothing_is_left(shelf: Shelf) -> bool:
    return not list(shelf.list_placed()) and not shelf.list_workplaces()


@pytest.mark.parametrize("workers", [True, False], ids=["prefork", "threaded"])
@pytest.mark.parametrize("version", ["15.0", "16.0", "17.0", "18.0", "19.0", "dev"])
def test_an_honest_zip_is_kept_and_verified(shelf: Shelf, version: str, workers: bool) -> None:
    with OdooLike(version=version, workers=workers) as odoo:
        result = _back_up(odoo, shelf)

        assert not result.quarantined
        assert result.report is not None
        assert result.report.passed
        assert not result.report.warnings
        assert Path(shelf.resolve(result.relative_path)).read_bytes() == odoo.databases["prod"].zip_bytes


@pytest.mark.parametrize("level", [VerificationLevel.COMPLETE, VerificationLevel.NONE])
@pytest.mark.parametrize("failure", FAILURES, ids=[failure.id for failure in FAILURES])
def test_no_scripted_failure_leaves_an_archive(failure: Failure, level: VerificationLevel, shelf: Shelf) -> None:
    with failing_server(failure) as odoo:
        plan = _plan(odoo, shelf, **{**failure.plan, "verification": level})

        with pytest.raises(HoldfastError) as caught:
            backup.run(plan, source_for(odoo, **failure.source), SilentReporter())

    assert caught.value.code is failure.code
    assert caught.value.hint
    assert _nothing_is_left(shelf)


@pytest.mark.parametrize("at", sorted(random.Random(5).sample(range(1, len(odoo_zip())), 25)))
def test_no_cut_leaves_an_archive_even_unverified(at: int, shelf: Shelf) -> None:
    with OdooLike(backup=faults.cut(at)) as odoo, pytest.raises(HoldfastError) as caught:
        _back_up(odoo, shelf, verification=VerificationLevel.NONE)

    assert caught.value.code is ErrorCode.TRUNCATED
    assert _nothing_is_left(shelf)


FILES = attachments(6)
DUMP = dump_sql(FILES)
WITHOUT_ONE = dict(list(FILES.items())[1:])
CHANGED = {**FILES, next(iter(FILES)): b"something else"}
CONTENTS: Mapping[str, tuple[bytes, ErrorCode]] = {
    "no trailer": (odoo_zip(dump=DUMP[:-90], files=FILES), ErrorCode.INCOMPLETE),
    "half a dump": (odoo_zip(dump=DUMP[: len(DUMP) // 2], files=FILES), ErrorCode.INCOMPLETE),
    "empty dump": (odoo_zip(dump=b"", files=FILES), ErrorCode.INCOMPLETE),
    "no tables": (odoo_zip(dump=dump_sql({}).replace(b"CREATE TABLE", b"-- "), files={}), ErrorCode.INCOMPLETE),
    "another database": (odoo_zip("other", files=FILES), ErrorCode.INCOMPLETE),
}


@pytest.mark.parametrize("case", CONTENTS)
def test_a_whole_zip_with_the_wrong_contents_does_not_count(case: str, shelf: Shelf) -> None:
    """F07: Odoo itself would call each of these a success."""
    with OdooLike(databases={"prod": Database(CONTENTS[case][0])}) as odoo:
        result = _back_up(odoo, shelf)

    assert result.quarantined
    assert result.report is not None
    assert CONTENTS[case][1] in [check.code for check in result.report.failed]


@pytest.mark.parametrize("files", [WITHOUT_ONE, CHANGED], ids=["missing", "changed"])
def test_attachments_that_odoo_left_out_are_never_passed_over(files: Mapping[str, bytes], shelf: Shelf) -> None:
    """F08: Odoo copies the filestore before it dumps, so a busy server's zip lacks files."""
    with OdooLike(databases={"prod": Database(odoo_zip(dump=DUMP, files=files))}) as odoo:
        result = _back_up(odoo, shelf)

    assert result.report is not None
    found = [*result.report.failed, *result.report.warnings]
    assert [check.key for check in found] == ["attachments"]
    assert found[0].hint


def test_two_instances_with_the_same_database_name_keep_apart(shelf: Shelf) -> None:
    """F15: archives lie below their instance."""
    with OdooLike() as one, OdooLike() as other:
        first = _back_up(one, shelf)
        second = _back_up(other, shelf, instance_id=2, instance_directory="2-beta", run_id=2)

    assert first.relative_path.split("/")[0] != second.relative_path.split("/")[0]


@pytest.fixture(scope="module")
def real_dump(tmp_path_factory: pytest.TempPathFactory) -> Iterator[bytes]:
    """A custom-format dump that pg_dump made."""
    with running_server() as server:
        build_odoo_database(server, "prod", tmp_path_factory.mktemp("filestore"), rows=60, files=5)
        server.execute("CREATE TABLE IF NOT EXISTS res_company (id integer PRIMARY KEY, name text)", "prod")
        argv = [str(server.binaries / "pg_dump"), "--format=custom", "--no-owner"]
        yield subprocess.run(argv, env=server.environment("prod"), capture_output=True, check=True).stdout


def test_an_honest_custom_dump_is_kept_and_verified(shelf: Shelf, real_dump: bytes) -> None:
    with OdooLike(databases={"prod": Database(b"", custom_bytes=real_dump)}) as odoo:
        result = _back_up(odoo, shelf, **custom())

    assert not result.quarantined
    assert result.report is not None
    assert result.report.passed


@pytest.mark.parametrize("part", [random.Random(number).random() for number in range(40)])
@pytest.mark.parametrize("level", [VerificationLevel.COMPLETE, VerificationLevel.NONE])
def test_a_pg_dump_that_dies_inside_odoo_leaves_no_archive(
    shelf: Shelf, real_dump: bytes, part: float, level: VerificationLevel
) -> None:
    """F06: status 200, and the connection ends as it always does."""
    half = real_dump[: int(len(real_dump) * part)]
    with (
        OdooLike(databases={"prod": Database(b"", custom_bytes=half)}) as odoo,
        pytest.raises(HoldfastError) as caught,
    ):
        _back_up(odoo, shelf, **custom(verification=level))

    assert caught.value.hint
    assert _nothing_is_left(shelf)
