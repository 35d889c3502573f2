r"""DumpReader: a plain dump cut into statements and the rows of COPY blocks while it flows by, in bounded memory.

It is read as psql reads it, except that nothing in it can be a command: of psql's own commands the two that pg_dump writes
(``\restrict``, ``\unrestrict``) are left out, and any other makes the dump a hostile one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from webapp.core.errors import ArchiveError
from webapp.core.status import ErrorCode
from webapp.core.text import strip_controls
from webapp.engine.archive.dump_scan import TRAILER
from webapp.engine.archive.sql_statements import CopyHeader, EscapedStrings, UnreadableCopy, parse_statement

LONGEST_STATEMENT = 256 * 1024 * 1024
LONG_ROW_BYTES = 4 * 1024 * 1024
# A token may go on behind the end of what was read: a dollar tag has at most 63 letters between its signs.
_HELD_BYTES = 72
_TOKEN = re.compile(
    rb"""(?P<quote>['"])|(?P<end>;)|(?P<line>--)|(?P<block>/\*)|(?P<meta>\\)"""
    rb"|(?P<dollar>(?<![A-Za-z0-9_$\x80-\xff])\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$)"
)
_BLANK = re.compile(rb"\s+")
_ESCAPE_PREFIX = re.compile(rb"(?:^|[^A-Za-z0-9_$\x80-\xff])[eE]\Z")
_IN_BLOCK = re.compile(rb"/\*|\*/")
_META = re.compile(rb"\\(?:un)?restrict [A-Za-z0-9]+\s*\Z")
_VERSION = re.compile(rb"-- Dumped (?:from database|by pg_dump) version (\d{1,3})\b")
# A line that ends the rows, or may when more is read; a pattern is twice as fast as bytes.find here.
_ROWS_END = re.compile(rb"\n\\\.(?:\n|\r\n|\r?\Z)")
# Statements that may hold others: SQL functions written as BEGIN ATOMIC … END, rules with several commands.
_HOLDS_OTHERS = re.compile(rb"CREATE\s+(?:OR\s+REPLACE\s+)?(?:FUNCTION|PROCEDURE|RULE)\b", re.IGNORECASE)
_NESTING = re.compile(
    rb"""'(?:[^']|'')*'|"(?:[^"]|"")*"|(?P<tag>\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$).*?(?P=tag)|--[^\n]*"""
    rb"|/\*.*?\*/|(?P<word>[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*)|(?P<paren>[()])",
    re.DOTALL,
)


@dataclass(slots=True)
class Rows:
    """A piece of a COPY block: whole rows, unless one row is longer than what was read (then ``ends_row`` is False)."""

    data: bytes
    ends_row: bool


@dataclass(slots=True)
class CopyBlock:
    """A COPY … FROM stdin. Take all ``rows`` before going on."""

    statement: bytes
    header: CopyHeader
    rows: Iterator[Rows]


@dataclass(slots=True)
class DumpReader:
    """Iterate over it once. ``table_bytes``, ``statements`` and ``complete`` are right at the end.

    ``majors`` are the versions that its head names: of the server it was taken from and of pg_dump.
    """

    chunks: Iterator[bytes]
    table_bytes: dict[str, int] = field(default_factory=dict)
    statements: int = 0
    size: int = 0
    complete: bool = False
    majors: list[int] = field(default_factory=list)
    _buffer: bytes = b""
    _at: int = 0
    _escaped_strings: bool = False

    def __iter__(self) -> Iterator[bytes | CopyBlock]:
        """Statements without their semicolon, and COPY blocks, in order. Raises ArchiveError."""
        while (text := self._next_statement()) is not None:
            self.statements += 1
            meaning = parse_statement(text)
            if isinstance(meaning, CopyHeader):
                self._skip_line()
                rows = self._copy_rows(meaning.table)
                yield CopyBlock(text, meaning, rows)
                for _ in rows:  # what nobody took is no statement
                    pass
                continue
            if isinstance(meaning, UnreadableCopy):
                raise _hostile("The dump holds a COPY statement that pg_dump does not write.")
            if isinstance(meaning, EscapedStrings):
                self._escaped_strings = True
            yield text

    def _fill(self) -> bool:
        """Read on; False at the end. What lies before ``_at`` is let go."""
        for chunk in self.chunks:
            if chunk:
                self.size += len(chunk)
                self._buffer = self._buffer[self._at :] + chunk
                self._at = 0
                return True
        return False

    def _next_statement(self) -> bytes | None:
        """The next statement; None at the end. Comments between statements are left out, inside they stay."""
        if not self._skip_to_statement():
            return None
        self.complete = False
        place = self._at
        while True:
            token = _TOKEN.search(self._buffer, place)
            if token is None or token.end() + _HELD_BYTES > len(self._buffer):
                stop = token.start() if token else max(place, len(self._buffer) - _HELD_BYTES)
                before = stop - self._at
                if before > LONGEST_STATEMENT:
                    raise _hostile("The dump holds a statement of more than 256 MiB.")
                if self._fill():
                    place = self._at + before
                    continue
                if token is None:
                    return self._ended_early()
            if token.lastgroup == "end" and self._is_whole(token.start()):
                text = self._buffer[self._at : token.start()]
                self._at = token.end()
                return text.rstrip()
            place = self._after(token)

    def _ended_early(self) -> bytes | None:
        rest = self._buffer[self._at :].strip()
        self._at = len(self._buffer)
        if rest:
            raise ArchiveError("The dump ends in the middle of a statement.", code=ErrorCode.TRUNCATED)
        return None

    def _skip_to_statement(self) -> bool:
        """Go to the next statement's first letter, over blanks, comments and psql's two lines; False at the end."""
        while True:
            blank = _BLANK.match(self._buffer, self._at)
            self._at = blank.end() if blank else self._at
            if len(self._buffer) - self._at < _HELD_BYTES and self._fill():
                continue
            start = self._buffer[self._at : self._at + 2]
            if not start:
                return False
            if start == b"--" or start[:1] == b"\\":
                self._note(self._skip_line())
            elif start == b"/*":
                self._at = self._after_block(self._at + 2)
            elif start[:1] == b";":
                self._at += 1
            else:
                return True

    def _note(self, line: bytes) -> None:
        line = line.rstrip()
        if line == TRAILER:
            self.complete = True
        elif found := _VERSION.match(line):
            self.majors.append(int(found[1]))
        elif line.startswith(b"\\") and not _META.match(line):
            shown = strip_controls(line[:60].decode("utf-8", "replace"))
            raise _hostile(f"The dump holds a command to psql, {shown!r}, which pg_dump never writes.")

    def _skip_line(self) -> bytes:
        """Go behind the next newline; the line is returned."""
        while (end := self._buffer.find(b"\n", self._at)) < 0:
            if len(self._buffer) - self._at > LONGEST_STATEMENT or not self._fill():
                end = len(self._buffer) - 1
                break
        line = self._buffer[self._at : end + 1]
        self._at = end + 1
        return line

    def _after(self, token: re.Match[bytes]) -> int:
        """The place behind what the token begins. More may be read meanwhile, so that places count from ``_at``."""
        kind, text = token.lastgroup, token[0]
        if kind == "meta":
            raise _hostile("The dump holds a command to psql in the middle of a statement.")
        if kind == "quote" and text == b"'" and self._is_escaped(token.start()):
            return self._after_escaped(token.end())
        if kind in ("quote", "dollar"):
            return self._after_text(text, token.end())
        if kind == "line":
            return self._after_text(b"\n", token.end())
        return self._after_block(token.end()) if kind == "block" else token.end()

    def _is_escaped(self, place: int) -> bool:
        before = self._buffer[max(self._at, place - 2) : place]
        return self._escaped_strings or _ESCAPE_PREFIX.search(before) is not None

    def _after_text(self, text: bytes, place: int) -> int:
        while (end := self._buffer.find(text, place)) < 0:
            place = self._read_on(max(place, len(self._buffer) - len(text) + 1))
        return end + len(text)

    def _after_escaped(self, place: int) -> int:
        while True:
            quote = self._after_text(b"'", place) - 1
            backslashes = 0
            while self._buffer[quote - 1 - backslashes : quote - backslashes] == b"\\":
                backslashes += 1
            place = quote + 1
            if backslashes % 2 == 0:
                if place == len(self._buffer):
                    place = self._read_on(place)
                if self._buffer[place : place + 1] != b"'":
                    return place
                place += 1  # a doubled quote: the literal goes on

    def _after_block(self, place: int) -> int:
        depth = 1
        while depth:
            found = _IN_BLOCK.search(self._buffer, place)
            if found is None:
                place = self._read_on(max(place, len(self._buffer) - 1))
                continue
            depth += 1 if found[0] == b"/*" else -1
            place = found.end()
        return place

    def _read_on(self, place: int) -> int:
        """The same place after more was read. Raises ArchiveError at the end, and for what goes on without one."""
        before = place - self._at
        if before > LONGEST_STATEMENT or not self._fill():
            raise ArchiveError("The dump ends in the middle of a literal or comment.", code=ErrorCode.TRUNCATED)
        return self._at + before

    def _is_whole(self, end: int) -> bool:
        """Whether the semicolon at ``end`` is the statement's own, not one of a statement inside it."""
        head = self._buffer[self._at : min(end, self._at + 100)]
        if not _HOLDS_OTHERS.match(head):
            return True
        depth = parens = 0
        for token in _NESTING.finditer(self._buffer, self._at, end):
            word = (token["word"] or b"").lower()
            if token["paren"]:
                parens += 1 if token["paren"] == b"(" else -1
            elif word == b"begin" or (word == b"case" and depth):
                depth += 1
            elif word == b"end" and depth:
                depth -= 1
        return depth == 0 and parens <= 0

    def _copy_rows(self, table: str) -> Iterator[Rows]:
        r"""The rows up to the line ``\.``."""
        at_line_start = True
        self.table_bytes.setdefault(table, 0)
        while not (at_line_start and self._take_end_marker()):
            stop = self._rows_end()
            if stop < 0:
                if not self._fill():
                    raise ArchiveError(f"The dump ends in the data of {table}.", code=ErrorCode.TRUNCATED)
                continue
            data = self._buffer[self._at : stop]
            self._at = stop
            at_line_start = data.endswith(b"\n")
            self.table_bytes[table] += len(data)
            yield Rows(data, at_line_start)

    def _take_end_marker(self) -> bool:
        r"""Whether the line ``\.`` stands here; it is skipped then."""
        while True:
            here = self._buffer[self._at : self._at + 4]
            if here.startswith((b"\\.\n", b"\\.\r\n")):
                self._at += 3 if here[2:3] == b"\n" else 4
                return True
            if here not in (b"", b"\\", b"\\.", b"\\.\r"):
                return False
            if not self._fill():
                self._at += len(here)
                return here.startswith(b"\\.")

    def _rows_end(self) -> int:
        """Where the whole rows that are here end; in the middle of a row that is very long; -1 when more must be read."""
        if found := _ROWS_END.search(self._buffer, self._at):
            return found.start() + 1
        newline = self._buffer.rfind(b"\n", self._at)
        if newline >= 0:
            return newline + 1
        return len(self._buffer) if len(self._buffer) - self._at > LONG_ROW_BYTES else -1


def _hostile(message: str) -> ArchiveError:
    return ArchiveError(message, hint="Do not restore it with psql.", code=ErrorCode.HOSTILE_ARCHIVE, permanent=True)
