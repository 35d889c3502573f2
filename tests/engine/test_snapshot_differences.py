"""Two snapshots compared: what a day changed is told, all of it and nothing else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.host_trees import change_tree, make_tree
from tests.support.rsync_snapshots import aged, snap, snap_plainly, write_list
from webapp.core.errors import ArchiveError, NotFound
from webapp.engine.snapshots.differences import ChangeKind, Differences, compare
from webapp.engine.snapshots.nodes import Kind

FIRST, SECOND = "20261122T021500Z", "20261123T021500Z"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return aged(make_tree(tmp_path / "source"))


def paths(found: Differences, kind: ChangeKind) -> set[bytes]:
    changes = getattr(found, kind.value)
    assert len(changes) == found.counts[kind]
    assert all(change.change is kind for change in changes)
    names = [os.fsencode(change.path) for change in changes]
    assert names == sorted(names)
    return {name.lstrip(b"/") for name in names}


@pytest.mark.parametrize("layouts", ["ours", "plain", "both"])
def test_a_days_changes_are_told_and_nothing_else(source: Path, tmp_path: Path, layouts: str) -> None:
    take_first = snap_plainly if layouts == "plain" else snap
    take_second = snap if layouts == "ours" else snap_plainly
    first = take_first(source, tmp_path / "root", FIRST)
    changes = change_tree(source, seed=5)
    second = take_second(source, tmp_path / "root", SECOND)

    found = compare(first, second)

    assert found.by_content is (layouts == "ours")
    assert paths(found, ChangeKind.ADDED) == set(changes.added)
    assert paths(found, ChangeKind.REMOVED) == set(changes.removed)
    changed = set(changes.changed) | (set() if layouts == "ours" else set(changes.touched))
    assert paths(found, ChangeKind.CHANGED) - directories(found) == changed
    attributes = set(changes.reowned) | (set(changes.touched) if layouts == "ours" else set())
    assert paths(found, ChangeKind.ATTRIBUTES) - directories(found) == attributes
    assert not directories(found)
    assert found.added_bytes == sum(os.lstat(os.fsencode(source) + b"/" + name).st_size for name in changes.added)


def directories(found: Differences) -> set[bytes]:
    every = (*found.changed, *found.attributes)
    return {os.fsencode(change.path).lstrip(b"/") for change in every if change.kind is Kind.DIRECTORY}


def test_a_manifest_that_nobody_can_read_leaves_size_and_time_to_compare(source: Path, tmp_path: Path) -> None:
    first = snap(source, tmp_path / "root", FIRST)
    second = snap(source, tmp_path / "root", SECOND)
    Path(first.path, "snapshot.json").write_text("[" * 100_000)

    found = compare(first, second)

    assert found.is_empty
    assert not found.by_content


def test_a_snapshot_does_not_differ_from_one_that_shares_all_with_it(source: Path, tmp_path: Path) -> None:
    first = snap(source, tmp_path / "root", FIRST)
    second = snap(source, tmp_path / "root", SECOND, base=first)

    found = compare(first, second)

    assert found.is_empty
    assert found.unchanged > 200
    assert compare(second, first).is_empty


def test_a_snapshot_that_shares_nothing_does_not_differ_either(source: Path, tmp_path: Path) -> None:
    assert compare(snap(source, tmp_path / "root", FIRST), snap(source, tmp_path / "root", SECOND)).is_empty


def test_each_sort_of_change_is_named(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("mode", "owner", "time", "content", "kind", "same"):
        (source / name).write_text("one")
        os.utime(source / name, (10**9, 10**9))
    (source / "link").symlink_to("/one")
    (source / "directory").mkdir()
    os.mknod(source / "device", 0o20600, os.makedev(1, 3))
    first = snap(source, tmp_path / "root", FIRST)
    (source / "mode").chmod(0o4711)
    os.chown(source / "owner", 1234, 5678)
    os.utime(source / "time", (10**9, 10**9 + 5))
    (source / "content").write_text("two")
    os.utime(source / "content", (10**9 + 9, 10**9 + 9))
    (source / "kind").unlink()
    (source / "kind").symlink_to("one")
    (source / "link").unlink()
    (source / "link").symlink_to("/two")
    (source / "directory").chmod(0o1777)
    (source / "device").unlink()
    os.mknod(source / "device", 0o20600, os.makedev(1, 5))
    os.utime(source / "device", (10**9, 10**9))
    second = snap(source, tmp_path / "root", SECOND, base=first)

    found = compare(first, second)

    told = {change.path: change.detail for change in (*found.changed, *found.attributes)}
    assert told["/mode"] == "mode 0644 → 4711"
    assert told["/owner"] == "owner 0:0 → 1234:5678"
    assert told["/time"] == "time"
    assert told["/kind"] == "file → symlink"
    assert told["/directory"] == "mode 0755 → 1777"
    assert told["/device"].startswith("device 1:3 → 1:5")
    assert {change.path for change in found.changed} == {"/content", "/kind", "/link", "/device"}
    assert "/same" not in told


def test_a_content_changed_unseen_is_told(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("one")
    os.utime(source / "file", (10**9, 10**9))
    first = snap(source, tmp_path / "root", FIRST)
    (source / "file").write_text("two")
    os.utime(source / "file", (10**9, 10**9))
    second = snap(source, tmp_path / "root", SECOND)

    assert [change.path for change in compare(first, second).changed] == ["/file"]


def test_the_first_are_listed_and_all_are_counted(source: Path, tmp_path: Path) -> None:
    first = snap(source, tmp_path / "root", FIRST)
    shutil.rmtree(source / "etc0")
    second = snap(source, tmp_path / "root", SECOND)

    found = compare(first, second, first=3)

    assert [change.path for change in found.removed] == ["/etc0", "/etc0/part0", "/etc0/part0/file0.conf"]
    assert found.counts[ChangeKind.REMOVED] > 10
    assert found.removed_bytes > 0


def test_a_list_that_is_damaged_or_lost_is_an_error(source: Path, tmp_path: Path) -> None:
    first, second = snap(source, tmp_path / "root", FIRST), snap(source, tmp_path / "root", SECOND)
    path = Path(second.path, "files.list")
    whole = path.read_bytes()
    records = whole.split(b"\0")

    for damaged in (whole.replace(b"/etc0", b" etc0", 1), b"\0".join([*records[5:9], *records[:5], b""])):
        path.write_bytes(damaged)
        with pytest.raises(ArchiveError):
            compare(first, second)
    path.unlink()
    with pytest.raises(ArchiveError, match="lost its list"):
        compare(first, second)
    write_list(second)
    shutil.rmtree(first.path)
    with pytest.raises(NotFound):
        compare(first, second)


def test_digests_of_two_kinds_are_not_compared(source: Path, tmp_path: Path) -> None:
    first, second = snap(source, tmp_path / "root", FIRST), snap(source, tmp_path / "root", SECOND)
    manifest = Path(second.path, "snapshot.json")
    manifest.write_text(manifest.read_text().replace('"xxh128"', '"md5"'))
    listed = Path(second.path, "files.list")
    records = listed.read_bytes().split(b"\0")
    listed.write_bytes(b"\0".join(_with_digest(record, b"0" * 32) for record in records))

    found = compare(first, second)

    assert found.is_empty
    assert not found.by_content


def _with_digest(record: bytes, digest: bytes) -> bytes:
    head, slash, path = record.partition(b"/")
    words = head.split(b" ")
    return b" ".join([*words[:-1], digest if words[-1] != b"-" else b"-"]) + slash + path
