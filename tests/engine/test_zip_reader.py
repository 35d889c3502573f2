"""The zip reader reads what honest tools write, and refuses what is hostile or damaged before anything is unpacked."""

from __future__ import annotations

import io
import os
import random
import struct
import tempfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.archives import MOMENT, MemorySink, odoo_zip, python_zip, written
from tests.support.crafted_zip import Crafted, Piece
from webapp.core.errors import ArchiveError, NotFound, StoreError
from webapp.core.status import ErrorCode
from webapp.engine.archive.key_set import KeySet, member_key, shown_key
from webapp.engine.archive.zip_check import check_members
from webapp.engine.archive.zip_reader import ArchiveLimits, Member, open_zip
from webapp.engine.archive.zip_writer import ZipWriter
from webapp.engine.report import SilentReporter

TIGHT = ArchiveLimits(
    members=50,
    member_bytes=20_000_000,
    total_bytes=30_000_000,
    member_ratio=100,
    total_ratio=50,
    ratio_from_bytes=1_000_000,
)
UNICODE_PATH = struct.pack("<2HBI", 0x7075, 5 + 6, 1, 0) + b"secret"
ZIP64_TWICE = struct.pack("<2HQ2HQ", 1, 8, 1, 1, 8, 1)

HOSTILE = {
    "a parent directory": Crafted([Piece(b"../evil")]),
    "a parent directory inside": Crafted([Piece(b"a/../../evil")]),
    "a parent directory at the end": Crafted([Piece(b"filestore/..")]),
    "an absolute path": Crafted([Piece(b"/etc/cron.d/evil")]),
    "two slashes in front": Crafted([Piece(b"//host/share")]),
    "a drive letter": Crafted([Piece(b"C:evil")]),
    "a drive with a path": Crafted([Piece(b"c:/windows")]),
    "backslashes": Crafted([Piece(b"..\\evil")]),
    "a single backslash": Crafted([Piece(b"a\\b")]),
    "a NUL": Crafted([Piece(b"dump.sql\0.txt")]),
    "a newline": Crafted([Piece(b"a\nb")]),
    "an escape": Crafted([Piece(b"a\x1b[2J")]),
    "a DEL": Crafted([Piece(b"a\x7f")]),
    "an empty name": Crafted([Piece(b"")]),
    "a dot": Crafted([Piece(b"./dump.sql")]),
    "a dot inside": Crafted([Piece(b"a/./b")]),
    "an empty component": Crafted([Piece(b"a//b")]),
    "only a slash": Crafted([Piece(b"/", b"")]),
    "a long name": Crafted([Piece(b"n" * 1025)]),
    "a name of 64 KiB": Crafted([Piece(b"n" * 65_535)]),
    "a name that is not UTF-8": Crafted([Piece(b"\xff\xfe")]),
    "a symbolic link": Crafted([Piece(b"link", b"/etc/passwd", attributes=0o120777 << 16)]),
    "a character device": Crafted([Piece(b"dev", b"", attributes=0o020666 << 16)]),
    "a block device": Crafted([Piece(b"dev", b"", attributes=0o060666 << 16)]),
    "a pipe": Crafted([Piece(b"pipe", b"", attributes=0o010666 << 16)]),
    "a socket": Crafted([Piece(b"socket", b"", attributes=0o140666 << 16)]),
    "a directory with content": Crafted([Piece(b"dir/", b"content", attributes=0o040755 << 16)]),
    "a directory named as a file": Crafted([Piece(b"dir", b"", attributes=0o040755 << 16)]),
    "a name twice": Crafted([Piece(b"dump.sql", b"good"), Piece(b"dump.sql", b"evil")]),
    "a filestore name twice": Crafted([Piece(b"filestore/ab/ab" + b"0" * 38), Piece(b"filestore/ab/ab" + b"0" * 38)]),
    "an encrypted member": Crafted([Piece(flags=0x0801)]),
    "a strongly encrypted member": Crafted([Piece(flags=0x0841)]),
    "masked headers": Crafted([Piece(flags=0x2800)]),
    "patched data": Crafted([Piece(flags=0x0820)]),
    "LZMA": Crafted([Piece(method=14, packed_data=b"x" * 7)]),
    "zstd": Crafted([Piece(method=93, packed_data=b"x" * 7)]),
    "bzip2": Crafted([Piece(method=12, packed_data=b"x" * 7)]),
    "a second name": Crafted([Piece(b"public", extra=UNICODE_PATH)]),
    "a member that is too large": Crafted([Piece(method=8, data=bytes(20_000_001))]),
    "a member that unpacks a hundredfold": Crafted([Piece(method=8, data=bytes(2_000_000))]),
    "members that unpack to too much": Crafted(
        [Piece(b"noise", bytes(200_000)), *(Piece(f"{n}".encode(), bytes(900_000), method=8) for n in range(40))]
    ),
    "too many members": Crafted([Piece(f"{n}".encode(), b"") for n in range(51)]),
    "overlapping members": Crafted([Piece(b"a", b"x" * 100, offset=0), Piece(b"b", b"y", offset=5)]),
    "one body under two names": Crafted([Piece(b"a", b"x" * 100, offset=0), Piece(b"b", b"y", offset=0)]),
    "bytes in front": Crafted(before=b"#!/bin/sh\n"),
    "an unlisted member in front": Crafted([Piece(b"hidden", listed=False), Piece(b"a")]),
    "an end record in the comment": Crafted(comment=b"PK\x05\x06" + bytes(18)),
    "no members but bytes": Crafted([Piece(listed=False)]),
}

