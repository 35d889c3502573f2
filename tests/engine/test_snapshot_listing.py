"""A snapshot's list says what is in the tree, in the order of bytes, with the digest of every file, at little cost."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
import xxhash

from tests.support.host_trees import change_tree, make_tree, read_snapshot, walk
from tests.support.snapshots import list_partial, pull_locally, store_snapshot
from webapp.core.errors import ArchiveError, StoreError, TaskStopped
from webapp.core.snapshot_manifest import LIST_NAME
from webapp.core.snapshot_plans import SnapshotPlace
from webapp.engine.report import SilentReporter
from webapp.engine.snapshots.listing import BaseList, Entry, is_other, read_list, write_list
from webapp.engine.snapshots.places import make_partial, open_root
from webapp.engine.snapshots.records import LONGEST_RECORD


@pytest.fixture
def root(tmp_path: Path) -> str:
    """A backup root."""
    return open_root(str(tmp_path / "root"), create=True).path


def pulled(root: str, source: Path, run_id: int = 1, base: SnapshotPlace | None = None) -> str:
    """An unfinished snapshot of the source."""
    partial = make_partial(root, "web-01", run_id)
    pull_locally(source, f"{partial}/data", base)
    return partial


def entries_of(partial: str) -> dict[bytes, Entry]:
    """The list by path."""
    return {entry.path: entry for entry in read_list(f"{partial}/{LIST_NAME}")}


def plain_files(directory: str, count: int) -> None:
    """Small files in a directory."""
    os.makedirs(directory, exist_ok=True)
    for number in range(count):
        Path(directory, f"f{number:03}").write_bytes(b"%d" % number)


def test_a_list_has_every_entry_as_it_lies_on_disk_and_what_is_noted_of_it(root: str, tmp_path: Path) -> None:
    partial = pulled(root, make_tree(tmp_path / "source"))

    totals = list_partial(partial)

    listed = entries_of(partial)
    facts = read_snapshot(Path(partial, "data"))
    on_disk = {inside: os.lstat(path) for path, inside in walk(Path(partial, "data")) if inside != b"."}
    assert listed.keys() == on_disk.keys()
    for path, entry in listed.items():
        seen = on_disk[path]
        assert (int(entry.mode, 8), int(entry.inode)) == (seen.st_mode & 0o7777, seen.st_ino)
        assert (int(entry.uid), int(entry.gid), entry.size) == (seen.st_uid, seen.st_gid, seen.st_size)
        _, _, fraction = entry.mtime.partition(b".")
        assert fraction[:9] == b"%09d" % (seen.st_mtime_ns % 10**9)
        is_file = facts[path].kind == "file"
        assert entry.type == b"d" or is_other(entry.noted) == (not is_file)
        assert (entry.type == b"f") == (entry.digest != b"-")
    kinds = [fact.kind for path, fact in facts.items() if path != b"."]
    assert totals.file_count == kinds.count("file")
    assert totals.directory_count == kinds.count("directory")
    assert totals.other_count == len(kinds) - totals.file_count - totals.directory_count


def test_records_stand_in_the_order_of_their_paths_bytes_and_digests_are_those_of_the_contents(
    root: str, tmp_path: Path
) -> None:
    partial = pulled(root, make_tree(tmp_path / "source"))

    totals = list_partial(partial)

    listed = list(read_list(f"{partial}/{LIST_NAME}"))
    assert [entry.path for entry in listed] == sorted(entry.path for entry in listed)
    for entry in listed:
        if entry.digest != b"-":
            content = Path(os.fsdecode(os.path.join(os.fsencode(partial), b"data", entry.path))).read_bytes()
            assert entry.digest.decode() == xxhash.xxh3_128(content).hexdigest()
    text = Path(partial, LIST_NAME).read_bytes()
    assert (totals.list_sha256, totals.list_bytes) == (hashlib.sha256(text).hexdigest(), len(text))


def test_xxhsum_and_md5sum_agree_with_the_digests(root: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(b"holdfast\n")
    partial = pulled(root, source)

    list_partial(partial, digest="md5")

    said = subprocess.run(["md5sum", source / "file"], check=True, capture_output=True).stdout.split()[0]
    assert entries_of(partial)[b"file"].digest == said


def test_unchanged_files_keep_the_digest_of_the_base_and_are_not_read(root: str, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source")
    base = SnapshotPlace(root, "web-01", "20261121T021500Z")
    store_snapshot(source, base)
    changes = change_tree(source, seed=5)
    partial = pulled(root, source, 2, base)

    totals = list_partial(partial, base)

    ours, before = entries_of(partial), {entry.path: entry for entry in read_list(f"{base.path}/{LIST_NAME}")}
    new = {*changes.added, *changes.changed, *changes.touched, *changes.reowned}
    shared = [path for path in ours if path in before and ours[path].inode == before[path].inode]
    assert all(ours[path].digest == before[path].digest for path in shared)
    assert totals.new_files == len(new) == totals.digested_files
    assert {entry.path for entry in totals.new_sample} == new
    assert totals.new_bytes == sum(ours[path].size for path in new)
    assert totals.gone_files == len(changes.removed)
    assert totals.base_files == sum(entry.type == b"f" for entry in before.values())


def test_digests_of_another_kind_are_not_carried_over(root: str, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source", odd=False)
    base = SnapshotPlace(root, "web-01", "20261121T021500Z")
    store_snapshot(source, base)
    partial = pulled(root, source, 2, base)

    totals = write_list(
        f"{partial}/data",
        BaseList(f"{base.path}/{LIST_NAME}", "xxh128"),
        f"{partial}/digests.log",
        f"{partial}/{LIST_NAME}",
        digest="md5",
        reporter=SilentReporter(),
    )

    assert (totals.new_files, totals.gone_files, totals.digested_files) == (0, 0, 60)
    content = (source / "etc0/part0/file0.conf").read_bytes()
    assert entries_of(partial)[b"etc0/part0/file0.conf"].digest.decode() == hashlib.md5(content).hexdigest()


def test_a_damaged_list_of_the_base_is_left_aside_and_everything_is_read(root: str, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source", odd=False)
    base = SnapshotPlace(root, "web-01", "20261121T021500Z")
    manifest = store_snapshot(source, base)
    Path(base.path, LIST_NAME).write_bytes(b"nonsense without a slash\0")
    partial = pulled(root, source, 2, base)
    reporter = SilentReporter()

    totals = write_list(
        f"{partial}/data",
        BaseList(f"{base.path}/{LIST_NAME}", sha256=manifest.list_sha256),
        f"{partial}/digests.log",
        f"{partial}/{LIST_NAME}",
        digest="xxh128",
        reporter=reporter,
    )

    assert totals.digested_files == 60
    assert totals.list_sha256 != ""
    assert any("is damaged" in line for _, line in reporter.lines)


def test_the_log_of_the_transfer_gives_digests_the_last_of_a_path_counting(root: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    plain_files(str(source), 3)
    partial = pulled(root, source)
    first, second, wrong = b"1" * 32, b"2" * 32, b"3" * 32
    log = [first + b" 1/f001", second + b" 1/f001", wrong + b" 9/f002", wrong + b" 1/gone", first + b" 1/f000"]
    Path(partial, "digests.log").write_bytes(b"\0".join(log))  # The last one has no NUL: it was cut off.

    totals = list_partial(partial)

    listed = entries_of(partial)
    assert listed[b"f001"].digest == second
    assert listed[b"f002"].digest.decode() == xxhash.xxh3_128(b"2").hexdigest(), "of another size, so not believed"
    assert listed[b"f000"].digest.decode() == xxhash.xxh3_128(b"0").hexdigest(), "a torn record is not believed"
    assert totals.digested_files == 2


def test_names_of_one_new_file_are_counted_and_read_once(root: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_bytes(b"x" * 1000)
    for name in ("b", "c"):
        (source / name).hardlink_to(source / "a")
    partial = pulled(root, source)

    totals = list_partial(partial)

    assert (totals.new_files, totals.new_bytes, totals.total_bytes, totals.digested_files) == (3, 1000, 3000, 1)


@pytest.fixture
def grown(root: str, tmp_path: Path) -> tuple[Path, SnapshotPlace]:
    """A source of several directories, and its snapshot."""
    source = tmp_path / "source"
    for directory, count in (("srv/db", 12), ("srv/db-old", 12), ("srv/web/a/b/c/deep", 11), ("few", 9), ("etc", 30)):
        plain_files(str(source / directory), count)
    base = SnapshotPlace(root, "web-01", "20261121T021500Z")
    store_snapshot(source, base)
    return source, base


def emptied(root: str, source: Path, base: SnapshotPlace, *watched: str) -> list[tuple[bytes, int]]:
    """What the next list says is emptied."""
    return [tuple(each) for each in list_partial(pulled(root, source, 2, base), base, watched=watched).emptied]


def test_a_directory_that_lost_all_its_files_is_told(root: str, grown: tuple[Path, SnapshotPlace]) -> None:
    source, base = grown
    for path in [*(source / "srv/db").iterdir(), *(source / "few").iterdir(), *(source / "etc").iterdir()]:
        if path.name != "f007" or path.parent.name != "etc":
            path.unlink()

    assert emptied(root, source, base) == [(b"srv/db", 12)]


def test_of_directories_that_are_gone_the_topmost_is_told(root: str, grown: tuple[Path, SnapshotPlace]) -> None:
    source, base = grown
    subprocess.run(["rm", "-r", source / "srv"], check=True)

    assert emptied(root, source, base) == [(b"srv", 35)]


def test_a_deeper_directory_is_told_when_it_is_watched(root: str, grown: tuple[Path, SnapshotPlace]) -> None:
    source, base = grown
    (source / "srv/web/a/kept").write_bytes(b"kept")
    subprocess.run(["rm", "-r", source / "srv/web/a/b/c/deep"], check=True)

    assert emptied(root, source, base) == []
    assert emptied(root, source, base, "/srv/web/a/b/c/deep") == [(b"srv/web/a/b/c/deep", 11)]


def test_a_source_without_any_file_is_told(root: str, grown: tuple[Path, SnapshotPlace]) -> None:
    source, base = grown
    subprocess.run(["rm", "-r", *source.iterdir()], check=True)

    assert emptied(root, source, base) == [(b"", 74)]


def test_a_directory_in_the_place_of_a_file_counts_as_gone(root: str, grown: tuple[Path, SnapshotPlace]) -> None:
    source, base = grown
    (source / "etc/f000").unlink()
    plain_files(str(source / "etc/f000"), 1)

    totals = list_partial(pulled(root, source, 2, base), base)

    assert (totals.gone_files, totals.base_files, totals.new_files) == (1, 74, 1)


def test_a_full_disk_is_told_as_such(root: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    plain_files(str(source), 3)
    partial = pulled(root, source)

    with pytest.raises(StoreError, match="it is full"):
        write_list(f"{partial}/data", None, "/dev/null", "/dev/full", digest="xxh128", reporter=SilentReporter())


def test_a_task_that_must_end_ends_here_too(root: str, tmp_path: Path) -> None:
    class Stopping(SilentReporter):
        def check(self) -> None:
            raise TaskStopped("Stop.")

    source = tmp_path / "source"
    plain_files(str(source), 3)
    partial = pulled(root, source)

    with pytest.raises(TaskStopped):
        list_partial(partial, reporter=Stopping())


def test_a_record_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"f 600 0 0 1 1.0 5 - -/fine\0f 600 0 0/short\0")

    entries = read_list(str(tmp_path / "list"))

    assert next(entries).path == b"fine"
    with pytest.raises(ArchiveError):
        next(entries)


def test_a_record_without_end_is_not_gathered_in_memory(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"f" * (LONGEST_RECORD * 2))

    with pytest.raises(ArchiveError, match="a record that is none"):
        list(read_list(str(tmp_path / "list")))
