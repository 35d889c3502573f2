"""A snapshot comes into being in one step, on a disk that may be full, and what is promoted is never touched again (F34)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.host_trees import compare, make_tree
from tests.support.snapshots import list_partial, manifest_of, pull_locally, small_disk, store_snapshot
from webapp.core.errors import StoreError
from webapp.core.snapshot_plans import SnapshotPlace
from webapp.core.status import ErrorCode
from webapp.engine.durable import rename_new
from webapp.engine.snapshots.places import DIGESTS_LOG, MARKER, PLAN_FILE, make_partial, open_root, partial_path
from webapp.engine.snapshots.promotion import promote, write_manifest

NAME = "20261122T021500Z"


@pytest.fixture
def place(tmp_path: Path) -> SnapshotPlace:
    """Where the snapshot shall lie."""
    return SnapshotPlace(open_root(str(tmp_path / "root"), create=True).path, "web-01", NAME)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small tree of ordinary files."""
    return make_tree(tmp_path / "source", files=20, odd=False)


def prepare(place: SnapshotPlace, source: Path, run_id: int = 1) -> str:
    """Everything but the promotion."""
    partial = make_partial(place.root, place.directory, run_id)
    pull_locally(source, f"{partial}/data")
    write_manifest(place.root, place.directory, run_id, manifest_of(place, list_partial(partial)))
    return partial


def test_a_promoted_snapshot_is_the_source_as_it_was_and_nothing_else(place: SnapshotPlace, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "odd source")
    partial = prepare(place, source)
    for name in (DIGESTS_LOG, PLAN_FILE):
        Path(partial, name).write_bytes(b"of the run only")

    promote(place.root, place.directory, 1, place.name)

    assert compare(source, Path(place.tree)) == []
    assert sorted(os.listdir(place.path)) == ["data", "files.list", "snapshot.json"]
    assert not os.path.exists(partial)


def test_what_is_there_is_never_replaced(place: SnapshotPlace, source: Path) -> None:
    partial = prepare(place, source)
    os.makedirs(place.path)

    with pytest.raises(StoreError, match="already") as failure:
        promote(place.root, place.directory, 1, place.name)

    assert failure.value.permanent
    assert os.listdir(place.path) == []
    assert os.path.isdir(f"{partial}/data")


@pytest.mark.parametrize("missing", ["files.list", "snapshot.json", "data"])
def test_without_a_part_nothing_is_promoted(place: SnapshotPlace, source: Path, missing: str) -> None:
    partial = prepare(place, source)
    os.rename(f"{partial}/{missing}", f"{place.root}/aside")

    with pytest.raises(StoreError, match=f"{missing} should be in it"):
        promote(place.root, place.directory, 1, place.name)

    assert not os.path.exists(place.path)


def test_with_something_else_in_it_nothing_is_promoted(place: SnapshotPlace, source: Path) -> None:
    partial = prepare(place, source)
    Path(partial, "extra").write_bytes(b"")

    with pytest.raises(StoreError, match="extra should not be in it"):
        promote(place.root, place.directory, 1, place.name)


def test_a_root_that_went_away_gets_nothing(place: SnapshotPlace, source: Path) -> None:
    prepare(place, source)
    os.unlink(f"{place.root}/{MARKER}")

    with pytest.raises(StoreError) as failure:
        promote(place.root, place.directory, 1, place.name)

    assert failure.value.code is ErrorCode.STORE_UNAVAILABLE
    assert not os.path.exists(place.path)


def test_a_rename_that_replaces_nothing(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()

    with pytest.raises(FileExistsError):
        rename_new(str(tmp_path / "one"), str(tmp_path / "two"))
    with pytest.raises(FileNotFoundError):
        rename_new(str(tmp_path / "missing"), str(tmp_path / "three"))
    rename_new(str(tmp_path / "one"), str(tmp_path / "three"))

    assert sorted(os.listdir(tmp_path)) == ["three", "two"]


_PROMOTE = """
import sys
from webapp.core.errors import StoreError
from webapp.engine.snapshots.promotion import promote
try:
    promote(sys.argv[1], "web-01", 1, sys.argv[2])
except StoreError as error:
    sys.exit(f"{error.code.value}: {error.message}")
"""


@pytest.mark.parametrize("call", ["syncfs", "renameat2", "fsync", "fsync:2"])
def test_f34_a_disk_that_errs_at_any_step_leaves_no_snapshot_and_all_that_came(
    place: SnapshotPlace, source: Path, call: str
) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is needed to let the disk err")
    partial = prepare(place, source)
    Path(partial, PLAN_FILE).write_bytes(b"{}")
    name, _, which = call.partition(":")
    words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={name}:error=EIO:when={which or '1'}"]

    ended = subprocess.run(
        [*words, sys.executable, "-c", _PROMOTE, place.root, place.name], capture_output=True, text=True, check=False
    )

    if "ptrace" in ended.stderr or "Operation not permitted" in ended.stderr:
        pytest.skip("programs cannot be traced here")
    assert "store_error: Could not" in ended.stderr
    assert not os.path.exists(place.path)
    assert compare(source, Path(partial, "data")) == []


def facts_of(tree: str) -> dict[str, tuple[int, bytes]]:
    """Inode and content of every file."""
    return {
        os.path.join(where, name): (os.lstat(os.path.join(where, name)).st_ino, Path(where, name).read_bytes())
        for where, _, names in os.walk(tree)
        for name in names
    }


def test_f34_a_disk_without_inodes_fails_the_list_and_leaves_the_promoted_one_alone(
    source: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "size=32m,nr_inodes=90") as disk:
        base = SnapshotPlace(str(disk), "web-01", "20261121T021500Z")
        store_snapshot(source, base)
        before = facts_of(base.path)
        for number in range(200):
            (source / f"more {number}").write_bytes(b"more")
        partial = make_partial(str(disk), "web-01", 2)

        with pytest.raises(subprocess.CalledProcessError):
            pull_locally(source, f"{partial}/data", base)
        with pytest.raises(StoreError) as failure:
            list_partial(partial, base)

        assert failure.value.code is ErrorCode.DISK_FULL
        assert facts_of(base.path) == before
        assert not os.path.exists(f"{disk}/web-01/{NAME}")


def test_f34_a_disk_that_turned_read_only_promotes_nothing_and_leaves_the_promoted_one_alone(
    source: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "size=32m") as disk:
        base = SnapshotPlace(str(disk), "web-01", "20261121T021500Z")
        store_snapshot(source, base)
        before = facts_of(base.path)
        place = SnapshotPlace(str(disk), "web-01", NAME)
        prepare(place, source, 2)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)

        with pytest.raises(StoreError, match="Read-only") as failure:
            promote(str(disk), "web-01", 2, NAME)

        assert failure.value.code is ErrorCode.STORE_UNAVAILABLE
        assert not os.path.exists(place.path)
        assert os.path.isdir(partial_path(str(disk), "web-01", 2))
        assert facts_of(base.path) == before
