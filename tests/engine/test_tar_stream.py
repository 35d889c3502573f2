"""tar as a stream: what GNU tar and Python write is read whole; anything cut or damaged is an error."""

from __future__ import annotations

import io
import random
import subprocess
import tarfile
from pathlib import Path

import pytest

from webapp.core.errors import SourceError
from webapp.engine.sources.tar_stream import read_members


def made(members: dict[str, bytes], **options: object) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


MEMBERS = {"ab/" + "1" * 40: b"", "ab/" + "2" * 40: b"x", "cd/" + "3" * 40: bytes(range(256)) * 300}


@pytest.mark.parametrize("size", [1, 7, 511, 512, 513, 10_240, 10**6])
def test_members_come_whole_whatever_the_pieces(size: int) -> None:
    found = {member.name: b"".join(member.data) for member in read_members(pieces(made(MEMBERS), size))}

    assert found == MEMBERS


def test_data_not_taken_is_skipped() -> None:
    assert [member.name for member in read_members([made(MEMBERS)])] == list(MEMBERS)


def test_gnu_tar_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("/etc/passwd")
    argv = ["tar", "--create", "--file=-", "--format=gnu", "-C", str(tmp_path), "file", "link"]
    data = subprocess.run(argv, capture_output=True, check=True).stdout

    found = [(member.name, member.is_file, b"".join(member.data)) for member in read_members([data])]

    assert found == [("file", True, b"content"), ("link", False, b"")]


def test_a_stream_cut_anywhere_is_an_error() -> None:
    data = made(MEMBERS)
    whole = len(data.rstrip(b"\0"))
    for cut in random.Random(3).sample(range(whole), 200):
        with pytest.raises(SourceError):
            list(read_members([data[:cut]]))


def test_damage_in_a_header_is_an_error() -> None:
    data = bytearray(made(MEMBERS))
    for at in (0, 100, 124, 130, 148, 156):
        damaged = bytearray(data)
        damaged[at] ^= 0x55
        with pytest.raises(SourceError):
            list(read_members([bytes(damaged)]))


def test_sizes_beyond_octal_are_read() -> None:
    info = tarfile.TarInfo("big")
    info.size = 9 * 1024**3
    header = info.tobuf(tarfile.GNU_FORMAT)

    assert next(read_members([header])).size == 9 * 1024**3


def test_long_names_are_refused() -> None:
    with pytest.raises(SourceError, match="long name"):
        list(read_members([made({"x" * 200: b""})]))
