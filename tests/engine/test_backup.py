"""A backup ends with a whole, verified archive on the shelf, or with an error and nothing left behind."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.archives import odoo_dump, odoo_rows, odoo_zip, store_name
from tests.support.backup_once import FACTS, FILES, MemorySource, plan
from webapp.core.errors import ArchiveError, HoldfastError, SourceError, StoreError, TaskStopped
from webapp.core.manifest import parse_manifest
from webapp.core.plans import NO_SECRET, OdooHttpPlan
from webapp.core.status import ErrorCode, VerificationLevel
from webapp.engine import backup
from webapp.engine.report import SilentReporter
from webapp.engine.shelf import Shelf, open_shelf
from webapp.engine.verify import expectation_of_manifest, verify_archive


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """A new shelf."""
    return open_shelf(str(tmp_path / "store"), create=True)


def _leftovers(shelf: Shelf) -> list[str]:
    found = []
    for directory, _, files in os.walk(shelf.root):
        found += [os.path.relpath(os.path.join(directory, name), shelf.root) for name in files]
    return sorted(found)


def test_a_backup_lies_on_the_shelf_verified_with_its_manifest(shelf: Shelf) -> None:
    reporter = SilentReporter()

    result = backup.run(plan(shelf.root), MemorySource(), reporter)

    assert result.report is not None
    assert result.report.passed
    assert not result.quarantined
    assert reporter.steps == ["prepare", "dump", "verify", "store"]
    placed = shelf.find_placed(418, 1)
    assert placed is not None
    assert (placed.relative_path, placed.size_bytes) == (result.relative_path, result.size_bytes)
    assert placed.manifest == parse_manifest(result.manifest)
    assert result.relative_path == "7-acme/20261122-023004_prod_r418f1/20261122-023004_prod.zip"
    assert Path(shelf.resolve(result.relative_path)).read_bytes() == odoo_zip(FILES)
    assert shelf.list_workplaces() == []


def test_a_stored_archive_can_be_verified_again_from_its_manifest(shelf: Shelf) -> None:
    result = backup.run(plan(shelf.root), MemorySource(), SilentReporter())
    placed = shelf.find_placed(418, 1)
    assert placed is not None
    assert placed.manifest is not None
    path = shelf.resolve(result.relative_path)
    expectation = expectation_of_manifest(placed.manifest)

    assert verify_archive(path, expectation, VerificationLevel.COMPLETE, SilentReporter()).passed
    with open(path, "r+b") as file:
        file.seek(100)
        file.write(b"\xff")
    assert not verify_archive(path, expectation, VerificationLevel.INTACT, SilentReporter()).passed


def test_an_archive_that_fails_is_put_apart(shelf: Shelf) -> None:
    facts = dataclasses.replace(FACTS, table_rows=odoo_rows(FILES) | {"public.res_users": 3})

    result = backup.run(plan(shelf.root), MemorySource(facts=facts), SilentReporter())

    assert result.quarantined
    assert result.relative_path.startswith("quarantine/7-acme/")
    assert result.manifest["verification"]["passed"] is False
    assert shelf.exists(result.relative_path)
    assert [placed.quarantined for placed in shelf.list_placed()] == [True]


def test_warnings_of_the_verification_are_told(shelf: Shelf) -> None:
    name = store_name(FILES[0])
    facts = dataclasses.replace(FACTS, missing_attachments=(name,), missing_attachment_count=1)
    reporter = SilentReporter()

    result = backup.run(plan(shelf.root), MemorySource(odoo_zip(FILES[1:], dump=odoo_dump(FILES)), facts), reporter)

    assert not result.quarantined
    assert [code for code, _ in reporter.warnings] == [ErrorCode.ATTACHMENTS_MISSING]
    assert result.manifest["missing_attachments"] == [name]


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    "error",
    [
        SourceError("pg_dump was killed."),
        ArchiveError("Cut.", code=ErrorCode.TRUNCATED),
        TaskStopped("Cancelled."),
        KeyboardInterrupt(),
        SystemExit(1),
        RuntimeError("a defect"),
    ],
)
def test_nothing_is_left_when_the_source_fails(shelf: Shelf, error: BaseException) -> None:
    before = _leftovers(shelf)

    with pytest.raises(type(error)):
        backup.run(plan(shelf.root), MemorySource(afterwards=lambda: _raise(error)), SilentReporter())

    assert _leftovers(shelf) == before
    assert shelf.list_workplaces() == []


class _StopsAfter(SilentReporter):
    def __init__(self, checks: int) -> None:
        super().__init__()
        self.left = checks

    def check(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise TaskStopped("Cancelled.")


def test_a_cancel_at_any_moment_leaves_all_or_nothing(shelf: Shelf) -> None:
    before = _leftovers(shelf)
    for checks in range(1000):
        try:
            backup.run(plan(shelf.root), MemorySource(), _StopsAfter(checks))
            break
        except TaskStopped:
            assert _leftovers(shelf) == before

    assert checks > 5
    assert len(list(shelf.list_placed())) == 1


@pytest.mark.parametrize("level", list(VerificationLevel))
@pytest.mark.parametrize("data", [odoo_zip(FILES)[:-30], b"<html>Access Denied</html>", b"PK"])
def test_a_cut_archive_is_an_error_at_every_level(shelf: Shelf, level: VerificationLevel, data: bytes) -> None:
    with pytest.raises(ArchiveError):
        backup.run(plan(shelf.root, verification=level), MemorySource(data), SilentReporter())

    assert _leftovers(shelf) == [".holdfast-store"]


def test_without_verification_there_is_no_report(shelf: Shelf) -> None:
    result = backup.run(plan(shelf.root, verification=VerificationLevel.NONE), MemorySource(), SilentReporter())

    assert result.report is None
    assert result.manifest["verification"] is None


@pytest.mark.parametrize("changes", [{"reserve_bytes": 1 << 60}, {"expected_bytes": 1 << 60}])
def test_too_little_room_is_told_before_the_source_is_asked(shelf: Shelf, changes: dict[str, int]) -> None:
    with pytest.raises(StoreError) as caught:
        backup.run(
            plan(shelf.root, **changes), MemorySource(afterwards=lambda: pytest.fail("was asked")), SilentReporter()
        )

    assert caught.value.code is ErrorCode.DISK_FULL
    assert _leftovers(shelf) == [".holdfast-store"]


def test_a_body_that_is_too_large_is_refused(shelf: Shelf) -> None:
    with pytest.raises(SourceError) as caught:
        backup.run(plan(shelf.root, largest_bytes=500), MemorySource(), SilentReporter())

    assert caught.value.code is ErrorCode.TOO_LARGE
    assert shelf.list_workplaces() == []


def test_a_store_that_is_not_mounted_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        backup.run(plan(str(tmp_path)), MemorySource(), SilentReporter())

    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    assert os.listdir(tmp_path) == []


def test_odoo_over_http_needs_no_row_counts(shelf: Shelf) -> None:
    odoo = plan(shelf.root, source=OdooHttpPlan("https://odoo.example", NO_SECRET))
    facts = dataclasses.replace(FACTS, table_rows=None, attachment_count=None)

    result = backup.run(odoo, MemorySource(facts=facts), SilentReporter())

    assert not result.quarantined
    assert result.manifest["table_rows"] is None


def test_a_second_attempt_with_a_new_fence_stands_beside_the_first(shelf: Shelf) -> None:
    backup.run(plan(shelf.root), MemorySource(), SilentReporter())

    backup.run(plan(shelf.root, fence=2), MemorySource(), SilentReporter())

    assert [placed.fence for placed in shelf.list_placed()] == [1, 2]


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a small tmpfs cannot be mounted here")
    try:
        shelf = open_shelf(str(place), create=True)
        with pytest.raises(HoldfastError) as caught:
            backup.run(plan(str(place)), MemorySource(odoo_zip([os.urandom(2_000_000)])), SilentReporter())
        assert caught.value.code is ErrorCode.DISK_FULL
        assert _leftovers(shelf) == [".holdfast-store"]
    finally:
        subprocess.run(["umount", place], check=True)


KILLED_AT = "mkdir,rename,renameat2,fsync,unlink,unlinkat,rmdir,ftruncate"


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.timeout(180)
def test_a_kill_at_any_step_of_the_commit_leaves_a_whole_archive_or_none(tmp_path: Path) -> None:
    for point in range(1, 60):
        store = tmp_path / str(point)
        shelf = open_shelf(str(store), create=True)
        program = [sys.executable, "-B", "-m", "tests.support.backup_once", str(store)]
        inject = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={KILLED_AT}"]
        inject += ["-e", f"inject={KILLED_AT}:signal=KILL:when={point}"]
        ended = subprocess.run([*inject, *program], capture_output=True, check=False).returncode
        for placed in shelf.list_placed():
            assert placed.manifest is not None, point
            path = shelf.resolve(placed.relative_path)
            expectation = expectation_of_manifest(placed.manifest)
            assert verify_archive(path, expectation, VerificationLevel.COMPLETE, SilentReporter()).passed, point
        if ended == 0:
            break
        assert ended in (-signal.SIGKILL, 128 + signal.SIGKILL)
        # What a dead run leaves is cleared by its run and fence, and then nothing of it is left.
        shelf.clear_workplace(418, 1)
        assert [name for name in _leftovers(shelf) if name.startswith(".tmp")] == []

    assert ended == 0
    assert point > 8
