"""Downloads of folders: GNU tar, unzip and Python read them, and what comes out is what the host had."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from tests.support.host_trees import ODD_NAMES, differences, make_tree, read_source
from tests.support.rsync_snapshots import aged, snap, snap_plainly
from webapp.core.errors import ArchiveError, NotFound
from webapp.core.snapshot_plans import SnapshotPlace
from webapp.engine.snapshots.streams import tar_stream, zip_stream

LEFT_OUT = {"fifo", "socket", "null", "disk"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return aged(make_tree(tmp_path_factory.mktemp("source")))


@pytest.fixture(scope="module", params=["ours", "plain"])
def place(request: pytest.FixtureRequest, source: Path, tmp_path_factory: pytest.TempPathFactory) -> SnapshotPlace:
    root = tmp_path_factory.mktemp("root")
    return (snap if request.param == "ours" else snap_plainly)(source, root, "20261122T021500Z")


def test_gnu_tar_makes_of_the_stream_what_the_host_had(place: SnapshotPlace, source: Path, tmp_path: Path) -> None:
    archive, target = tmp_path / "all.tar", tmp_path / "target"
    target.mkdir()
    with archive.open("wb") as file:
        for piece in tar_stream(place, ()):
            file.write(piece)

    words = ["tar", "--extract", "--numeric-owner", "--preserve-permissions", f"--file={archive}", f"-C{target}"]
    subprocess.run(words, check=True)

    expected, found = read_source(source), read_source(target)
    for name in LEFT_OUT:
        del expected[b"kinds/" + name.encode()]
    del expected[b"."], found[b"."]
    wrong = [
        line for line in differences(expected, found) if ": names is " not in line and ": mtime_ns is " not in line
    ]
    assert wrong == []
    assert {name: fact.mtime_ns // 10**9 for name, fact in found.items()} == {
        name: fact.mtime_ns // 10**9 for name, fact in expected.items()
    }


def test_a_tar_of_chosen_paths_has_these_alone_and_each_once(place: SnapshotPlace) -> None:
    stream = b"".join(tar_stream(place, ("/links/two", "/etc0", "/etc0/part0", "/kinds/link dangling", "/etc0")))

    with tarfile.open(fileobj=io.BytesIO(stream)) as archive:
        names = archive.getnames()
    assert len(names) == len(set(names))
    assert {name.split("/")[0] for name in names} == {"links", "etc0", "kinds"}
    assert {"links/two", "etc0", "etc0/part0", "kinds/link dangling"} <= set(names)
    assert not {"links", "links/one", "kinds"} & set(names)


def test_no_name_in_a_stream_is_absolute_or_leads_upwards(place: SnapshotPlace) -> None:
    with tarfile.open(fileobj=io.BytesIO(b"".join(tar_stream(place, ())))) as archive:
        names = archive.getnames()
    with zipfile.ZipFile(io.BytesIO(b"".join(zip_stream(place, ())))) as packed:
        names += packed.namelist()

    assert len(names) > 300
    assert not [name for name in names if name.startswith("/") or ".." in name.split("/")]


def test_a_zip_has_every_file_with_its_mode_and_content(place: SnapshotPlace, source: Path) -> None:
    expected = {name: fact for name, fact in read_source(source).items() if name not in (b".",)}

    with zipfile.ZipFile(io.BytesIO(b"".join(zip_stream(place, ())))) as packed:
        assert packed.testzip() is None
        members = {info.filename.rstrip("/"): info for info in packed.infolist()}
        contents = {name: packed.read(info) for name, info in members.items() if not info.is_dir()}

    assert len(members) == len(expected) - len(LEFT_OUT)
    for name, fact in expected.items():
        if fact.kind not in ("file", "directory", "symlink"):
            continue
        text = zip_name(name)
        mode = members[text].external_attr >> 16
        assert stat.S_IMODE(mode) == fact.mode
        assert (fact.kind == "directory") is stat.S_ISDIR(mode)
        if fact.kind == "file":
            assert contents[text] == Path(os.fsdecode(os.fsencode(source) + b"/" + name)).read_bytes()
        if fact.kind == "symlink":
            assert stat.S_ISLNK(mode)
            assert repr(contents[text]) == fact.content


def zip_name(name: bytes) -> str:
    """What may not stand in a zip, escaped; written again here as plainly as can be."""
    text = ""
    for character in os.fsdecode(name):
        odd = ord(character) < 32 or character in "\x7f\\" or "\udc80" <= character <= "\udcff"
        text += "".join(f"%{byte:02X}" for byte in os.fsencode(character)) if odd else character
    return text


def test_unzip_reads_the_zip_and_finds_nothing_wrong(place: SnapshotPlace, tmp_path: Path) -> None:
    archive = tmp_path / "all.zip"
    archive.write_bytes(b"".join(zip_stream(place, ("/etc0", "/modes", "/links"))))

    assert subprocess.run(["unzip", "-tq", archive], check=False, capture_output=True).returncode == 0


def test_odd_names_stay_apart_in_a_zip(place: SnapshotPlace) -> None:
    with zipfile.ZipFile(io.BytesIO(b"".join(zip_stream(place, ("/odd",))))) as packed:
        names = [name for name in packed.namelist() if name.count("/") == 1]

    assert len(set(names)) == len(names) > len(ODD_NAMES) - 1
    assert not [name for name in names if "\\" in name or (not name.isprintable() and "\u202e" not in name)]


@pytest.mark.parametrize("stream", [tar_stream, zip_stream])
def test_what_is_not_there_is_said_before_the_first_byte(place: SnapshotPlace, stream: object) -> None:
    for path in ("/nothing", "/../etc", "/kinds/link absolute/x"):
        with pytest.raises(NotFound):
            stream(place, ("/etc0", path))  # type: ignore[operator]


@pytest.mark.parametrize("stream", [tar_stream, zip_stream])
def test_a_file_that_ends_too_early_ends_the_download(tmp_path: Path, stream: object) -> None:
    place = SnapshotPlace(str(tmp_path), "web-01", "20261122T021500Z")
    os.makedirs(place.tree)
    for name in "abc":
        Path(place.tree, name).write_bytes(os.urandom(600_000))
    pieces = stream(place, ())  # type: ignore[operator]
    next(pieces)

    os.truncate(f"{place.tree}/a", 300_000)

    with pytest.raises(ArchiveError, match="/a is shorter"):
        list(pieces)


@pytest.mark.parametrize("stream", [tar_stream, zip_stream])
def test_memory_does_not_grow_with_what_is_streamed(tmp_path: Path, stream: object) -> None:
    place = SnapshotPlace(str(tmp_path), "web-01", "20261122T021500Z")
    os.makedirs(place.tree)
    for directory in range(20):
        os.mkdir(f"{place.tree}/d{directory}")
        for number in range(150):
            Path(f"{place.tree}/d{directory}/f{number}").write_bytes(b"x" * 5_000)
    with open(f"{place.tree}/large", "wb") as file:
        file.truncate(50_000_000)

    tracemalloc.start()
    size = sum(map(len, stream(place, ())))  # type: ignore[operator]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert size > (60_000_000 if stream is tar_stream else 100_000)
    assert peak < 3_000_000
