"""Whatever is flipped in a snapshot is found: in a file, in what is noted of it, in the list, in the manifest."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.host_trees import make_tree
from tests.support.snapshots import digests_of, list_partial, pull_locally, store_snapshot
from webapp.core.errors import InvalidInput, StoreError, TaskStopped
from webapp.core.reports import CheckState, VerificationReport
from webapp.core.snapshot_plans import SnapshotPlace
from webapp.core.status import ErrorCode, SnapshotLayout, VerificationLevel
from webapp.engine.report import SilentReporter
from webapp.engine.snapshots.places import MARKER, XATTR, make_partial, open_root
from webapp.engine.snapshots.sampling import MOST_BYTES, pick_files
from webapp.engine.snapshots.verification import sample, verify

INTACT, COMPLETE = VerificationLevel.INTACT, VerificationLevel.COMPLETE


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> SnapshotPlace:
    """A snapshot with one of everything; only copies of it are damaged."""
    directory = tmp_path_factory.mktemp("stored")
    place = SnapshotPlace(str(directory / "root"), "web-01", "20261122T021500Z")
    store_snapshot(make_tree(directory / "source", files=30), place)
    return place


@pytest.fixture
def place(stored: SnapshotPlace, tmp_path: Path) -> SnapshotPlace:
    """A copy of it for this test."""
    shutil.copytree(stored.root, tmp_path / "root", symlinks=True, dirs_exist_ok=True)
    return SnapshotPlace(str(tmp_path / "root"), stored.directory, stored.name)


def verified(place: SnapshotPlace, stored: SnapshotPlace, level: VerificationLevel = COMPLETE) -> VerificationReport:
    """The report, the catalogue's digests being those of the undamaged one."""
    return verify(place, *digests_of(stored), level, SilentReporter())


def failed_keys(report: VerificationReport) -> list[str]:
    """Which checks failed."""
    return [check.key for check in report.failed]


def first_of(place: SnapshotPlace, inside: str) -> Path:
    """A path in the tree."""
    return Path(place.tree, inside)


@pytest.mark.parametrize("level", [INTACT, COMPLETE])
def test_an_untouched_snapshot_passes(stored: SnapshotPlace, level: VerificationLevel) -> None:
    report = verified(stored, stored, level)

    assert report.passed
    assert [check.state for check in report.checks] == [CheckState.PASSED] * 4
    last = "snapshot_contents" if level is COMPLETE else "snapshot_sample"
    assert [check.key for check in report.checks] == ["snapshot_manifest", "snapshot_list", "snapshot_tree", last]


def test_a_copy_of_a_snapshot_on_another_disk_passes_as_well(place: SnapshotPlace, stored: SnapshotPlace) -> None:
    assert verified(place, stored).passed


def test_level_none_asks_nothing(stored: SnapshotPlace) -> None:
    assert verified(stored, stored, VerificationLevel.NONE).checks == ()


def flip(path: Path, source: random.Random) -> None:
    """One bit of the file, its size and time kept, as a failing disk would."""
    seen = path.stat()
    data = bytearray(path.read_bytes())
    data[source.randrange(len(data))] ^= 1 << source.randrange(8)
    path.write_bytes(data)
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def test_every_flip_in_any_file_is_found_and_named(place: SnapshotPlace, stored: SnapshotPlace) -> None:
    source = random.Random(4)
    files = [Path(where, name) for where, _, names in os.walk(place.tree) for name in names]
    files = sorted(path for path in files if path.stat().st_size and path.stat().st_nlink == 1)
    report = None
    for path in source.sample(files, 12):
        kept = path.read_bytes()
        seen = path.stat()
        flip(path, source)

        report = verified(place, stored)

        assert failed_keys(report) == ["snapshot_contents"]
        assert report.failed[0].code is ErrorCode.CORRUPT
        path.write_bytes(kept)
        os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert verified(place, stored).passed


