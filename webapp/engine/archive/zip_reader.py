"""Reading zip archives of any origin: one member as a stream, or all of them in parallel; bounded memory in both.

``open_zip`` walks and checks the whole directory before any member can be read, so that a hostile archive is refused
before a byte of it is unpacked.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from isal import isal_zlib

from webapp.core.errors import ArchiveError, NotFound
from webapp.core.status import ErrorCode
from webapp.engine.archive import zip_format as z
from webapp.engine.archive.compression import RAW, InflateError, crc32
from webapp.engine.archive.key_set import KeySet, member_key
from webapp.engine.archive.zip_directory import (
    ArchiveLimits,
    Member,
    Place,
    damaged,
    extra_fields,
    find_directory,
    hostile,
    read_directory,
)
from webapp.engine.disk import disk_error

__all__ = ["ArchiveLimits", "Member", "ZipArchive", "open_zip"]

# A member up to these sizes is read and unpacked in one piece.
WHOLE_PACKED_BYTES = 1024 * 1024
WHOLE_PLAIN_BYTES = 4 * 1024 * 1024
# What flows through the processor's caches, and never costs the C library a mapping of its own (engine/memory.py).
_PACKED_BLOCK_BYTES = 192 * 1024
_PLAIN_BLOCK_BYTES = 384 * 1024


class ZipArchive:
    """An opened archive whose directory was checked. Reading is by position: any number of threads may read."""

    def __init__(self, descriptor: int, file_size: int, limits: ArchiveLimits) -> None:
        self.descriptor = descriptor
        self.file_size = file_size
        self._limits = limits
        self._place: Place = find_directory(self.read, file_size)
        self._names = KeySet(min(self._place.members, limits.members))
        self.plain_bytes = 0
        for member in self.members():
            self.plain_bytes += member.size
            if not self._names.add(member_key(member.raw_name)):
                raise hostile(f"The archive holds {member.name!r} twice.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self._place.members

    def close(self) -> None:
        """Close the file; may be called twice."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    @property
    def name_keys(self) -> KeySet:
        """``member_key`` of every name."""
        return self._names

    def members(self) -> Iterator[Member]:
        """All members in the order of the file."""
        return read_directory(self.read, self._place, self._limits)

    def get_member(self, name: str) -> Member:
        """The member of that name. Raises NotFound."""
        if member_key(name.encode("utf-8", "surrogatepass")) in self._names:
            for member in self.members():
                if member.name == name:
                    return member
        raise NotFound(f"The archive holds no {name!r}.")

    def stream(self, member: Member) -> Iterator[bytes]:
        """The member's content in pieces; size and CRC are checked after the last, so take them all before trusting any.

        Raises ArchiveError(corrupt) for any disagreement between directory, header, data and descriptor.
        """
        crc = size = 0
        for piece in self._pieces(member):
            crc = crc32(piece, crc)
            size += len(piece)
            if size > member.size:
                raise damaged(f"The member {member.name!r} holds more than its size says.")
            yield piece
        if size != member.size:
            raise damaged(f"The member {member.name!r} holds {size} bytes instead of {member.size}.")
        if crc != member.crc:
            raise damaged(f"The member {member.name!r} is damaged: its checksum does not match.")

    def read(self, offset: int, size: int) -> bytes:
        """Exactly ``size`` bytes at ``offset``. Raises ArchiveError(truncated) when the file ends before."""
        try:
            data = os.pread(self.descriptor, size, offset)
            while len(data) < size:
                more = os.pread(self.descriptor, size - len(data), offset + len(data))
                if not more:
                    raise damaged("The archive ends in the middle of a member; it was cut off.", ErrorCode.TRUNCATED)
                data += more
        except OSError as error:
            raise disk_error(error, "read the archive") from error
        return data

    def _pieces(self, member: Member) -> Iterator[bytes]:
        extent = member.end - member.offset
        if extent <= WHOLE_PACKED_BYTES and member.size <= WHOLE_PLAIN_BYTES:
            raw = self.read(member.offset, extent)
            start = _check_local_header(member, raw)
            _check_descriptor(member, raw[start + member.packed :])
            yield _unpacked(member, raw[start : start + member.packed])
            return
        # A name and an extra field of 64 KiB each are the most that can stand before the data.
        head = self.read(member.offset, min(extent, z.LOCAL_HEADER.size + 2 * 0xFFFF))
        start = _check_local_header(member, head)
        rest_at = member.offset + start + member.packed
        _check_descriptor(member, self.read(rest_at, min(member.end - rest_at, 32)))
        blocks = self._blocks(member.offset + start, member.packed)
        yield from blocks if member.method == z.STORED else _inflated(member, blocks)

    def _blocks(self, offset: int, size: int) -> Iterator[bytes]:
        end = offset + size
        while offset < end:
            block = self.read(offset, min(_PACKED_BLOCK_BYTES, end - offset))
            offset += len(block)
            yield block


