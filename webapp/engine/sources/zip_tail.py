"""Does a stream of zip bytes end where a zip ends? Answers from the last 64 KiB, so nothing is kept or read again."""

from __future__ import annotations

import struct

# APPNOTE 6.3.10: end of central directory (4.3.16), zip64 record (4.3.14) and locator (4.3.15).
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_ZIP64 = struct.Struct("<4sQ2H2L4Q")
_LONGEST_COMMENT = 0xFFFF
_KEPT = _END.size + _LONGEST_COMMENT + _LOCATOR.size + _ZIP64.size
_UNSET = 0xFFFFFFFF


class ZipTail:
    """Fed every block of a stream, says at its end what is missing. Proves the end only; members are verified later."""

    def __init__(self) -> None:
        self.size = 0
        self._tail = bytearray()

    def feed(self, block: bytes | memoryview) -> None:
        """Take the next bytes."""
        self.size += len(block)
        self._tail += block[-_KEPT:]
        if len(self._tail) > 4 * _KEPT:
            del self._tail[:-_KEPT]

    def problem(self) -> str:
        """What is wrong with the end, or ""."""
        tail = bytes(self._tail[-_KEPT:])
        at = tail.rfind(b"PK\x05\x06")
        while at >= 0:
            if len(tail) - at >= _END.size and at + _END.size + _END.unpack_from(tail, at)[7] == len(tail):
                return self._misplaced(tail, at)
            at = tail.rfind(b"PK\x05\x06", 0, at)
        return "it does not end with a zip directory"

    def _misplaced(self, tail: bytes, at: int) -> str:
        """The directory must end exactly where the end record (or its zip64 part) begins, in this very file."""
        start = self.size - len(tail)
        entries, size, offset = _END.unpack_from(tail, at)[4:7]
        ends = start + at
        locator = at - _LOCATOR.size
        if locator >= 0 and tail[locator : locator + 4] == b"PK\x06\x07":
            record = _LOCATOR.unpack_from(tail, locator)[2]
            inside = record - start
            if not 0 <= inside <= locator - _ZIP64.size or tail[inside : inside + 4] != b"PK\x06\x06":
                return "its zip64 end record is not where it says"
            entries, size, offset = _ZIP64.unpack_from(tail, inside)[7:10]
            ends = record
        elif _UNSET in (size, offset):
            return "its zip64 end record is missing"
        if offset + size != ends:
            return f"its zip directory does not fit its size ({offset:,} + {size:,} is not {ends:,})"
        return "" if entries else "its zip directory is empty"