@pytest.mark.parametrize("name", ["snapshot.json", "files.list"])
def test_every_flip_in_manifest_and_list_is_found(place: SnapshotPlace, stored: SnapshotPlace, name: str) -> None:
    path = Path(place.path, name)
    kept = path.read_bytes()
    source = random.Random(5)
    key = "snapshot_manifest" if name == "snapshot.json" else "snapshot_list"
    for _ in range(40):
        flip(path, source)

        assert key in failed_keys(verified(place, stored, INTACT))

        path.write_bytes(kept)


@pytest.mark.parametrize("size", [0, 1, 500])
@pytest.mark.parametrize("name", ["snapshot.json", "files.list"])
def test_a_cut_manifest_or_list_is_found(place: SnapshotPlace, stored: SnapshotPlace, name: str, size: int) -> None:
    os.truncate(Path(place.path, name), size)

    assert verified(place, stored, INTACT).failed


@pytest.mark.parametrize("name", ["snapshot.json", "files.list"])
def test_a_missing_manifest_or_list_is_found(place: SnapshotPlace, stored: SnapshotPlace, name: str) -> None:
    os.unlink(Path(place.path, name))

    assert verified(place, stored, INTACT).failed


def retouch(change: Callable[[Path], None]) -> Callable[[SnapshotPlace], None]:
    """The change at the file etc0/part0/file0.conf."""
    return lambda place: change(first_of(place, "etc0/part0/file0.conf"))


TAMPERING: dict[str, tuple[Callable[[SnapshotPlace], None], str]] = {
    "a file is gone": (retouch(lambda path: path.unlink()), "/etc0/part0/file0.conf"),
    "a file is cut": (retouch(lambda path: os.truncate(path, 1)), "/etc0/part0/file0.conf"),
    "a file's time is another": (retouch(lambda path: os.utime(path, (1, 1))), "/etc0/part0/file0.conf"),
    "a file's mode is another": (retouch(lambda path: path.chmod(0o707)), "/etc0/part0/file0.conf"),
    "a file became a link": (
        retouch(lambda path: (path.unlink(), path.symlink_to("/etc/passwd"))[0]),
        "/etc0/part0/file0.conf",
    ),
    "a file became a directory": (
        retouch(lambda path: (path.unlink(), path.mkdir())[0]),
        "/etc0/part0/file0.conf",
    ),
    "a file became a fifo": (retouch(lambda path: (path.unlink(), os.mkfifo(path))[0]), "/etc0/part0/file0.conf"),
    "a file is more": (lambda place: first_of(place, "etc0/planted").write_bytes(b"x") and None, "/etc0/planted"),
    "a link is more": (lambda place: first_of(place, "etc0/planted").symlink_to("/"), "/etc0/planted"),
    "a directory is gone": (lambda place: first_of(place, "odd/empty directory").rmdir(), "/odd/empty directory"),
    "a noted owner is another": (
        lambda place: os.setxattr(first_of(place, "kinds/link absolute"), XATTR, b"120777 0,0 0:1"),
        "/kinds/link absolute",
    ),
    "a noted mode has setuid": (
        lambda place: os.setxattr(first_of(place, "modes/file 0444"), XATTR, b"104755 0,0 0:0"),
        "/modes/file 0444",
    ),
    "a note is gone": (
        lambda place: os.removexattr(first_of(place, "kinds/link absolute"), XATTR),
        "/kinds/link absolute",
    ),
    "a note is nonsense": (
        lambda place: os.setxattr(first_of(place, "kinds/link absolute"), XATTR, b"nonsense"),
        "/kinds/link absolute",
    ),
}


@pytest.mark.parametrize("what", TAMPERING)
def test_whatever_is_done_to_a_tree_is_found_and_named(place: SnapshotPlace, stored: SnapshotPlace, what: str) -> None:
    tamper, named = TAMPERING[what]
    tamper(place)

    report = verified(place, stored, INTACT)

    assert "snapshot_tree" in failed_keys(report)
    assert named in next(check.detail for check in report.failed if check.key == "snapshot_tree")


