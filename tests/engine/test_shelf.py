"""The shelf holds whole archives only, whatever moment the power goes, and deletes nothing but archives."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from webapp.core.errors import NotFound, StoreError
from webapp.core.manifest import Manifest
from webapp.core.naming import archive_directory_name
from webapp.core.plans import NO_SECRET, BackupPlan, PostgresPlan
from webapp.core.status import ArchiveFormat, Content, ErrorCode
from webapp.engine.shelf import SENTINEL, Shelf, open_shelf

STARTED = datetime(2026, 11, 22, 2, 30, 4, tzinfo=UTC)


def plan(store: Path, **changes: object) -> BackupPlan:
    """A plan for run 418 of database prod."""
    made = BackupPlan(
        run_id=418,
        fence=1,
        attempt=1,
        instance_id=7,
        instance_name="acme",
        instance_directory="7-acme",
        job_id=3,
        database="prod",
        content=Content.DATABASE,
        format=ArchiveFormat.ZIP,
        source=PostgresPlan("db.example", 5432, "holdfast", NO_SECRET),
        store_directory=str(store),
        started_at=STARTED,
        reserve_bytes=0,
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def manifest(run_id: int = 418, fence: int = 1) -> Manifest:
    """A manifest for an archive named a.zip."""
    return Manifest(
        run_id=run_id,
        fence=fence,
        attempt=1,
        job_id=3,
        instance_id=7,
        instance_name="acme",
        database="prod",
        is_odoo=True,
        has_filestore=False,
        content=Content.DATABASE,
        archive_format=ArchiveFormat.ZIP,
        file_name="a.zip",
        size_bytes=7,
        sha256="0" * 64,
        started_at=STARTED.isoformat(),
        snapshot_at=STARTED.isoformat(),
        holdfast_version="0",
    )


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """A new shelf."""
    return open_shelf(str(tmp_path / "store"), create=True)


def _place(shelf: Shelf, *, run_id: int = 418, fence: int = 1, quarantined: bool = False) -> str:
    workplace = shelf.begin(plan(Path(shelf.root), run_id=run_id, fence=fence))
    Path(workplace.path("a.zip")).write_bytes(b"archive")
    name = archive_directory_name(STARTED, "prod", run_id, fence)
    return shelf.place(workplace, manifest(run_id, fence), name, quarantined=quarantined)


def test_a_store_is_made_only_when_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        open_shelf(str(tmp_path))
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    assert os.listdir(tmp_path) == []

    made = open_shelf(str(tmp_path), create=True)

    assert open_shelf(str(tmp_path)).store_id == made.store_id == open_shelf(str(tmp_path), create=True).store_id


def test_a_damaged_sentinel_is_no_sentinel(tmp_path: Path) -> None:
    (tmp_path / SENTINEL).write_text("{}")

    with pytest.raises(StoreError):
        open_shelf(str(tmp_path), create=True)


def test_an_archive_is_placed_with_its_manifest_for_our_eyes_only(shelf: Shelf) -> None:
    path = _place(shelf)

    assert path == "7-acme/20261122-023004_prod_r418f1/a.zip"
    absolute = shelf.resolve(path)
    assert Path(absolute).read_bytes() == b"archive"
    assert json.loads((Path(absolute).parent / "manifest.json").read_text()) == manifest().as_json()
    assert stat.S_IMODE(Path(absolute).parent.stat().st_mode) == 0o700
    assert shelf.list_workplaces() == []


def test_placed_archives_are_found_again(shelf: Shelf) -> None:
    first, second = _place(shelf), _place(shelf, run_id=419, fence=3, quarantined=True)

    assert [placed.relative_path for placed in shelf.list_placed()] == [first, second]
    found = shelf.find_placed(419, 3)
    assert found is not None
    assert (found.relative_path, found.quarantined, found.size_bytes) == (second, True, 7)
    assert found.manifest == manifest(419, 3)
    assert shelf.find_placed(419, 2) is None


def test_an_archive_without_a_readable_manifest_is_listed_as_such(shelf: Shelf) -> None:
    path = _place(shelf)
    side_car = Path(shelf.resolve(path)).parent / "manifest.json"
    side_car.write_text('{"format": "holdfast-archive"')

    assert [(placed.run_id, placed.manifest) for placed in shelf.list_placed()] == [(418, None)]


def test_two_workers_cannot_work_in_one_place(shelf: Shelf) -> None:
    shelf.begin(plan(Path(shelf.root)))

    with pytest.raises(StoreError):
        shelf.begin(plan(Path(shelf.root)))


def test_nothing_on_the_shelf_is_ever_replaced(shelf: Shelf) -> None:
    path = _place(shelf)

    with pytest.raises(StoreError):
        _place(shelf)

    assert Path(shelf.resolve(path)).read_bytes() == b"archive"


def test_a_zombie_with_an_old_fence_touches_nothing_of_the_new_one(shelf: Shelf) -> None:
    new = _place(shelf, fence=2)

    old = _place(shelf, fence=1)

    assert old != new
    assert shelf.exists(old)
    assert shelf.exists(new)


def test_workplaces_are_listed_and_cleared(shelf: Shelf) -> None:
    workplace = shelf.begin(plan(Path(shelf.root), run_id=5, fence=2))
    Path(workplace.path("half.zip")).write_bytes(b"half")
    (Path(shelf.root) / ".tmp" / "something else").mkdir()

    assert shelf.list_workplaces() == [(5, 2)]
    assert shelf.clear_workplace(5, 2)
    assert not shelf.clear_workplace(5, 2)
    assert shelf.list_workplaces() == []


@pytest.mark.parametrize("directory", ["", "..", ".tmp", "a/b", "quarantine", "/x", "-x"])
def test_odd_instance_directories_are_refused(shelf: Shelf, directory: str) -> None:
    with pytest.raises(StoreError):
        shelf.begin(plan(Path(shelf.root), instance_directory=directory))


def test_removing_takes_the_whole_archive_and_nothing_else(shelf: Shelf) -> None:
    first, second = _place(shelf), _place(shelf, run_id=419)

    assert shelf.remove(first)
    assert not shelf.remove(first)

    assert not shelf.exists(first)
    assert shelf.exists(second)
    assert os.listdir(Path(shelf.root) / ".trash") == []


def test_an_archive_can_be_removed_by_its_directory_too(shelf: Shelf) -> None:
    path = _place(shelf, quarantined=True)

    assert shelf.remove(os.path.dirname(path))
    assert list(shelf.list_placed()) == []


@pytest.mark.parametrize(
    "path",
    ["", ".", "..", "../other", "7-acme/../../x", "/etc/passwd", "7-acme", "7-acme/", "a\\b", "x\0y", ".tmp", ".trash"],
)
def test_nothing_else_can_be_removed(shelf: Shelf, path: str) -> None:
    kept = _place(shelf)
    Path(shelf.root, ".trash").mkdir()

    with pytest.raises(StoreError):
        shelf.remove(path)

    assert shelf.exists(kept)
    assert Path(shelf.root, ".tmp").is_dir()


def test_links_are_never_followed(shelf: Shelf, tmp_path: Path) -> None:
    outside = tmp_path / "outside" / "20261122-023004_prod_r9f1"
    outside.mkdir(parents=True)
    (outside / "a.zip").write_bytes(b"precious")
    Path(shelf.root, "link").symlink_to(tmp_path / "outside")
    Path(shelf.root, "8-real").mkdir()
    Path(shelf.root, "8-real", outside.name).symlink_to(outside)

    for path in (f"link/{outside.name}", f"8-real/{outside.name}", f"8-real/{outside.name}/a.zip"):
        with pytest.raises(StoreError):
            shelf.remove(path)

    assert list(shelf.list_placed()) == []
    assert (outside / "a.zip").read_bytes() == b"precious"


def test_missing_is_told_from_offline(shelf: Shelf) -> None:
    path = _place(shelf)
    with pytest.raises(NotFound):
        shelf.resolve("7-acme/nothing")
    assert not shelf.exists("7-acme/nothing")

    os.rename(Path(shelf.root, SENTINEL), Path(shelf.root, "elsewhere"))

    with pytest.raises(StoreError) as caught:
        shelf.exists(path)
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE


def test_trash_left_by_a_crash_is_emptied(shelf: Shelf) -> None:
    left = Path(shelf.root, ".trash", "20261122-023004_prod_r1f1.abc")
    left.mkdir(parents=True)
    (left / "a.zip").write_bytes(b"x")

    assert shelf.empty_trash() == 1
    assert shelf.empty_trash() == 0


def test_a_store_that_went_away_is_not_an_empty_one(shelf: Shelf) -> None:
    os.rename(shelf.root, shelf.root + ".unmounted")

    with pytest.raises(StoreError):
        list(shelf.list_placed())
    with pytest.raises(StoreError):
        shelf.begin(plan(Path(shelf.root)))
