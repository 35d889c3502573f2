"""The sink counts, digests and refuses to fill the disk; an error of the disk is told and never tried again."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import xxhash

from webapp.core.errors import SourceError, StoreError
from webapp.core.status import ErrorCode
from webapp.engine.archive.digest import GUARD_EVERY_BYTES, DigestingFile, file_digest
from webapp.engine.disk import disk_error, require_free
from webapp.engine.report import SilentReporter


def _write_often(sink: DigestingFile, block: bytes, times: int) -> None:
    for _ in range(times):
        sink.write(block)


def test_bytes_are_kept_counted_and_digested(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    with DigestingFile(str(path)) as sink:
        sink.write(b"one")
        sink.write(bytearray(b"two"))
        sink.write(memoryview(b"three"))

    assert path.read_bytes() == b"onetwothree"
    assert (sink.tell(), sink.sha256) == (11, hashlib.sha256(b"onetwothree").hexdigest())
    assert sink.xxh128 == xxhash.xxh3_128_hexdigest(b"onetwothree")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_existing_file_is_never_written(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(b"old")

    with pytest.raises(StoreError):
        DigestingFile(str(tmp_path / "archive"))

    assert (tmp_path / "archive").read_bytes() == b"old"


def test_a_link_is_never_followed(tmp_path: Path) -> None:
    (tmp_path / "archive").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StoreError):
        DigestingFile(str(tmp_path / "archive"))

    assert not (tmp_path / "elsewhere").exists()


def test_more_than_the_largest_is_refused(tmp_path: Path) -> None:
    sink = DigestingFile(str(tmp_path / "archive"), largest_bytes=10)
    sink.write(b"x" * 10)

    with pytest.raises(SourceError) as caught:
        sink.write(b"x")

    sink.abandon()
    assert caught.value.code is ErrorCode.TOO_LARGE


def test_the_reserve_is_watched_while_writing(tmp_path: Path) -> None:
    sink = DigestingFile(str(tmp_path / "archive"), reserve_bytes=1 << 60)
    block = bytes(GUARD_EVERY_BYTES // 4)

    with pytest.raises(StoreError) as caught:
        _write_often(sink, block, 8)

    sink.abandon()
    assert caught.value.code is ErrorCode.DISK_FULL
    assert caught.value.hint
    assert sink.tell() == GUARD_EVERY_BYTES


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small tmpfs cannot be mounted here: {mounted.stderr.decode()}")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_said_to_be_full_and_not_tried_again(small_disk: Path) -> None:
    sink = DigestingFile(str(small_disk / "archive"))

    with pytest.raises(StoreError) as caught:
        _write_often(sink, bytes(100_000), 100)
    with pytest.raises(StoreError):
        sink.write(b"")
    with pytest.raises(StoreError):
        sink.close()

    sink.abandon()
    assert caught.value.code is ErrorCode.DISK_FULL


def test_short_writes_are_completed(tmp_path: Path) -> None:
    # A limit on the size of files makes the kernel write a part first, then refuse.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    sink = DigestingFile(str(tmp_path / "archive"))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
        with pytest.raises(StoreError):
            sink.write(bytes(1_500_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
        sink.abandon()

    assert (tmp_path / "archive").stat().st_size == 1_000_000
    assert sink.tell() == 0


def test_a_failed_sync_is_an_error_and_stays_one(tmp_path: Path) -> None:
    sink = DigestingFile(str(tmp_path / "archive"))
    sink.write(b"x")
    # A pipe cannot be synced: the nearest thing to a failing disk that needs no special kernel.
    reading, writing = os.pipe()
    os.dup2(writing, sink._descriptor)

    with pytest.raises(StoreError):
        sink.close()
    with pytest.raises(StoreError):
        sink.close()

    os.close(reading)
    os.close(writing)


def test_an_error_leaves_the_file_to_be_deleted_and_closes_it(tmp_path: Path) -> None:
    def fail() -> None:
        with DigestingFile(str(tmp_path / "archive")):
            raise SourceError("The source went away.")

    with pytest.raises(SourceError):
        fail()

    assert not [
        link for link in Path("/proc/self/fd").iterdir() if link.is_symlink() and "archive" in os.readlink(link)
    ]


@pytest.mark.parametrize("from_disk", [True, False])
def test_a_file_is_digested_from_its_beginning(tmp_path: Path, from_disk: bool) -> None:
    content = os.urandom(3_000_001)
    (tmp_path / "archive").write_bytes(content)
    with (tmp_path / "archive").open("rb") as file:
        file.seek(100)
        answer = file_digest(file.fileno(), SilentReporter(), from_disk=from_disk)

    assert answer == (len(content), hashlib.sha256(content).hexdigest())


def test_room_is_required_before_the_start(tmp_path: Path) -> None:
    require_free(str(tmp_path), 1, 1)

    with pytest.raises(StoreError) as caught:
        require_free(str(tmp_path), 1 << 60, 0)

    assert caught.value.code is ErrorCode.DISK_FULL


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (28, ErrorCode.DISK_FULL),
        (122, ErrorCode.DISK_FULL),
        (30, ErrorCode.STORE_UNAVAILABLE),
        (13, ErrorCode.STORE_UNAVAILABLE),
        (2, ErrorCode.STORE_UNAVAILABLE),
        (5, ErrorCode.STORE_ERROR),
    ],
)
def test_refusals_of_the_disk_have_a_code_and_a_hint(number: int, code: ErrorCode) -> None:
    error = disk_error(OSError(number, os.strerror(number)), "write the archive")

    assert error.code is code
    assert "write the archive" in error.message
    assert error.hint
