"""A snapshot is shown as the host had it, whatever its names and kinds, and nobody gets out of its tree."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.host_trees import Fact, make_tree, read_source
from tests.support.rsync_snapshots import aged, snap, snap_plainly
from webapp.core.errors import ArchiveError, NotFound
from webapp.core.snapshot_plans import SnapshotPlace
from webapp.engine.snapshots.nodes import Kind, Node
from webapp.engine.snapshots.search import BLOCK_BYTES, search
from webapp.engine.snapshots.tree import find_node, list_directory, open_file, opened_tree, walk


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return aged(make_tree(tmp_path_factory.mktemp("source")))


@pytest.fixture(scope="module", params=["ours", "plain"])
def place(request: pytest.FixtureRequest, source: Path, tmp_path_factory: pytest.TempPathFactory) -> SnapshotPlace:
    root = tmp_path_factory.mktemp("root")
    return (snap if request.param == "ours" else snap_plainly)(source, root, "20261122T021500Z")


def everything(place: SnapshotPlace, path: str = "/") -> list[Node]:
    listing = list_directory(place, path, limit=10_000)
    assert listing.total == len(listing.entries)
    found = [listing.directory] if path == "/" else []
    for node in listing.entries:
        found.append(node)
        if node.is_directory:
            found += everything(place, node.path)
    return found


def fact_of(node: Node) -> tuple[object, ...]:
    content = ""
    if node.kind is Kind.SYMLINK:
        content = repr(os.fsencode(node.target))
    elif "device" in node.kind.value:
        content = f"{node.device[0]},{node.device[1]}"
    return node.kind.value.replace("_", " "), node.mode, node.uid, node.gid, node.mtime_ns, content


def wanted(fact: Fact) -> tuple[object, ...]:
    content = "" if fact.kind == "file" else fact.content
    return fact.kind, fact.mode, fact.uid, fact.gid, fact.mtime_ns, content


def test_every_name_is_shown_as_the_host_had_it(place: SnapshotPlace, source: Path) -> None:
    expected = read_source(source)

    found = {os.fsencode(node.path).lstrip(b"/") or b".": node for node in everything(place)}

    assert found.keys() == expected.keys()
    assert {name: fact_of(node) for name, node in found.items()} == {
        name: wanted(fact) for name, fact in expected.items()
    }


def test_every_file_is_handed_out_whole(place: SnapshotPlace, source: Path) -> None:
    files = [node for node in everything(place) if node.is_file]
    assert len(files) > 100

    for node in files:
        file, size = open_file(place, node.path)
        with file:
            content = file.read()
        assert size == len(content) == node.size_bytes
        assert content == Path(f"{source}{node.path}").read_bytes()


def test_what_was_no_file_is_not_handed_out(place: SnapshotPlace) -> None:
    for name in ("link absolute", "link upwards", "link newline", "fifo", "null", "disk", "socket"):
        with pytest.raises(NotFound, match="not a file"):
            open_file(place, f"/kinds/{name}")


@pytest.mark.parametrize(
    "path",
    [
        "/..",
        "/../data",
        "/etc0/../../../../etc/passwd",
        "..",
        "/kinds/link absolute/x",
        "/kinds/link directory/part0",
        "/kinds/link upwards",
        "/nothing",
        "/kinds/fifo",
        "/nul\0byte",
        "/\ud800",
        "/" + "x" * 300,
        "/" + "x/" * 3000,
    ],
)
def test_no_path_leads_out_of_the_tree(place: SnapshotPlace, path: str) -> None:
    with pytest.raises(NotFound):
        list_directory(place, path)
    if path != "/kinds/link upwards" and path != "/kinds/fifo":
        with pytest.raises(NotFound):
            find_node(place, path)


def test_odd_spellings_of_a_path_are_the_same_directory(place: SnapshotPlace) -> None:
    assert list_directory(place, "/etc0/") == list_directory(place, "etc0/.") == list_directory(place, "//etc0")


def test_pages_of_a_directory_are_together_the_whole(place: SnapshotPlace) -> None:
    whole = list_directory(place, "/odd", limit=1000)

    pages = [list_directory(place, "/odd", offset=at, limit=7) for at in range(0, whole.total, 7)]

    assert tuple(node for page in pages for node in page.entries) == whole.entries
    kinds = [node.is_directory for node in whole.entries]
    assert kinds == sorted(kinds, reverse=True)
    assert list_directory(place, "/odd", offset=10_000).entries == ()


def test_a_walk_comes_in_the_order_of_the_paths_bytes_when_asked(place: SnapshotPlace) -> None:
    with opened_tree(place) as root:
        by_path = [walked.path for walked in walk(root, [], by_path=True)]
        by_tree = [walked.path for walked in walk(root, [])]

    assert by_path == sorted(by_path)
    assert sorted(by_tree) == by_path
    for index, path in enumerate(by_tree):  # All that is in a directory follows it without a gap.
        inside = [number for number, other in enumerate(by_tree) if other.startswith(path + b"/")]
        assert inside == list(range(index + 1, index + 1 + len(inside)))


def test_a_tree_deeper_than_a_process_may_have_files_open_is_walked(tmp_path: Path) -> None:
    place = SnapshotPlace(str(tmp_path), "web-01", "20261122T021500Z")
    os.makedirs(place.tree)
    descriptor = os.open(place.tree, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=descriptor)
        deeper = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = deeper
    os.close(descriptor)

    with opened_tree(place) as root:
        seen = [(walked.path, len(os.listdir("/proc/self/fd"))) for walked in walk(root, [])]
    subprocess.run(["rm", "-rf", place.tree], check=True)  # Too deep for pytest, which removes old directories.

    assert seen[-1][0] == b"/".join([b"d"] * 1500)
    assert len(seen) == 1500
    assert max(count for _, count in seen) < min(count for _, count in seen) + 80


def test_a_snapshot_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="20261122T021500Z is not on disk"):
        list_directory(SnapshotPlace(str(tmp_path), "web-01", "20261122T021500Z"))


def test_a_link_in_place_of_the_tree_is_not_followed(tmp_path: Path) -> None:
    place = SnapshotPlace(str(tmp_path), "web-01", "20261122T021500Z")
    os.makedirs(place.path)
    os.symlink("/etc", place.tree)

    with pytest.raises(NotFound):
        list_directory(place)


@pytest.mark.parametrize(
    "noted", [b"", b"nonsense", b"100644", b"40755 0,0 0:0", b"177777 0,0 0:0", b"-1 0,0 0:0", b"100644 0,0 0:0 more"]
)
def test_a_note_that_rsync_never_writes_is_not_believed(tmp_path: Path, noted: bytes) -> None:
    place = SnapshotPlace(str(tmp_path), "web-01", "20261122T021500Z")
    os.makedirs(place.tree)
    file = Path(place.tree, "file")
    file.write_bytes(b"content")
    file.chmod(0o600)
    os.setxattr(file, "user.rsync.%stat", noted)

    node = find_node(place, "/file")

    assert (node.kind, node.mode) == (Kind.FILE, 0o600)


def test_names_are_found_by_a_part_of_their_path(place: SnapshotPlace) -> None:
    found = [node.path for node in search(place, "PART0/File1")]

    assert found
    assert found == sorted(found)
    assert all("part0/file1" in path.lower() for path in found)
    assert [node.path for node in search(place, "fifo")] == ["/kinds/fifo"]
    assert search(place, "fifo")[0].kind is Kind.FIFO


def test_names_are_found_by_a_pattern(place: SnapshotPlace) -> None:
    files = search(place, "file?.conf", 1000)
    assert len(files) == 10
    assert {node.name for node in files} == {f"file{number}.conf" for number in range(10)}
    assert [node.path for node in search(place, "/links/*/first 2")] == ["/links/one/first 2"]
    assert [node.path for node in search(place, "[bracket?")] == ["/odd/[bracket]"]


def test_a_search_looks_at_paths_alone_and_stops_at_its_limit(place: SnapshotPlace) -> None:
    assert len(search(place, "file", 5)) == 5
    assert search(place, "") == search(place, "\ud800") == []
    assert search(place, "not there at all") == []
    assert all("600" in node.path for node in search(place, "600", 1000))  # Modes in the list do not count.


def test_a_list_that_names_what_is_outside_the_tree_finds_nothing_there(source: Path, tmp_path: Path) -> None:
    place = snap(source, tmp_path, "20261122T021500Z")
    Path(place.tree, "..", "secret").write_text("outside")
    with open(f"{place.path}/files.list", "ab") as file:
        for path in (b"../secret", b"kinds/../../secret", b"/../secret"):
            file.write(b"f 600 0 0 7 1.0 1 - " + 32 * b"a" + b"/" + path + b"\0")

    assert search(place, "secret") == []


@pytest.mark.parametrize("text", ["file", "file*"])
def test_a_list_of_something_else_is_told_and_not_kept_in_memory(source: Path, tmp_path: Path, text: str) -> None:
    place = snap(source, tmp_path, "20261122T021500Z")
    with open(f"{place.path}/files.list", "wb") as file:
        file.write(8 * BLOCK_BYTES * b"x")

    with pytest.raises(ArchiveError, match="damaged"):
        search(place, text)


def test_every_name_of_a_tree_can_be_found(place: SnapshotPlace) -> None:
    nodes = [node for node in everything(place, "/odd") if "\0" not in node.path]

    for node in nodes:
        text = node.path.replace("?", "").replace("*", "") if {"?", "*"} & set(node.path) else node.path
        if text == node.path:
            assert node.path in [found.path for found in search(place, text, 1000)]
