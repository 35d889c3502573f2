"""Discovery finds what lies on disk, ours and others', and changes nothing there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.host_trees import make_tree
from tests.support.snapshots import store_snapshot
from webapp.core.errors import StoreError
from webapp.core.snapshot_plans import SnapshotPlace
from webapp.core.status import SnapshotLayout
from webapp.engine.snapshots.found import exists, find_promoted, list_found, time_in_name
from webapp.engine.snapshots.places import MARKER, make_partial, open_root


@pytest.fixture
def place(tmp_path: Path) -> SnapshotPlace:
    """A snapshot of ours, of run 418 with fence 2."""
    place = SnapshotPlace(str(tmp_path / "root"), "web-01", "20261122T021500Z")
    store_snapshot(make_tree(tmp_path / "source", files=5, odd=False), place, run_id=418, fence=2)
    return place


def everything(root: str) -> list[tuple[str, int, int]]:
    """Names, times and inodes below the root."""
    found = []
    for where, directories, names in os.walk(root):
        for name in (*directories, *names, "."):
            seen = os.lstat(os.path.join(where, name))
            found.append((os.path.join(where, name), seen.st_mtime_ns, seen.st_ino))
    return sorted(found)


def test_ours_is_found_with_its_manifest_and_nothing_is_written(place: SnapshotPlace) -> None:
    make_partial(place.root, place.directory, 419)
    os.makedirs(f"{place.root}/web-01/.removing/20261101T021500Z/data")
    before = everything(place.root)

    (found,) = list_found(place.root, place.directory)

    assert found.place == place
    assert found.taken_at == datetime(2026, 11, 22, 2, 15, tzinfo=UTC)
    assert found.manifest is not None
    assert found.manifest.run_id == 418
    assert (found.problem, len(found.manifest_sha256)) == ("", 64)
    assert everything(place.root) == before


def test_trees_of_another_tool_are_found_by_the_time_in_their_names_the_oldest_first(tmp_path: Path) -> None:
    for name in ("2026-11-20T02:15:00", "2026-11-19", "scheduled/20261121-021500__a1", "latest", "notes/lost"):
        os.makedirs(tmp_path / "web-01" / name / "etc")
    (tmp_path / "web-01" / "2026-11-18").write_text("a file")
    os.symlink("2026-11-19", tmp_path / "web-01" / "2026-11-17")

    found = list_found(str(tmp_path), "web-01")

    assert [each.place.name for each in found] == [
        "2026-11-19",
        "2026-11-20T02:15:00",
        "scheduled/20261121-021500__a1",
    ]
    assert {each.place.layout for each in found} == {SnapshotLayout.PLAIN}
    assert found[2].taken_at == datetime(2026, 11, 21, 2, 15, tzinfo=UTC)
    assert found[2].place.tree == f"{tmp_path}/web-01/scheduled/20261121-021500__a1"


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("20261122T021500Z", datetime(2026, 11, 22, 2, 15, tzinfo=UTC)),
        ("2026-11-22T03:15:00+01:00", datetime(2026, 11, 22, 2, 15, tzinfo=UTC)),
        ("2026-11-21T21:15:00-0500", datetime(2026, 11, 22, 2, 15, tzinfo=UTC)),
        ("2026-11-22_02-15-00", datetime(2026, 11, 22, 2, 15, tzinfo=UTC)),
        ("web-01_2026-11-22_0215", datetime(2026, 11, 22, 2, 15, tzinfo=UTC)),
        ("20261122-021500__x1y2", datetime(2026, 11, 22, 2, 15, tzinfo=UTC)),
        ("backup 2026-11-22", datetime(2026, 11, 22, tzinfo=UTC)),
        ("20261122", datetime(2026, 11, 22, tzinfo=UTC)),
        ("2026-13-22", None),
        ("2026-11-22T99:15:00", None),
        ("daily.0", None),
        ("latest", None),
        ("123456789012345", None),
    ],
)
def test_the_time_in_a_name(name: str, moment: datetime | None) -> None:
    assert time_in_name(name) == moment


@pytest.mark.parametrize(
    ("part", "text", "problem"),
    [
        ("snapshot.json", None, "no manifest"),
        ("snapshot.json", "{", "cannot be read"),
        ("snapshot.json", "{}", "not one of Holdfast's"),
        ("data", None, "no tree"),
    ],
)
def test_one_of_ours_that_is_damaged_is_shown_with_its_problem(
    place: SnapshotPlace, part: str, text: str | None, problem: str
) -> None:
    path = Path(place.path, part)
    if text is None:
        path.rename(Path(place.root, "aside"))
    else:
        path.write_text(text)

    (found,) = list_found(place.root, place.directory)

    assert found.place == place
    assert problem in found.problem
    assert found.taken_at == datetime(2026, 11, 22, 2, 15, tzinfo=UTC)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("files.list", path)])
def test_a_manifest_that_is_no_plain_file_is_a_problem_of_its_snapshot_alone(
    place: SnapshotPlace, make: Callable[[str], None]
) -> None:
    os.unlink(f"{place.path}/snapshot.json")
    make(f"{place.path}/snapshot.json")

    (found,) = list_found(place.root, place.directory)

    assert "its manifest is no plain file" in found.problem


def test_a_time_that_no_calendar_has_in_utc_is_a_problem_of_its_snapshot_alone(place: SnapshotPlace) -> None:
    path = Path(place.path, "snapshot.json")
    data = json.loads(path.read_bytes()) | {"started_at": "0001-01-01T00:00:00+14:00"}
    path.write_text(json.dumps(data))

    (found,) = list_found(place.root, place.directory)

    assert "started_at" in found.problem


def test_a_host_without_a_directory_is_told(place: SnapshotPlace) -> None:
    with pytest.raises(StoreError, match="There is no directory"):
        list_found(place.root, "web-02")


def test_a_promoted_snapshot_is_found_by_exactly_its_run_and_fence(place: SnapshotPlace) -> None:
    found = find_promoted(place.root, place.directory, 418, 2)

    assert found is not None
    assert found.place == place
    assert find_promoted(place.root, place.directory, 418, 1) is None
    assert find_promoted(place.root, place.directory, 419, 2) is None
    assert find_promoted(place.root, "web-02", 418, 2) is None


def test_missing_is_said_only_while_the_root_is_there(place: SnapshotPlace) -> None:
    gone = SnapshotPlace(place.root, place.directory, "20261101T021500Z")

    assert exists(place)
    assert not exists(gone)

    os.unlink(f"{place.root}/{MARKER}")
    with pytest.raises(StoreError):
        exists(gone)
    with pytest.raises(StoreError):
        find_promoted(place.root, place.directory, 418, 2)


def test_a_plain_one_is_there_also_below_a_root_that_another_tool_made(tmp_path: Path) -> None:
    os.makedirs(tmp_path / "web-01/scheduled/2026-11-22")
    there = SnapshotPlace(str(tmp_path), "web-01", "scheduled/2026-11-22", SnapshotLayout.PLAIN)
    gone = SnapshotPlace(str(tmp_path), "web-01", "scheduled/2026-11-21", SnapshotLayout.PLAIN)

    assert exists(there)
    with pytest.raises(StoreError):
        exists(gone)
    open_root(str(tmp_path), create=True)
    assert not exists(gone)
