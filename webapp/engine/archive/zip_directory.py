"""The central directory of a foreign zip: found, streamed and distrusted.

Nothing here keeps the list of members; every record is checked on its own and against the one before it. What looks
like an attack raises ArchiveError(hostile_archive), what looks like damage ``corrupt`` or ``truncated``.
"""

from __future__ import annotations

import re
import stat
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from webapp.core.errors import ArchiveError
from webapp.core.status import ErrorCode
from webapp.core.text import format_size
from webapp.engine.archive import zip_format as z

Read = Callable[[int, int], bytes]
"""Exactly ``size`` bytes at ``offset``: read(offset, size)."""

_LONGEST_COMMENT = 0xFFFF
_BLOCK_BYTES = 256 * 1024
_UNICODE_PATH_FIELD = 0x7075
_FILESTORE = re.compile(rb"filestore/[0-9a-f]{2}/[0-9a-f]{40}")
_REFUSED_FLAGS = z.FLAG_ENCRYPTED | z.FLAG_STRONG_ENCRYPTION | z.FLAG_MASKED


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What an archive may claim. The ratios count only above ``ratio_from_bytes``: small files of zeros are no bombs."""

    members: int = 5_000_000
    member_bytes: int = 8 * 1024**4
    total_bytes: int = 16 * 1024**4
    member_ratio: int = 500
    total_ratio: int = 250
    ratio_from_bytes: int = 1024**3


class Place(NamedTuple):
    """Where the central directory lies, and how many members it lists."""

    offset: int
    size: int
    members: int


class Member(NamedTuple):
    """One member as the central directory tells it. Its header, data and descriptor fill ``offset`` to ``end``."""

    name: str
    raw_name: bytes
    method: int
    flags: int
    stamp: int
    crc: int
    packed: int
    size: int
    offset: int
    end: int


def damaged(message: str, code: ErrorCode = ErrorCode.CORRUPT) -> ArchiveError:
    """The archive is not what it should be."""
    return ArchiveError(message, code=code)


def hostile(message: str) -> ArchiveError:
    """The archive tries something that no backup needs."""
    return ArchiveError(
        message,
        hint="Nothing was unpacked. Do not open this archive with other tools before you know where it came from.",
        code=ErrorCode.HOSTILE_ARCHIVE,
        permanent=True,
    )


def find_directory(read: Read, file_size: int) -> Place:
    """Find the one end record that reaches exactly to the end of the file, and the directory right before it."""
    if file_size < z.END.size:
        raise damaged("The file is too short to be a zip archive; it was cut off.", ErrorCode.TRUNCATED)
    tail_start = max(0, file_size - z.END.size - _LONGEST_COMMENT)
    tail = read(tail_start, file_size - tail_start)
    ends = _end_candidates(tail)
    if not ends:
        if read(0, 2) != b"PK":
            raise damaged("The file is not a zip archive.", ErrorCode.NOT_A_BACKUP)
        raise damaged("The archive has no end: it was cut off, or something was appended to it.", ErrorCode.TRUNCATED)
    if len(ends) > 1:
        raise hostile("The archive has more than one end record, so that tools would disagree about what it holds.")
    place, directory_end = _read_end(read, tail_start + ends[0])
    if place.offset + place.size != directory_end:
        raise damaged("The archive's directory is not where its end record says; bytes are missing or were added.")
    return place


def _end_candidates(tail: bytes) -> list[int]:
    found = []
    position = tail.find(z.END_SIGNATURE)
    while position >= 0:
        if position + z.END.size <= len(tail):
            comment = z.END.unpack_from(tail, position)[7]
            if position + z.END.size + comment == len(tail):
                found.append(position)
        position = tail.find(z.END_SIGNATURE, position + 1)
    return found


def _read_end(read: Read, end_at: int) -> tuple[Place, int]:
    """The directory's place, and where it must end."""
    _, disk, first_disk, here, members, size, offset, _ = z.END.unpack(read(end_at, z.END.size))
    locator_at = end_at - z.END_64_LOCATOR.size
    if locator_at >= 0:
        locator = read(locator_at, z.END_64_LOCATOR.size)
        if locator.startswith(z.END_64_LOCATOR_SIGNATURE):
            return _read_end_64(read, locator, locator_at)
    if disk or first_disk or here != members:
        raise damaged("The archive is one part of several; only whole archives can be read.")
    if members == z.LIMIT_16 or z.LIMIT_32 in (size, offset):
        raise damaged("The archive's end record refers to a zip64 record that is not there.")
    return Place(offset, size, members), end_at


