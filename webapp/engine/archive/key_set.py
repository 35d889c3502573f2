"""A set of 64-bit keys in an array: a million take 16 MB, where Python's own set of numbers takes 100."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator

_FILESTORE = re.compile(rb"filestore/([0-9a-f]{2})/(\1[0-9a-f]{38})")
_SMALLEST = 1024


class KeySet:
    """Keys between 1 and 2**64 - 1 (0 marks a free place). Open addressing, at most half full."""

    def __init__(self, expected: int = 0) -> None:
        self._slots = self._empty(max(_SMALLEST, 2 * expected))
        self._mask = len(self._slots) - 1
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: int) -> bool:
        return self._slots[self._place(key)] == key

    def __iter__(self) -> Iterator[int]:
        return (key for key in self._slots if key)

    def add(self, key: int) -> bool:
        """Whether the key is new."""
        place = self._place(key)
        if self._slots[place] == key:
            return False
        self._slots[place] = key
        self._count += 1
        if self._count * 2 > self._mask:
            self._grow()
        return True

    def _place(self, key: int) -> int:
        slots, mask = self._slots, self._mask
        place = (key ^ (key >> 32)) & mask
        while slots[place] and slots[place] != key:
            place = (place + 1) & mask
        return place

    def _grow(self) -> None:
        old = self._slots
        self._slots = self._empty(2 * len(old))
        self._mask = len(self._slots) - 1
        for key in old:
            if key:
                self._slots[self._place(key)] = key

    @staticmethod
    def _empty(places: int) -> array[int]:
        # Not from bytes: that would hold the memory twice for a moment.
        return array("Q", [0]) * (1 << (places - 1).bit_length())


def member_key(name: bytes) -> int:
    """A key for a member's name: the first 64 bits of the SHA-1 that a filestore name is, else the name's hash.

    Python hashes bytes with SipHash under a key drawn at start (PEP 456), so that no archive can be made to collide;
    a collision by chance (a million names: 3 in 10**8) would refuse an archive, never pass one.
    """
    match = _FILESTORE.fullmatch(name)
    if match:
        return int(match[2][:16], 16) or 1
    return hash(name) & 0xFFFFFFFFFFFFFFFF or 1


def shown_key(key: int) -> str:
    """The beginning of the filestore name behind a key, for people: «ab/ab12cd34ef567890…»."""
    digits = f"{key:016x}"
    return f"{digits[:2]}/{digits}…"
