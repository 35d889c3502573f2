"""The zip writer makes archives that every tool reads, in order, and says what became of each member."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isal import isal_zlib

from tests.support.archives import MOMENT, MemorySink, sha1
from webapp.core.errors import ArchiveError, SourceError, StoreError, TaskStopped
from webapp.core.status import ErrorCode
from webapp.engine.archive import zip_format, zip_members
from webapp.engine.archive.compression import Storer, rechunk
from webapp.engine.archive.zip_writer import MemberResult, MemberState, ZipWriter
from webapp.engine.report import SilentReporter


def _writer(sink: MemorySink, results: list[MemberResult] | None = None, threads: int = 2) -> ZipWriter:
    keep = results.append if results is not None else None
    return ZipWriter(sink, modified_at=MOMENT, reporter=SilentReporter(), on_result=keep, threads=threads)


def _read_back(data: bytes | bytearray) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def _files(directory: Path, sizes: list[int]) -> list[Path]:
    paths = []
    for index, size in enumerate(sizes):
        path = directory / f"{index}.bin"
        path.write_bytes(os.urandom(size) if index % 2 else (b"some text %d " % index) * (size // 12))
        paths.append(path)
    return paths


def test_members_of_every_kind_come_back_in_order(tmp_path: Path) -> None:
    sizes = [
        0,
        1,
        30_000,
        70_000,
        1_500_000,
        zip_members.WHOLE_BYTES,
        zip_members.WHOLE_BYTES + 1,
        9_000_000,
        9_000_001,
        5,
    ]
    paths = _files(tmp_path, sizes)
    sink = MemorySink()
    results: list[MemberResult] = []
    stream = [b"-- dump\n" * 100_000, b"", b"tail"]

    with _writer(sink, results) as writer:
        dump = writer.add_stream("dump.sql", stream)
        writer.add_bytes("manifest.json", b"{}", sha1=sha1(b"{}"))
        for path in paths:
            writer.add_path(f"filestore/{path.name}", str(path), sha1=sha1(path.read_bytes()))
        summary = writer.close()

    expected = {"dump.sql": b"".join(stream), "manifest.json": b"{}"}
    expected |= {f"filestore/{path.name}": path.read_bytes() for path in paths}
    assert _read_back(sink.data) == expected
    assert list(_read_back(sink.data)) == list(expected)
    assert [result.name for result in results] == list(expected)[1:]
    assert {result.state for result in results} == {MemberState.WRITTEN}
    assert dump.size == len(expected["dump.sql"])
    assert (summary.members, summary.plain_bytes) == (len(expected), sum(map(len, expected.values())))


@pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip is not installed")
def test_unzip_finds_no_fault(tmp_path: Path) -> None:
    paths = _files(tmp_path, [10, 100_000, 3_000_000, 3_000_001])
    sink = MemorySink()
    with _writer(sink) as writer:
        writer.add_stream("dump.sql", [b"select 1;\n" * 50_000])
        writer.add_bytes("fil\u00e9 \u2603.txt", b"snow")
        for path in paths:
            writer.add_path(f"filestore/{path.name}", str(path))
    archive = tmp_path / "a.zip"
    archive.write_bytes(sink.data)

    said = subprocess.run(["unzip", "-t", str(archive)], capture_output=True, text=True, check=False)

    assert said.returncode == 0, said.stdout + said.stderr
    assert "No errors detected" in said.stdout


def test_same_input_gives_same_bytes_however_the_pipe_cuts_it(tmp_path: Path) -> None:
    paths = _files(tmp_path, [50_000, 3_000_000, 20])
    text = b"".join(b"%d\tname %d\n" % (n, n * 7) for n in range(60_000))

    def make(step: int, threads: int) -> bytes:
        sink = MemorySink()
        with _writer(sink, threads=threads) as writer:
            writer.add_stream("dump.sql", (text[n : n + step] for n in range(0, len(text), step)))
            for path in paths:
                writer.add_path(path.name, str(path))
        return bytes(sink.data)

    assert make(1000, 1) == make(262_144, 2) == make(77_777, 3)


def test_what_does_not_shrink_is_stored() -> None:
    sink = MemorySink()
    with _writer(sink) as writer:
        writer.add_bytes("noise", os.urandom(300_000))
        writer.add_bytes("small noise", os.urandom(50))
        writer.add_bytes("text", b"text " * 10_000)

    with zipfile.ZipFile(io.BytesIO(bytes(sink.data))) as archive:
        methods = {info.filename: info.compress_type for info in archive.infolist()}
    assert methods == {"noise": zipfile.ZIP_STORED, "small noise": zipfile.ZIP_STORED, "text": zipfile.ZIP_DEFLATED}


def test_a_large_noise_file_costs_almost_nothing_more(tmp_path: Path) -> None:
    content = os.urandom(5_000_000)
    (tmp_path / "video").write_bytes(content)
    sink = MemorySink()
    with _writer(sink) as writer:
        writer.add_path("video", str(tmp_path / "video"))

    assert _read_back(sink.data) == {"video": content}
    assert len(sink.data) < len(content) * 1.001


def test_missing_unreadable_and_changed_files_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(b"good")
    (tmp_path / "changed").write_bytes(b"changed")
    (tmp_path / "changed large").write_bytes(b"changed" * 500_000)
    (tmp_path / "link").symlink_to(tmp_path / "good")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    names = ["good", "changed", "changed large", "link", "folder", "pipe", "gone"]
    sink = MemorySink()
    results: list[MemberResult] = []

    with _writer(sink, results) as writer:
        for name in names:
            writer.add_path(name, str(tmp_path / name), sha1=sha1(b"good"))

    assert {result.name: result.state.value for result in results} == {
        "good": "written",
        "changed": "mismatch",
        "changed large": "mismatch",
        "link": "unreadable",
        "folder": "unreadable",
        "pipe": "unreadable",
        "gone": "missing",
    }
    assert sorted(_read_back(sink.data)) == ["changed", "changed large", "good"]


def test_an_empty_archive_is_a_valid_one() -> None:
    sink = MemorySink()
    with _writer(sink):
        pass

    assert _read_back(sink.data) == {}


def test_more_members_than_the_old_format_can_count() -> None:
    sink = MemorySink()
    with _writer(sink) as writer:
        for index in range(66_000):
            writer.add_bytes(f"f/{index}", b"")

    with zipfile.ZipFile(io.BytesIO(bytes(sink.data))) as archive:
        assert len(archive.namelist()) == 66_000


def test_offsets_and_sizes_beyond_four_gigabytes_are_written_as_zip64() -> None:
    big = zip_format.Entry(b"big", zip_format.DEFLATED, 7, 5 << 30, 6 << 30, streamed=True)

    record = zip_format.central_header(big, 9 << 30, zip_format.dos_time(MOMENT))

    assert (6 << 30).to_bytes(8, "little") + (5 << 30).to_bytes(8, "little") + (9 << 30).to_bytes(8, "little") in record
    assert zip_format.end_records(3, 100, 9 << 30).startswith(zip_format.END_64_SIGNATURE)


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../x", "a/../b", "a\\b", "c:x", "a//b", "a/./b", "x\0y", "n" * 1025, "a\nb"]
)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(ArchiveError) as caught, _writer(MemorySink()) as writer:
        writer.add_bytes(name, b"")

    assert caught.value.code is ErrorCode.HOSTILE_ARCHIVE


class _FullSink(MemorySink):
    def write(self, data: bytes | bytearray | memoryview) -> int:
        if self.tell() > 100_000:
            raise StoreError("The disk is full.", code=ErrorCode.DISK_FULL)
        return super().write(data)


class _StoppedReporter(SilentReporter):
    checks = 0

    def check(self) -> None:
        self.checks += 1
        if self.checks > 5:
            raise TaskStopped("Cancelled.")


def _failing_chunks() -> Iterator[bytes]:
    yield b"x" * 3_000_000
    raise SourceError("pg_dump was killed.")


def _add_all(writer: ZipWriter, paths: list[Path]) -> None:
    for path in paths:
        writer.add_path(path.name, str(path))


def _add_streams(writer: ZipWriter) -> None:
    for _ in range(100):
        writer.add_stream("dump.sql", [os.urandom(300_000)])


def _zip_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("zip")]


def test_a_failing_source_ends_the_writer_without_threads_or_a_directory() -> None:
    sink = MemorySink()

    with pytest.raises(SourceError), _writer(sink) as writer:
        writer.add_stream("dump.sql", _failing_chunks())

    assert not zipfile.is_zipfile(io.BytesIO(bytes(sink.data)))
    assert _zip_threads() == []


def test_a_full_disk_ends_the_writer_while_large_files_are_under_way(tmp_path: Path) -> None:
    paths = _files(tmp_path, [6_000_000] * 6)

    with pytest.raises(StoreError), _writer(_FullSink()) as writer:
        _add_all(writer, paths)

    assert _zip_threads() == []


def test_a_cancelled_task_ends_the_writer(tmp_path: Path) -> None:
    with (
        pytest.raises(TaskStopped),
        ZipWriter(MemorySink(), modified_at=MOMENT, reporter=_StoppedReporter()) as writer,
    ):
        _add_streams(writer)

    assert _zip_threads() == []


def test_nothing_can_be_added_to_a_closed_archive() -> None:
    writer = _writer(MemorySink())
    writer.close()

    with pytest.raises(ArchiveError):
        writer.add_bytes("late", b"")


@given(st.lists(st.binary(max_size=50)), st.integers(1, 20))
def test_rechunk_keeps_every_byte(chunks: list[bytes], size: int) -> None:
    pieces = list(rechunk(chunks, size))

    assert b"".join(pieces) == b"".join(chunks)
    assert all(len(piece) == size for piece in pieces[:-1])


@settings(max_examples=20)
@given(st.lists(st.integers(0, 200_000), max_size=3))
def test_stored_blocks_are_deflate(sizes: list[int]) -> None:
    storer = Storer()
    data = [bytes(size) for size in sizes]

    packed = b"".join([*(storer.feed(piece) for piece in data), storer.finish()])

    assert isal_zlib.decompress(packed, -15) == b"".join(data)