def _read_end_64(read: Read, locator: bytes, locator_at: int) -> tuple[Place, int]:
    _, disk, end_64_at, disks = z.END_64_LOCATOR.unpack(locator)
    if disk or disks != 1 or end_64_at + z.END_64.size > locator_at:
        raise damaged("The archive's zip64 locator is damaged.")
    record = z.END_64.unpack(read(end_64_at, z.END_64.size))
    signature, record_size, _, _, disk, first_disk, here, members, size, offset = record
    if signature != z.END_64_SIGNATURE or end_64_at + 12 + record_size != locator_at:
        raise damaged("The archive's zip64 end record is damaged.")
    if disk or first_disk or here != members:
        raise damaged("The archive is one part of several; only whole archives can be read.")
    return Place(offset, size, members), end_64_at


def read_directory(read: Read, place: Place, limits: ArchiveLimits) -> Iterator[Member]:
    """The members in the order of the file, each checked. Raises ArchiveError at the first that is not right."""
    if place.members > limits.members:
        raise hostile(f"The archive claims {place.members} members; more than {limits.members} are not read.")
    tally = _Tally(limits)
    before: Member | None = None
    for member in _records(read, place):
        if before is None:
            if member.offset != 0:
                raise hostile("Bytes stand before the archive's first member.")
        else:
            yield tally.check(_closed(before, member.offset))
        before = member
    if before is not None:
        yield tally.check(_closed(before, place.offset))
    elif place.offset != 0:
        raise hostile("The archive lists no members but holds bytes in front of its directory.")


def _closed(member: Member, end: int) -> Member:
    """The member with its end known: where the next one begins."""
    least = z.LOCAL_HEADER.size + len(member.raw_name) + member.packed
    if end < member.offset:
        raise damaged("The archive's directory does not list its members in the order of the file.")
    if end - member.offset < least:
        raise hostile(f"The member {member.name!r} overlaps the one after it.")
    return Member._make((*member[:-1], end))  # half the price of _replace, and there are millions


@dataclass(slots=True)
class _Tally:
    """Sizes so far against the limits."""

    limits: ArchiveLimits
    plain: int = 0
    packed: int = 0

    def check(self, member: Member) -> Member:
        limits = self.limits
        self.plain += member.size
        self.packed += member.packed
        if member.size > limits.member_bytes:
            raise hostile(f"The member {member.name!r} claims to hold {format_size(member.size)}.")
        if self.plain > limits.total_bytes:
            raise hostile(f"The archive claims to hold more than {format_size(limits.total_bytes)}.")
        if member.size > limits.ratio_from_bytes and member.size > member.packed * limits.member_ratio:
            raise hostile(f"The member {member.name!r} unpacks to more than {limits.member_ratio} times its size.")
        if self.plain > limits.ratio_from_bytes and self.plain > self.packed * limits.total_ratio:
            raise hostile(f"The archive unpacks to more than {limits.total_ratio} times its size.")
        return member


def _records(read: Read, place: Place) -> Iterator[Member]:
    position, end = place.offset, place.offset + place.size
    buffer, start = b"", 0
    fixed = z.CENTRAL_HEADER.size
    for _ in range(place.members):
        # 64 KiB each for name, extra and comment is the most a record can take.
        if len(buffer) - start < fixed + 3 * 0xFFFF and position < end:
            block = read(position, min(_BLOCK_BYTES, end - position))
            position += len(block)
            buffer, start = buffer[start:] + block, 0
        member, start = _parse(buffer, start)
        yield member
    if position != end or start != len(buffer):
        raise damaged("The archive's directory holds more than the members it counts.")