# These show only where a member's header tells how long it is, so reading finds them, not opening.
HIDDEN = {
    "an unlisted member behind": Crafted([Piece(b"a"), Piece(b"hidden", listed=False)]),
    "bytes between members": Crafted([Piece(b"a", behind=b"hidden"), Piece(b"b")]),
    "bytes before the directory": Crafted(before_directory=b"hidden"),
}

DAMAGED = {
    "a wrong CRC": Crafted([Piece(crc=1)]),
    "a wrong size": Crafted([Piece(method=8, size=6)]),
    "a larger size": Crafted([Piece(method=8, size=8)]),
    "stored with two sizes": Crafted([Piece(size=6)]),
    "another name in the header": Crafted([Piece(b"good", local_name=b"evil")]),
    "another CRC in the header": Crafted([Piece(local_crc=1)]),
    "another size in the header": Crafted([Piece(local_size=1)]),
    "another method in the header": Crafted([Piece(local_method=8)]),
    "other flags in the header": Crafted([Piece(local_flags=0)]),
    "no header": Crafted([Piece(local_signature=b"PK\x03\x05")]),
    "a header that reaches too far": Crafted([Piece(local_name=b"a" * 5000)]),
    "a flag of a descriptor that is not there": Crafted([Piece(flags=0x0808)]),
    "a wrong descriptor": Crafted([Piece(flags=0x0808, behind=b"PK\x07\x08" + bytes(12))]),
    "data that is not deflate": Crafted([Piece(method=8, packed_data=b"\xff" * 7)]),
    "deflate that is cut off": Crafted([Piece(method=8, packed_data=zlib.compress(b"content" * 9, 9)[2:-8])]),
    "bytes behind the deflate": Crafted([Piece(method=8, packed_data=zlib.compress(b"content", 9)[2:-4] + b"more")]),
    "a directory of another size": Crafted(end={4: 40}),
    "a directory elsewhere": Crafted(end={5: 3}),
    "a directory behind the end": Crafted(end={5: 70_000}),
    "fewer members than listed": Crafted([Piece(b"a"), Piece(b"b")], end={2: 1, 3: 1}),
    "more members than listed": Crafted(end={2: 2, 3: 2}),
    "counts that differ": Crafted(end={2: 2}),
    "a second disk": Crafted(end={0: 1}),
    "a member on a second disk": Crafted([Piece(disk=1)]),
    "zip64 that is not there": Crafted(end={2: 65_535, 3: 65_535}),
    "a zip64 size that is not there": Crafted([Piece(size=0xFFFFFFFF, packed=0xFFFFFFFF)]),
    "broken extra fields": Crafted([Piece(extra=b"\x01\x00\x09\x00x")]),
    "an extra field twice": Crafted([Piece(extra=ZIP64_TWICE)]),
    "bytes between directory and end": Crafted(behind_directory=b"x"),
    "members out of order": Crafted([Piece(b"a"), Piece(b"b")], reverse=True),
}


