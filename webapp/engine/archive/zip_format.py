"""The zip format's records: how each is laid out, written and read back.

Source: PKWARE's .ZIP File Format Specification (APPNOTE.TXT) 6.3.10, sections 4.3 to 4.5.
"""

from __future__ import annotations

import re
import struct
from datetime import datetime
from typing import NamedTuple

LOCAL_HEADER = struct.Struct("<4s5H3I2H")
CENTRAL_HEADER = struct.Struct("<4s6H3I5H2I")
DESCRIPTOR = struct.Struct("<4s3I")
DESCRIPTOR_64 = struct.Struct("<4sI2Q")
END = struct.Struct("<4s4H2IH")
END_64 = struct.Struct("<4sQ2H2I4Q")
END_64_LOCATOR = struct.Struct("<4sIQI")

LOCAL_SIGNATURE = b"PK\x03\x04"
CENTRAL_SIGNATURE = b"PK\x01\x02"
DESCRIPTOR_SIGNATURE = b"PK\x07\x08"
END_SIGNATURE = b"PK\x05\x06"
END_64_SIGNATURE = b"PK\x06\x06"
END_64_LOCATOR_SIGNATURE = b"PK\x06\x07"

STORED = 0
DEFLATED = 8

FLAG_ENCRYPTED = 0x0001
FLAG_DESCRIPTOR = 0x0008
FLAG_PATCHED = 0x0020
FLAG_STRONG_ENCRYPTION = 0x0040
FLAG_UTF8 = 0x0800
FLAG_MASKED = 0x2000

LIMIT_16 = 0xFFFF
LIMIT_32 = 0xFFFFFFFF
ZIP64_FIELD = 0x0001
VERSION_PLAIN = 20
VERSION_ZIP64 = 45
MADE_ON_UNIX = 3 << 8
# A regular file that only its owner may read: what is unpacked from a backup is nobody else's business.
REGULAR_0600 = 0o100600 << 16

LONGEST_NAME_BYTES = 1024
LONGEST_PART_BYTES = 255  # NAME_MAX of Linux's file systems.
# Odoo's names have three parts; folders without end are a trap for whoever has to delete them.
MOST_PARTS = 16
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class DosTime(NamedTuple):
    """Date and time in MS-DOS packing, two seconds of precision."""

    time: int
    date: int


def dos_time(moment: datetime) -> DosTime:
    """``moment``'s own fields, held within the years 1980 to 2107 that the format can say."""
    if moment.year < 1980:
        return DosTime(0, (1 << 5) | 1)
    year = min(moment.year, 2107) - 1980
    return DosTime(
        (moment.hour << 11) | (moment.minute << 5) | (moment.second // 2),
        (year << 9) | (moment.month << 5) | moment.day,
    )


class Entry(NamedTuple):
    """What one member's headers say."""

    name: bytes
    method: int
    crc: int
    packed: int
    size: int
    streamed: bool


def local_header(entry: Entry, stamp: DosTime) -> bytes:
    """The header in front of a member; a streamed one leaves its numbers to the descriptor behind the data."""
    flags = FLAG_UTF8
    crc, packed, size, extra, version = entry.crc, entry.packed, entry.size, b"", VERSION_PLAIN
    if entry.streamed:
        # The zip64 field tells readers that the descriptor has eight-byte sizes: needed before the size is known.
        flags |= FLAG_DESCRIPTOR
        crc, packed, size, version = 0, LIMIT_32, LIMIT_32, VERSION_ZIP64
        extra = struct.pack("<2H2Q", ZIP64_FIELD, 16, 0, 0)
    return (
        LOCAL_HEADER.pack(
            LOCAL_SIGNATURE,
            version,
            flags,
            entry.method,
            stamp.time,
            stamp.date,
            crc,
            packed,
            size,
            len(entry.name),
            len(extra),
        )
        + entry.name
        + extra
    )


def descriptor_64(entry: Entry) -> bytes:
    """The record behind a streamed member's data."""
    return DESCRIPTOR_64.pack(DESCRIPTOR_SIGNATURE, entry.crc, entry.packed, entry.size)


def central_header(entry: Entry, offset: int, stamp: DosTime, *, attributes: int = REGULAR_0600) -> bytes:
    """The member's record in the central directory, with zip64 fields only where a number needs them."""
    wide = [n for n in (entry.size, entry.packed, offset) if n >= LIMIT_32]
    extra = struct.pack(f"<2H{len(wide)}Q", ZIP64_FIELD, 8 * len(wide), *wide) if wide else b""
    version = VERSION_ZIP64 if wide or entry.streamed else VERSION_PLAIN
    flags = FLAG_UTF8 | (FLAG_DESCRIPTOR if entry.streamed else 0)
    return (
        CENTRAL_HEADER.pack(
            CENTRAL_SIGNATURE,
            MADE_ON_UNIX | version,
            version,
            flags,
            entry.method,
            stamp.time,
            stamp.date,
            entry.crc,
            min(entry.packed, LIMIT_32),
            min(entry.size, LIMIT_32),
            len(entry.name),
            len(extra),
            0,
            0,
            0,
            attributes,
            min(offset, LIMIT_32),
        )
        + entry.name
        + extra
    )


def end_records(members: int, directory_bytes: int, directory_offset: int) -> bytes:
    """What closes the file; the zip64 records too when a number needs them."""
    packed = END.pack(
        END_SIGNATURE,
        0,
        0,
        min(members, LIMIT_16),
        min(members, LIMIT_16),
        min(directory_bytes, LIMIT_32),
        min(directory_offset, LIMIT_32),
        0,
    )
    if members < LIMIT_16 and directory_bytes < LIMIT_32 and directory_offset < LIMIT_32:
        return packed
    end_64 = END_64.pack(
        END_64_SIGNATURE,
        END_64.size - 12,
        MADE_ON_UNIX | VERSION_ZIP64,
        VERSION_ZIP64,
        0,
        0,
        members,
        members,
        directory_bytes,
        directory_offset,
    )
    locator = END_64_LOCATOR.pack(END_64_LOCATOR_SIGNATURE, 0, directory_offset + directory_bytes, 1)
    return end_64 + locator + packed


def name_fault(name: str) -> str:
    """Why ``name`` may not be a member's name, or "".

    Only relative paths of plain components pass, so that no tool that unpacks the archive can be led elsewhere.
    """
    if not name:
        return "it is empty"
    if len(name.encode("utf-8", "surrogatepass")) > LONGEST_NAME_BYTES:
        return f"it is longer than {LONGEST_NAME_BYTES} bytes"
    if _CONTROL.search(name):
        return "it holds control characters"
    if "\\" in name:
        return "it holds a backslash"
    if name[0] == "/":
        return "it is an absolute path"
    if name[1:2] == ":":
        return "it begins with a drive letter"
    return _parts_fault(name.removesuffix("/").split("/"))


def _parts_fault(parts: list[str]) -> str:
    if any(part in ("", ".", "..") for part in parts):
        return "it leaves its directory or repeats a separator"
    if len(parts) > MOST_PARTS:
        return f"it lies more than {MOST_PARTS} folders deep"
    if any(len(part.encode("utf-8", "surrogatepass")) > LONGEST_PART_BYTES for part in parts):
        return f"a part of it is longer than {LONGEST_PART_BYTES} bytes"
    return ""
