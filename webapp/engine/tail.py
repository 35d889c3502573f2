"""The end of what a program says on its stderr, and every line of it for whoever listens."""

from __future__ import annotations

import os
from collections.abc import Callable

TAIL_BYTES = 16 * 1024
# A longer line is handed on in pieces: a program cannot fill our memory by never ending its line.
MAX_LINE_BYTES = 64 * 1024

LineObserver = Callable[[bytes], object]


class Tail:
    """The last bytes of a stream, drained by a thread so that the program never blocks on it."""

    def __init__(self, on_line: LineObserver | None = None) -> None:
        self._kept = bytearray()
        self._on_line = on_line
        self._rest = b""

    def drain(self, descriptor: int) -> None:
        """Read to the end. ``on_line`` gets each line without its end, from the thread that this runs in."""
        while data := os.read(descriptor, 64 * 1024):
            self._kept += data
            del self._kept[:-TAIL_BYTES]
            self._hand_on(data)
        if self._on_line is not None and self._rest:
            self._on_line(self._rest)

    def text(self) -> str:
        """Decoded with replacement; control characters but newline and tab are dropped."""
        text = bytes(self._kept).decode("utf-8", "replace")
        return "".join(c for c in text if c in "\n\t" or c.isprintable()).strip()

    def _hand_on(self, data: bytes) -> None:
        if self._on_line is None:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._on_line(line)
        if len(self._rest) > MAX_LINE_BYTES:
            self._on_line(self._rest)
            self._rest = b""