def test_a_list_that_was_altered_together_with_its_tree_is_found_by_its_digest(
    place: SnapshotPlace, stored: SnapshotPlace
) -> None:
    path = first_of(place, "etc0/part0/file0.conf")
    path.unlink()
    listed = Path(place.path, "files.list").read_bytes().split(b"\0")
    kept = [record for record in listed if not record.endswith(b"/etc0/part0/file0.conf")]
    Path(place.path, "files.list").write_bytes(b"\0".join(kept))

    assert failed_keys(verified(place, stored)) == ["snapshot_list"]


def test_a_snapshot_that_is_gone_is_told_as_missing(place: SnapshotPlace, stored: SnapshotPlace) -> None:
    shutil.rmtree(place.path)

    report = verified(place, stored)

    assert [check.code for check in report.checks] == [ErrorCode.ARCHIVE_MISSING]


def test_when_the_root_is_away_nothing_is_concluded(place: SnapshotPlace, stored: SnapshotPlace) -> None:
    os.unlink(Path(place.root, MARKER))

    with pytest.raises(StoreError):
        verified(place, stored)


def test_a_plain_snapshot_cannot_be_verified(tmp_path: Path) -> None:
    root = open_root(str(tmp_path), create=True).path
    os.makedirs(f"{root}/web-01/2026-11-22/etc")

    with pytest.raises(InvalidInput, match="made by another tool"):
        verify(SnapshotPlace(root, "web-01", "2026-11-22", SnapshotLayout.PLAIN), "", "", COMPLETE, SilentReporter())


def test_a_task_that_must_end_ends_within_the_reading(stored: SnapshotPlace) -> None:
    class Stopping(SilentReporter):
        def check(self) -> None:
            raise TaskStopped("Stop.")

    with pytest.raises(TaskStopped):
        verify(stored, *digests_of(stored), COMPLETE, Stopping())


def unfinished(tmp_path: Path, source: Path, base: SnapshotPlace | None = None) -> str:
    """An unfinished snapshot."""
    root = open_root(str(tmp_path / "root"), create=True).path
    partial = make_partial(root, "web-01", 2)
    pull_locally(source, f"{partial}/data", base)
    return partial


def test_a_sample_has_new_files_and_carried_ones(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(300):
        (source / f"old {number:03}").write_bytes(b"%d" % number)
    base = SnapshotPlace(str(tmp_path / "root"), "web-01", "20261121T021500Z")
    store_snapshot(source, base)
    for number in range(40):
        (source / f"new {number:03}").write_bytes(b"%d" % number)
    partial = unfinished(tmp_path, source, base)
    totals = list_partial(partial, base)

    chosen = pick_files(f"{partial}/files.list", totals.new_sample)

    names = [entry.path[:3] for entry in chosen]
    assert len(names) == 64
    assert len({entry.path for entry in chosen}) == 64
    assert names.count(b"new") >= 32
    assert b"old" in names
    check = sample(f"{partial}/data", f"{partial}/files.list", totals, digest="xxh128", reporter=SilentReporter())
    assert (check.state, check.value) == (CheckState.PASSED, "64")


def test_a_sample_leaves_out_what_is_too_large(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with open(source / "large", "wb") as file:
        file.truncate(MOST_BYTES + 1)
    (source / "small").write_bytes(b"small")
    partial = unfinished(tmp_path, source)
    totals = list_partial(partial)

    assert [entry.path for entry in pick_files(f"{partial}/files.list", totals.new_sample)] == [b"small"]


def test_a_sample_that_reads_otherwise_fails(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("a", "b"):
        (source / name).write_bytes(b"content")
    partial = unfinished(tmp_path, source)
    totals = list_partial(partial)
    flip(Path(partial, "data", "b"), random.Random(1))

    check = sample(f"{partial}/data", f"{partial}/files.list", totals, digest="xxh128", reporter=SilentReporter())

    assert (check.state, check.code) == (CheckState.FAILED, ErrorCode.CORRUPT)
    assert "1 of 2 files" in check.detail
    assert "/b" in check.detail


def test_an_empty_tree_has_nothing_to_sample(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    partial = unfinished(tmp_path, tmp_path / "source")
    totals = list_partial(partial)

    check = sample(f"{partial}/data", f"{partial}/files.list", totals, digest="xxh128", reporter=SilentReporter())

    assert check.state is CheckState.PASSED
