"""Raw deflate at the speed of isal, and the decision not to deflate what would not shrink.

Level 2 of isal packs SQL text about twenty times as fast as zlib's level 6 at 94 % of its ratio; JPEG and PDF gain
nothing and are better stored. One deflate stream per member: Info-ZIP's ``unzip`` is slow on members made of many
flushed blocks.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import cast

from isal import isal_zlib

from webapp.engine.archive.zip_format import DEFLATED, STORED

# isal's type stubs declare the class as an instance.
InflateError = cast(type[Exception], isal_zlib.error)

LEVEL = 2
RAW = -15
# A sample that keeps more than this share of its size belongs to something that is compressed already.
WORTHWHILE = 0.96
SAMPLE_BYTES = 16 * 1024
# Below this a sample costs more than trying the whole.
SAMPLED_FROM_BYTES = 64 * 1024
# isal 1.9.1 looks past the end of very small input, so that the same 400 bytes do not always pack to the same length.
ZLIB_BELOW_BYTES = 4 * 1024
_STORED_BLOCK = struct.Struct("<BHH")
_STORED_BLOCK_BYTES = 0xFFFF


def crc32(data: bytes | memoryview, before: int = 0) -> int:
    """CRC-32 as zip files use it, continued from ``before``."""
    return int(isal_zlib.crc32(data, before))


def shrinks(samples: Iterable[bytes]) -> bool:
    """Whether deflate would make bytes such as these noticeably smaller."""
    plain = packed = 0
    for sample in samples:
        plain += len(sample)
        packed += len(isal_zlib.compress(sample, 1, RAW))
    return packed < plain * WORTHWHILE


def pack(data: bytes) -> tuple[int, bytes]:
    """``data`` deflated, or as it is where that is no larger: (zip method, bytes)."""
    if len(data) >= SAMPLED_FROM_BYTES:
        middle = len(data) // 2
        if not shrinks((data[:SAMPLE_BYTES], data[middle : middle + SAMPLE_BYTES])):
            return STORED, data
    packed = isal_zlib.compress(data, LEVEL, RAW) if len(data) >= ZLIB_BELOW_BYTES else zlib.compress(data, 6, RAW)
    return (DEFLATED, packed) if len(packed) < len(data) else (STORED, data)


class Deflater:
    """One raw deflate stream, fed in pieces."""

    def __init__(self) -> None:
        self._stream = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, RAW)

    def feed(self, data: bytes) -> bytes:
        """Deflated bytes that are ready, perhaps none."""
        return bytes(self._stream.compress(data))

    def finish(self) -> bytes:
        """The rest of the stream."""
        return bytes(self._stream.flush())


class Storer:
    """A deflate stream of stored blocks: no work, 5 bytes per 64 KiB, readable by every tool, also while it streams."""

    def feed(self, data: bytes) -> bytes:
        """``data`` in stored blocks."""
        pieces = []
        for start in range(0, len(data), _STORED_BLOCK_BYTES):
            piece = data[start : start + _STORED_BLOCK_BYTES]
            pieces.append(_STORED_BLOCK.pack(0, len(piece), len(piece) ^ 0xFFFF))
            pieces.append(piece)
        return b"".join(pieces)

    def finish(self) -> bytes:
        """The empty final block."""
        return _STORED_BLOCK.pack(1, 0, 0xFFFF)


def rechunk(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The same bytes in pieces of exactly ``size`` (the last may be shorter).

    isal's output depends on how its input is cut, and a pipe cuts at random: this keeps equal input equal output.
    """
    waiting: list[bytes] = []
    held = 0
    for chunk in chunks:
        waiting.append(chunk)
        held += len(chunk)
        if held < size:
            continue
        joined = b"".join(waiting)
        whole = held - held % size
        for start in range(0, whole, size):
            yield joined[start : start + size]
        waiting = [joined[whole:]]
        held -= whole
    if held:
        yield b"".join(waiting)