def _parse(buffer: bytes, start: int) -> tuple[Member, int]:
    fixed_end = start + z.CENTRAL_HEADER.size
    if fixed_end > len(buffer) or not buffer.startswith(z.CENTRAL_SIGNATURE, start):
        raise damaged("The archive's directory is damaged.")
    (
        _,
        _,
        _,
        flags,
        method,
        time,
        date,
        crc,
        packed,
        size,
        name_length,
        extra_length,
        comment_length,
        disk,
        _,
        attributes,
        offset,
    ) = z.CENTRAL_HEADER.unpack_from(buffer, start)
    name_end = fixed_end + name_length
    extra_end = name_end + extra_length
    record_end = extra_end + comment_length
    if record_end > len(buffer):
        raise damaged("The archive's directory is damaged.")
    raw_name = buffer[fixed_end:name_end]
    name = _decoded(raw_name, flags)
    if extra_length or z.LIMIT_32 in (size, packed, offset):
        fields = extra_fields(buffer[name_end:extra_end])
        size, packed, offset = _widened(fields, size, packed, offset)
        _refuse_other_name(fields, raw_name)
    member = Member(name, raw_name, method, flags, (date << 16) | time, crc, packed, size, offset, 0)
    if disk:
        raise damaged("The archive is one part of several; only whole archives can be read.")
    _refuse_odd(member, attributes)
    return member, record_end


def _refuse_odd(member: Member, attributes: int) -> None:
    if member.flags & _REFUSED_FLAGS:
        raise hostile(f"The member {member.name[:200]!r} is encrypted.")
    if member.method not in (z.STORED, z.DEFLATED) or member.flags & z.FLAG_PATCHED:
        method = member.method
        raise hostile(f"The member {member.name[:200]!r} is packed by a method that Holdfast does not read ({method}).")
    if member.method == z.STORED and member.packed != member.size:
        raise damaged(f"The member {member.name[:200]!r} is stored, but its two sizes differ.")
    kind = stat.S_IFMT(attributes >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise hostile(f"The member {member.name[:200]!r} is a link or a device, not a file.")
    is_directory = member.name.endswith("/")
    if (kind == stat.S_IFDIR and not is_directory) or (is_directory and (member.size or kind == stat.S_IFREG)):
        raise hostile(f"The member {member.name[:200]!r} is a file and a directory at once.")


def _decoded(raw_name: bytes, flags: int) -> str:
    if _FILESTORE.fullmatch(raw_name):  # what nearly all members are called, and no fault can be in it
        return raw_name.decode("ascii")
    try:
        name = raw_name.decode("utf-8" if flags & z.FLAG_UTF8 else "cp437")
    except UnicodeDecodeError:
        raise hostile(f"A member's name is not text: {raw_name[:80]!r}.") from None
    fault = z.name_fault(name)
    if fault:
        raise hostile(f"The member name {name[:200]!r} is not acceptable: {fault}.")
    return name


def extra_fields(extra: bytes) -> dict[int, bytes]:
    """The extra fields by their id. Raises ArchiveError when they do not add up or one comes twice."""
    fields: dict[int, bytes] = {}
    position = 0
    while position < len(extra):
        if position + 4 > len(extra):
            raise damaged("A member's extra fields are damaged.")
        field, length = struct.unpack_from("<2H", extra, position)
        position += 4 + length
        if position > len(extra) or field in fields:
            raise damaged("A member's extra fields are damaged.")
        fields[field] = extra[position - length : position]
    return fields


def _widened(fields: dict[int, bytes], *numbers: int) -> tuple[int, int, int]:
    """The three numbers, each replaced by its 64-bit value where it says so."""
    wide = fields.get(z.ZIP64_FIELD, b"")
    found = []
    position = 0
    for number in numbers:
        if number == z.LIMIT_32:
            if position + 8 > len(wide):
                raise damaged("A member's zip64 field is missing or damaged.")
            number = struct.unpack_from("<Q", wide, position)[0]  # noqa: PLW2901 - the number, read where it stands
            position += 8
        found.append(number)
    return found[0], found[1], found[2]


def _refuse_other_name(fields: dict[int, bytes], raw_name: bytes) -> None:
    # Info-ZIP's Unicode path field: some tools would take this name instead of the one that was checked.
    other = fields.get(_UNICODE_PATH_FIELD)
    if other is not None and other[5:] != raw_name:
        raise hostile(f"The member {raw_name[:80]!r} has a second, different name.")
