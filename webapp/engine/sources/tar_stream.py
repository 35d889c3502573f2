"""A tar archive as a stream, front to back in bounded memory: plain files only, everything else is named and skipped.

Format: https://www.gnu.org/software/tar/manual/html_node/Standard.html (blocks of 512 bytes, numbers in octal or, by GNU,
in base 256). Names longer than 100 bytes never occur here, so long-name and pax records are not understood but refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from webapp.core.errors import SourceError
from webapp.core.status import ErrorCode

BLOCK = 512
PIECE_BYTES = 256 * 1024
_FILE_TYPES = (b"0", b"\0")
_TYPES_WITHOUT_DATA = b"123456"


@dataclass(frozen=True, slots=True)
class TarMember:
    """One member: its data must be taken before the next member is asked for; what is left is skipped."""

    name: str
    size: int
    is_file: bool
    data: Iterator[bytes]


def read_members(chunks: Iterable[bytes]) -> Iterator[TarMember]:
    """The members in order, up to the mark that ends the archive; what follows it in ``chunks`` is not taken.

    Raises SourceError when the stream ends before the archive does, or is no tar archive.
    """
    reader = _Blocks(iter(chunks))
    while True:
        header = reader.take(BLOCK)
        if not header.strip(b"\0"):
            break
        _require_checksum(header)
        size = _number(header[124:136])
        kind = header[156:157]
        if kind in b"LKxg":
            raise _damaged("a long name, which was not asked for")
        stored = 0 if kind in _TYPES_WITHOUT_DATA else size
        data = reader.pieces(stored)
        yield TarMember(header[:100].rstrip(b"\0").decode("utf-8", "replace"), stored, kind in _FILE_TYPES, data)
        for _ in data:
            pass
        reader.take(-stored % BLOCK)


class _Blocks:
    """Bytes in the sizes that are wanted."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._buffer = memoryview(b"")

    def take(self, size: int) -> bytes:
        return b"".join(self.pieces(size))

    def pieces(self, size: int) -> Iterator[bytes]:
        while size > 0:
            if not self._buffer:
                chunk = next(self._chunks, None)
                if chunk is None:
                    raise _damaged("it ends too early")
                self._buffer = memoryview(chunk)
                continue
            piece = self._buffer[: min(size, PIECE_BYTES)]
            self._buffer = self._buffer[len(piece) :]
            size -= len(piece)
            yield bytes(piece)


def _require_checksum(header: bytes) -> None:
    counted = sum(header[:148]) + 8 * 0x20 + sum(header[156:])
    if counted != _number(header[148:156]):
        raise _damaged("a header is damaged")


def _number(field: bytes) -> int:
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.rstrip(b"\0 ").lstrip()
    try:
        return int(digits or b"0", 8)
    except ValueError:
        raise _damaged("a header is damaged") from None


def _damaged(why: str) -> SourceError:
    return SourceError(f"The stream of files from the host is not whole: {why}.", code=ErrorCode.CONNECTION_LOST)