def open_zip(path: str, limits: ArchiveLimits | None = None) -> ZipArchive:
    """Open and check an archive. Raises ArchiveError for what is not a whole, harmless zip, StoreError from the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise disk_error(error, "open the archive") from error
    try:
        return ZipArchive(descriptor, os.fstat(descriptor).st_size, limits or ArchiveLimits())
    except BaseException:
        os.close(descriptor)
        raise


def _check_local_header(member: Member, raw: bytes) -> int:
    """Where the data starts within ``raw``, after comparing the header in front of it with the directory."""
    if not raw.startswith(z.LOCAL_SIGNATURE):
        raise damaged(f"The member {member.name!r} has no header.")
    _, _, flags, method, time, date, crc, packed, size, name_length, extra_length = z.LOCAL_HEADER.unpack_from(raw)
    start = int(z.LOCAL_HEADER.size + name_length + extra_length)
    if start + member.packed > member.end - member.offset:
        raise damaged(f"The member {member.name!r} does not fit where it lies.")
    name = raw[z.LOCAL_HEADER.size : z.LOCAL_HEADER.size + name_length]
    if (flags, method, (date << 16) | time, name) != (member.flags, member.method, member.stamp, member.raw_name):
        raise damaged(f"The header of {member.name!r} and the archive's directory disagree.")
    fields = extra_fields(raw[start - extra_length : start])
    numbers = (crc, *_local_sizes(fields, packed, size))
    true = (member.crc, member.packed, member.size)
    if numbers != true and not (flags & z.FLAG_DESCRIPTOR and not any(numbers)):
        raise damaged(f"The header of {member.name!r} and the archive's directory disagree about its size.")
    return start


def _local_sizes(fields: dict[int, bytes], packed: int, size: int) -> tuple[int, int]:
    wide = fields.get(z.ZIP64_FIELD)
    if wide is None or len(wide) < 16 or (packed, size) != (z.LIMIT_32, z.LIMIT_32):
        return packed, size
    wide_size, wide_packed = struct.unpack_from("<2Q", wide)
    return int(wide_packed), int(wide_size)


def _check_descriptor(member: Member, rest: bytes) -> None:
    """Behind the data lies nothing, or for a streamed member its descriptor and nothing else."""
    numbers = struct.pack("<I2I" if len(rest) in (12, 16) else "<I2Q", member.crc, *_fitting(member, len(rest)))
    if not member.flags & z.FLAG_DESCRIPTOR:
        if rest:
            raise hostile(f"Hidden bytes lie behind the member {member.name!r}.")
    elif rest not in (numbers, z.DESCRIPTOR_SIGNATURE + numbers):
        raise damaged(f"The descriptor behind {member.name!r} and the archive's directory disagree.")


def _fitting(member: Member, length: int) -> tuple[int, int]:
    if length in (12, 16):
        return member.packed & z.LIMIT_32, member.size & z.LIMIT_32
    return member.packed, member.size


def _unpacked(member: Member, packed: bytes) -> bytes:
    if member.method == z.STORED:
        return packed
    stream = isal_zlib.decompressobj(RAW)
    try:
        data = bytes(stream.decompress(packed, member.size + 1))
    except InflateError as error:
        raise _undeflatable(member) from error
    if not stream.eof or stream.unused_data:
        raise _undeflatable(member)
    return data


def _inflated(member: Member, blocks: Iterator[bytes]) -> Iterator[bytes]:
    stream = isal_zlib.decompressobj(RAW)
    try:
        for block in blocks:
            if stream.eof:
                raise _undeflatable(member)
            data = stream.decompress(block, _PLAIN_BLOCK_BYTES)
            while data:
                yield data
                # Also with an empty tail: output that found no room may still wait inside.
                data = stream.decompress(stream.unconsumed_tail, _PLAIN_BLOCK_BYTES)
    except InflateError as error:
        raise _undeflatable(member) from error
    if not stream.eof or stream.unused_data:
        raise _undeflatable(member)


def _undeflatable(member: Member) -> ArchiveError:
    return damaged(f"The member {member.name!r} is damaged: its data cannot be unpacked.")