def _read_all(path: str, limits: ArchiveLimits | None = None) -> dict[str, bytes]:
    with open_zip(path, limits) as archive:
        return {member.name: b"".join(archive.stream(member)) for member in archive.members()}


def _check(path: str) -> int:
    with open_zip(path) as archive:
        return check_members(archive, reporter=SilentReporter()).members


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_refused_before_anything_is_unpacked(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, HOSTILE[name].build())

    with pytest.raises(ArchiveError) as caught:
        open_zip(path, TIGHT)

    assert caught.value.code is ErrorCode.HOSTILE_ARCHIVE
    assert caught.value.message
    assert sorted(os.listdir(tmp_path)) == ["archive.zip"]


@pytest.mark.parametrize("name", HIDDEN)
def test_hidden_bytes_are_found(name: str, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError) as caught:
        _check(written(tmp_path, HIDDEN[name].build()))

    assert caught.value.code is ErrorCode.HOSTILE_ARCHIVE


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_archives_are_found_out(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, DAMAGED[name].build())

    with pytest.raises(ArchiveError) as caught:
        _check(path)

    assert caught.value.code in (ErrorCode.CORRUPT, ErrorCode.HOSTILE_ARCHIVE, ErrorCode.TRUNCATED)


def test_the_crafted_archive_itself_is_sound(tmp_path: Path) -> None:
    data = Crafted(
        [Piece(b"a"), Piece(b"b", method=8), Piece(b"d/", b"", attributes=0o040755 << 16)], comment=b"hello"
    ).build()

    assert zipfile.ZipFile(io.BytesIO(data)).testzip() is None
    assert _read_all(written(tmp_path, data)) == {"a": b"content", "b": b"content", "d/": b""}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archives_of_pythons_library_are_read(method: int, tmp_path: Path) -> None:
    members = {"dump.sql": b"x" * 5_000_000, "manifest.json": b"{}", "é/noise": os.urandom(2_000_000), "empty": b""}

    assert _read_all(written(tmp_path, python_zip(members, method=method))) == members


class _Pipe(io.RawIOBase):
    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.data += data
        return len(data)


def test_archives_streamed_by_pythons_library_are_read(tmp_path: Path) -> None:
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"a" * 1000)
        with archive.open("forced", "w", force_zip64=True) as member:
            member.write(b"b" * 3_000_000)

    assert _read_all(written(tmp_path, bytes(pipe.data))) == {"a": b"a" * 1000, "forced": b"b" * 3_000_000}


def test_our_own_archives_are_read_with_more_members_than_the_old_format_counts(tmp_path: Path) -> None:
    sink = MemorySink()
    with ZipWriter(sink, modified_at=MOMENT, reporter=SilentReporter()) as writer:
        for index in range(70_000):
            writer.add_bytes(f"f/{index}", b"%d" % index)

    assert _check(written(tmp_path, bytes(sink.data))) == 70_000


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(
        st.text("abcé", min_size=1, max_size=8), st.binary(max_size=300).map(lambda data: data * 2000), max_size=6
    )
)
def test_every_content_comes_back(members: dict[str, bytes]) -> None:
    sink = MemorySink()
    with ZipWriter(sink, modified_at=MOMENT, reporter=SilentReporter()) as writer:
        for name, data in members.items():
            writer.add_stream(name, [data])

    with tempfile.TemporaryDirectory() as directory:
        assert _read_all(written(Path(directory), bytes(sink.data))) == members


