"""COPY's text format into CSV, as PostgreSQL itself writes it: NULL is an empty field, the empty string is ``""``.

Source: https://www.postgresql.org/docs/current/sql-copy.html, «Text Format» and «CSV Format».
"""

from __future__ import annotations

import re
from typing import BinaryIO

from webapp.engine.archive.sql_statements import decode_field

# What cannot pass unchanged: escapes, what CSV quotes, and empty values, which stand beside a tab or alone in a line.
_NOT_PLAIN = re.compile(rb'[\\",\r]|\t\t|^\t|\t$|^$', re.MULTILINE)
_QUOTED = re.compile(rb'[",\r\n]')


class CsvRows:
    """A Tap that writes a header and then every row. ``rows`` counts them; cuts may fall anywhere."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self._tail: list[bytes] = []
        self.rows = 0
        self.columns: tuple[str, ...] = ()

    def begin(self, columns: tuple[str, ...]) -> None:
        """See Tap; a second block of the same table goes on under the first one's header."""
        if not self.columns:
            self.columns = columns
            self._sink.write(b",".join(_quoted(name.encode("utf-8")) for name in columns) + b"\n")

    def feed(self, block: bytes) -> None:
        """See Tap."""
        whole, newline, rest = block.rpartition(b"\n")
        if not newline:
            self._tail.append(block)
            return
        lines = b"".join((*self._tail, whole))
        self._tail = [rest] if rest else []
        self.rows += lines.count(b"\n") + 1
        if _NOT_PLAIN.search(lines) is None:
            self._sink.write(lines.replace(b"\t", b",") + b"\n")
        else:
            self._sink.write(b"".join(_csv_line(line) for line in lines.split(b"\n")))


def _csv_line(line: bytes) -> bytes:
    return b",".join(_csv_value(value) for value in line.split(b"\t")) + b"\n"


def _csv_value(field: bytes) -> bytes:
    value = decode_field(field)
    return b"" if value is None else _quoted(value)


def _quoted(value: bytes) -> bytes:
    """Quoted where a reader would else take it for something different, as a lone backslash and dot for the end."""
    if value and value != b"\\." and _QUOTED.search(value) is None:
        return value
    return b'"' + value.replace(b'"', b'""') + b'"'
