"""Zip archives made byte by byte, so that every lie that a hostile or damaged one can tell can be told."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

REGULAR = 0o100600 << 16


@dataclass
class Piece:
    """One member. What is None is computed rightly."""

    name: bytes = b"a"
    data: bytes = b"content"
    method: int = 0
    flags: int = 0x0800
    attributes: int = REGULAR
    crc: int | None = None
    size: int | None = None
    packed: int | None = None
    offset: int | None = None
    packed_data: bytes | None = None
    local_name: bytes | None = None
    local_crc: int | None = None
    local_size: int | None = None
    local_packed: int | None = None
    local_method: int | None = None
    local_flags: int | None = None
    local_extra: bytes = b""
    local_signature: bytes = b"PK\x03\x04"
    extra: bytes = b""
    comment: bytes = b""
    disk: int = 0
    behind: bytes = b""
    listed: bool = True


@dataclass
class Crafted:
    """An archive of pieces. ``end`` holds replacements for fields of the end record by position."""

    pieces: list[Piece] = field(default_factory=lambda: [Piece()])
    before: bytes = b""
    before_directory: bytes = b""
    behind_directory: bytes = b""
    comment: bytes = b""
    behind: bytes = b""
    end: dict[int, int] = field(default_factory=dict)
    reverse: bool = False

    def build(self) -> bytes:
        """The bytes."""
        body = self.before
        records = []
        for piece in self.pieces:
            offset = len(body) if piece.offset is None else piece.offset
            packed = _packed(piece)
            body += _local(piece, packed) + packed + piece.behind
            if piece.listed:
                records.append(_central(piece, packed, offset))
        body += self.before_directory
        directory = b"".join(reversed(records) if self.reverse else records)
        fields = [0, 0, len(records), len(records), len(directory), len(body), len(self.comment)]
        for position, value in self.end.items():
            fields[position] = value
        end = b"PK\x05\x06" + struct.pack("<4H2IH", *fields)
        return body + directory + self.behind_directory + end + self.comment + self.behind


def _packed(piece: Piece) -> bytes:
    if piece.packed_data is not None:
        return piece.packed_data
    if piece.method == 8:
        stream = zlib.compressobj(6, zlib.DEFLATED, -15)
        return stream.compress(piece.data) + stream.flush()
    return piece.data


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _local(piece: Piece, packed: bytes) -> bytes:
    name = piece.name if piece.local_name is None else piece.local_name
    return (
        piece.local_signature
        + struct.pack(
            "<5H3I2H",
            20,
            _or(piece.local_flags, piece.flags),
            _or(piece.local_method, piece.method),
            0,
            33,
            _or(piece.local_crc, _or(piece.crc, zlib.crc32(piece.data))),
            _or(piece.local_packed, _or(piece.packed, len(packed))),
            _or(piece.local_size, _or(piece.size, len(piece.data))),
            len(name),
            len(piece.local_extra),
        )
        + name
        + piece.local_extra
    )


def _central(piece: Piece, packed: bytes, offset: int) -> bytes:
    return (
        b"PK\x01\x02"
        + struct.pack(
            "<6H3I5H2I",
            (3 << 8) | 20,
            20,
            piece.flags,
            piece.method,
            0,
            33,
            _or(piece.crc, zlib.crc32(piece.data)),
            _or(piece.packed, len(packed)),
            _or(piece.size, len(piece.data)),
            len(piece.name),
            len(piece.extra),
            len(piece.comment),
            piece.disk,
            0,
            piece.attributes,
            offset,
        )
        + piece.name
        + piece.extra
        + piece.comment
    )