def test_every_truncation_is_found(tmp_path: Path) -> None:
    data = odoo_zip([b"one" * 1000, os.urandom(5000)])
    chance = random.Random(7)
    lengths = {chance.randrange(len(data)) for _ in range(300)} | {0, 1, 21, 22, len(data) - 1}

    for length in sorted(lengths):
        with pytest.raises(ArchiveError) as caught:
            _check(written(tmp_path, data[:length]))
        assert caught.value.code in (ErrorCode.TRUNCATED, ErrorCode.CORRUPT, ErrorCode.NOT_A_BACKUP), length


def test_no_bit_flip_changes_content_unseen(tmp_path: Path) -> None:
    data = odoo_zip([b"one" * 1000, os.urandom(5000)])
    whole = _read_all(written(tmp_path, data))
    chance = random.Random(8)
    refused = 0

    for _ in range(400):
        place, bit = chance.randrange(len(data)), chance.randrange(8)
        flipped = bytearray(data)
        flipped[place] ^= 1 << bit
        try:
            assert _read_all(written(tmp_path, bytes(flipped))) == whole, (place, bit)
        except ArchiveError:
            refused += 1

    assert refused > 350


@pytest.mark.parametrize("more", [b"x", b"\0" * 1000, b"PK\x05\x06"])
def test_something_appended_is_found(more: bytes, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError):
        open_zip(written(tmp_path, odoo_zip([]) + more))


@pytest.mark.parametrize("data", [b"", b"<html>no</html>" * 99, os.urandom(2000)])
def test_what_is_no_zip_is_said_to_be_none(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError) as caught:
        open_zip(written(tmp_path, data))

    assert caught.value.code in (ErrorCode.NOT_A_BACKUP, ErrorCode.TRUNCATED)


def test_a_member_is_found_by_name(tmp_path: Path) -> None:
    with open_zip(written(tmp_path, odoo_zip([b"x"]))) as archive:
        assert b"odoo_dump" in b"".join(archive.stream(archive.get_member("manifest.json")))
        with pytest.raises(NotFound):
            archive.get_member("nothing")


def test_a_missing_file_is_the_stores_fault(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        open_zip(str(tmp_path / "nothing.zip"))


def test_a_visitor_sees_every_member_and_may_leave_the_rest(tmp_path: Path) -> None:
    seen: list[str] = []

    def visit(member: Member, chunks: Iterator[bytes]) -> None:
        seen.append(member.name)
        if member.name == "dump.sql":
            next(chunks)

    with open_zip(written(tmp_path, odoo_zip([b"a", b"b"]))) as archive:
        totals = check_members(archive, visit, reporter=SilentReporter())

    assert len(seen) == totals.members == 4


def test_a_visitors_error_stops_the_check(tmp_path: Path) -> None:
    def visit(member: Member, chunks: Iterator[bytes]) -> None:
        raise ArchiveError("I do not like it.")

    with open_zip(written(tmp_path, odoo_zip([b"a"]))) as archive, pytest.raises(ArchiveError):
        check_members(archive, visit, reporter=SilentReporter())


def test_many_members_take_little_memory(tmp_path: Path) -> None:
    sink = MemorySink()
    with ZipWriter(sink, modified_at=MOMENT, reporter=SilentReporter()) as writer:
        for index in range(40_000):
            writer.add_bytes(f"filestore/{index:05d}", b"")
    path = written(tmp_path, bytes(sink.data))

    tracemalloc.start()
    with open_zip(path) as archive:
        assert sum(1 for _ in archive.members()) == 40_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 5_000_000


@given(st.lists(st.integers(1, 2**64 - 1)))
def test_a_key_set_is_a_set(keys: list[int]) -> None:
    found = KeySet()

    news = [found.add(key) for key in keys]

    assert set(found) == set(keys)
    assert len(found) == len(set(keys)) == sum(news)
    assert all(key in found for key in keys)
    assert all(key in keys or key not in found for key in range(1, 50))


def test_filestore_names_have_keys_that_can_be_shown() -> None:
    name = b"filestore/ab/ab12" + b"0" * 36

    assert shown_key(member_key(name)) == "ab/ab12000000000000…"
    assert member_key(b"filestore/cd/ab12" + b"0" * 36) != member_key(name)
