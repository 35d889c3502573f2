"""The end of a zip, judged while it streams by: every honest one passes, every cut one does not."""

from __future__ import annotations

import io
import random
import struct
import zipfile

import pytest

from tests.support.odoo_zip import odoo_zip
from webapp.engine.sources.zip_tail import ZipTail


def _problem(data: bytes, block: int = 4096) -> str:
    tail = ZipTail()
    for start in range(0, len(data), block):
        tail.feed(memoryview(data)[start : start + block])
    return tail.problem()


def _zip(comment: bytes = b"", members: int = 3, content: bytes = b"hello") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.comment = comment
        for number in range(members):
            archive.writestr(f"member {number}", content)
    return packed.getvalue()


def _zip64(data: bytes, shift: int = 0, keep_values: bool = False) -> bytes:
    """The same archive with a zip64 end record, as writers make for large ones."""
    entries, size, offset = struct.unpack_from("<HLL", data, len(data) - 22 + 10)
    record_at = len(data) - 22
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, entries, entries, size, offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, record_at + shift, 1)
    unset = (entries, entries, size, offset) if keep_values else (0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
    return data[:-22] + record + locator + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, *unset, 0)


@pytest.mark.parametrize("block", [1, 7, 4096, 10**6])
def test_whole_archives_pass_whatever_the_blocks(block: int) -> None:
    assert _problem(odoo_zip(), block) == ""


@pytest.mark.parametrize(
    "data",
    [
        _zip(b"a comment"),
        _zip(b"x" * 65535),
        _zip(members=3000),
        _zip(content=b"x" * 300_000),
        _zip64(_zip()),
        _zip64(_zip(), keep_values=True),
        _zip(content=_zip()),
    ],
    ids=[
        "comment",
        "longest comment",
        "many members",
        "large",
        "zip64",
        "zip64, values kept",
        "nested",
    ],
)
def test_unusual_but_whole_archives_pass(data: bytes) -> None:
    zipfile.ZipFile(io.BytesIO(data)).testzip()
    assert _problem(data) == ""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04",
        _zip()[:-1],
        _zip()[1:],
        _zip() + b"\n",
        b"PK\x05\x06" + bytes(18),
        _zip64(_zip(), shift=1),
        _zip64(_zip(), shift=10**9),
        _zip64(_zip())[:-42] + _zip64(_zip())[-22:],
        _zip(members=9, content=_zip()).partition(b"PK\x01\x02")[0],
    ],
)
def test_less_than_whole_is_noticed(data: bytes) -> None:
    assert _problem(data)


def test_no_cut_of_archives_within_archives_passes() -> None:
    """A stored attachment that is itself a zip ends like one: the sizes tell them apart."""
    data = _zip(members=12, content=_zip(b"inner", content=b"y" * 500))
    chosen = random.Random(7).sample(range(len(data)), 2000)

    assert [at for at in chosen if not _problem(data[:at], 1 << 20)] == []


def test_memory_stays_small() -> None:
    tail = ZipTail()
    for _ in range(200):
        tail.feed(bytes(1 << 20))

    assert tail.size == 200 << 20
    assert len(tail._tail) < 1 << 20
