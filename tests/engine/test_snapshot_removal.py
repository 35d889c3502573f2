"""Trees go in one step, other snapshots keep what they share, and an interrupted removal is finished by the next."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.host_trees import compare, make_tree
from tests.support.snapshots import mount_tmpfs, store_snapshot
from webapp.core.errors import StoreError, TaskStopped
from webapp.core.snapshot_plans import SnapshotPlace
from webapp.core.status import ErrorCode, SnapshotLayout
from webapp.engine.report import SilentReporter
from webapp.engine.snapshots.places import MARKER, make_partial, open_root
from webapp.engine.snapshots.removal import finish_removals, remove, remove_partial


class Stopping(SilentReporter):
    """Ends the task at the first question, which comes when the tree was put aside."""

    def check(self) -> None:
        """Stop."""
        raise TaskStopped("Stop.")


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, SnapshotPlace, SnapshotPlace]:
    """A source and two snapshots of it that share everything."""
    source = make_tree(tmp_path / "source")
    root = str(tmp_path / "root")
    first = SnapshotPlace(root, "web-01", "20261121T021500Z")
    second = SnapshotPlace(root, "web-01", "20261122T021500Z")
    store_snapshot(source, first)
    store_snapshot(source, second, run_id=2, base=first)
    return source, first, second


def names(root: str) -> list[str]:
    """What is in the host's directory, the hidden included."""
    return sorted(os.listdir(f"{root}/web-01"))


def test_a_base_goes_and_what_it_shared_stays_whole(two: tuple[Path, SnapshotPlace, SnapshotPlace]) -> None:
    source, first, second = two

    assert remove(first, SilentReporter())

    assert not os.path.exists(first.path)
    assert os.listdir(f"{first.root}/web-01/.removing") == []
    assert compare(source, Path(second.tree)) == []


def test_removing_twice_is_the_same_as_once(two: tuple[Path, SnapshotPlace, SnapshotPlace]) -> None:
    _, first, _ = two
    remove(first, SilentReporter())

    assert not remove(first, SilentReporter())


def test_an_interrupted_removal_shows_no_half_snapshot_and_is_finished_later(
    two: tuple[Path, SnapshotPlace, SnapshotPlace],
) -> None:
    _, first, _ = two

    with pytest.raises(TaskStopped):
        remove(first, Stopping())

    assert not os.path.exists(first.path)
    assert os.listdir(f"{first.root}/web-01/.removing") == [first.name]
    assert remove(first, SilentReporter())
    assert os.listdir(f"{first.root}/web-01/.removing") == []


def test_what_a_killed_removal_left_is_finished_for_the_whole_host(
    two: tuple[Path, SnapshotPlace, SnapshotPlace],
) -> None:
    _, first, second = two
    os.makedirs(f"{first.root}/web-01/.removing")
    for each in (first, second):
        os.rename(each.path, f"{first.root}/web-01/.removing/{each.name}")

    assert finish_removals(first.root, "web-01", SilentReporter()) == 2

    assert finish_removals(first.root, "web-01", SilentReporter()) == 0
    assert os.listdir(f"{first.root}/web-01/.removing") == []


def test_when_the_root_is_away_nothing_is_said_to_be_removed(two: tuple[Path, SnapshotPlace, SnapshotPlace]) -> None:
    _, first, _ = two
    os.unlink(f"{first.root}/{MARKER}")

    with pytest.raises(StoreError) as failure:
        remove(first, SilentReporter())

    assert failure.value.code is ErrorCode.STORE_UNAVAILABLE
    assert os.path.isdir(first.tree)


def test_a_dead_runs_unfinished_tree_is_removed(tmp_path: Path) -> None:
    root = open_root(str(tmp_path / "root"), create=True).path
    Path(make_partial(root, "web-01", 418), "data", "half").write_bytes(b"half")

    assert remove_partial(root, "web-01", 418, SilentReporter())

    assert os.listdir(f"{root}/web-01/.partial") == []
    assert not remove_partial(root, "web-01", 418, SilentReporter())


def test_a_plain_snapshot_one_level_deeper_is_removed_without_its_neighbours(tmp_path: Path) -> None:
    root = open_root(str(tmp_path / "root"), create=True).path
    for name in ("2026-11-21", "2026-11-22"):
        os.makedirs(f"{root}/web-01/scheduled/{name}/etc")
        os.chmod(f"{root}/web-01/scheduled/{name}/etc", 0o500)
    plain = SnapshotPlace(root, "web-01", "scheduled/2026-11-21", SnapshotLayout.PLAIN)

    assert remove(plain, SilentReporter())

    assert os.listdir(f"{root}/web-01/scheduled") == ["2026-11-22"]


def test_a_link_in_the_place_of_a_snapshot_is_not_followed(tmp_path: Path) -> None:
    root = open_root(str(tmp_path / "root"), create=True).path
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_bytes(b"precious")
    os.makedirs(f"{root}/web-01")
    os.symlink(tmp_path / "elsewhere", f"{root}/web-01/20261121T021500Z")

    with pytest.raises(StoreError, match="not removed"):
        remove(SnapshotPlace(root, "web-01", "20261121T021500Z"), SilentReporter())

    assert os.listdir(tmp_path / "elsewhere") == ["precious"]


def test_a_disk_mounted_inside_a_tree_is_left_alone(two: tuple[Path, SnapshotPlace, SnapshotPlace]) -> None:
    _, first, _ = two
    inside = Path(first.tree, "mounted")
    aside = Path(first.root, "web-01", ".removing", first.name, "data", "mounted")
    mount_tmpfs(inside)
    try:
        (inside / "precious").write_bytes(b"precious")

        with pytest.raises(StoreError) as failure:
            remove(first, SilentReporter())

        assert (aside / "precious").read_bytes() == b"precious"
        assert failure.value.code is ErrorCode.STORE_ERROR
    finally:
        for place in (inside, aside):
            subprocess.run(["umount", place], check=False, capture_output=True)
