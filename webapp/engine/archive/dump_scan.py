"""DumpScanner: what a plain dump holds, found while it flows by, whatever way it is cut into pieces.

A lexer that knows SQL's quotes, dollar quotes and comments finds the statements; the data of COPY blocks is not lexed
but searched and counted as a whole, which is why this keeps up with the disk. Look-alikes inside literals, function
bodies, comments or data are therefore not taken for the real thing. Memory stays bounded for rows of any length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from webapp.core.errors import ArchiveError
from webapp.core.status import ErrorCode
from webapp.engine.archive.sql_statements import (
    CopyHeader,
    CreatedTable,
    EscapedStrings,
    InsertedInto,
    UnreadableCopy,
    decode_field,
    parse_statement,
)

Row = tuple[bytes | None, ...]

TRAILER = b"-- PostgreSQL database dump complete"
MOST_TABLES = 500_000
# The head of a statement that is kept to be understood: 1,600 columns of 63 quoted bytes fit.
_HEAD_BYTES = 256 * 1024
# Bytes held back at the end of a piece, since a token may go on in the next: a dollar tag has at most 63 between its $.
_HELD_BYTES = 72
# What the lexer looks back at, to tell E'…' from '…' and a dollar quote from a name with a dollar in it.
_CONTEXT_BYTES = 2
_LONGEST_FIELD = 4096
_LONG_ROW_BYTES = 1024 * 1024

_TOKEN = re.compile(
    rb"""(?P<string>'|")|(?P<end>;)|(?P<line>--)|(?P<block>/\*)|(?P<meta>\\)"""
    rb"|(?P<dollar>(?<![A-Za-z0-9_$\x80-\xff])\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$)"
)
_ESCAPE_PREFIX = re.compile(rb"(?:^|[^A-Za-z0-9_$\x80-\xff])[eE]\Z", re.DOTALL)
# Half as fast again as bytes.find with the same three bytes.
_END_OF_DATA = re.compile(rb"\n\\\.")
_IN_ESCAPED = re.compile(rb"['\\]")
_IN_BLOCK = re.compile(rb"/\*|\*/")


@dataclass(frozen=True, slots=True)
class Pick:
    """Rows to be shown: those of one table, reduced to some columns, in lists as they come.

    ``narrow`` is given whole rows as they stand in the dump and answers with those that are worth looking at; the others
    then cost next to nothing.
    """

    columns: tuple[str, ...]
    visit: Callable[[list[Row]], None]
    narrow: Callable[[bytes], list[bytes]] | None = None


class Tap(Protocol):
    """Takes one table's data as it stands in the dump, rows of any length included."""

    def begin(self, columns: tuple[str, ...]) -> None:
        """A COPY block of the table begins, with these columns."""

    def feed(self, block: bytes) -> None:
        """The next bytes of its rows, in COPY's text format, each ended by a newline; cut anywhere."""


@dataclass(slots=True)
class DumpSummary:
    """What was found.

    Attributes:
        complete: The trailer stands at the end, followed by nothing that matters.
        tables: Tables that the dump creates.
        rows: Rows per table in COPY blocks.
        inserted: Tables with INSERT statements; their rows are not counted.
        picked: Tables whose picks were shown.
        ended_in: Where the dump stopped when it did not stop between two statements.
    """

    complete: bool = False
    tables: set[str] = field(default_factory=set)
    rows: dict[str, int] = field(default_factory=dict)
    inserted: set[str] = field(default_factory=set)
    picked: set[str] = field(default_factory=set)
    ended_in: str = ""
    size: int = 0


class DumpScanner:
    """Feed it the dump, then ask ``finish``. ``picks`` are keyed by "schema.table"."""

    def __init__(self, picks: Mapping[str, Pick | Tap] | None = None) -> None:
        self._picks = dict(picks or {})
        self._found = DumpSummary()
        self._buffer = b""
        self._at = 0
        self._step: Callable[[bytes, bool], bool] = self._top
        self._head = bytearray()
        self._tag = b""
        self._depth = 0
        self._escaped_strings = False
        self._trailer_seen = False
        self._after_trailer = False
        self._copy: CopyHeader | None = None
        self._rows: _RowPicker | Tap | None = None

    def feed(self, data: bytes) -> None:
        """The next bytes. Raises ArchiveError when the dump cannot be one of pg_dump's."""
        self._found.size += len(data)
        keep = max(0, self._at - _CONTEXT_BYTES)
        buffer = self._buffer[keep:] + data
        self._at -= keep
        self._run(buffer, final=False)
        self._buffer = buffer

    def finish(self) -> DumpSummary:
        """Nothing more comes: what was found."""
        self._run(self._buffer, final=True)
        self._buffer = b""
        found = self._found
        if self._copy is not None:
            found.ended_in = f"in the data of {self._copy.table}"
        elif self._step != self._top:
            found.ended_in = "in the middle of a literal or comment"
        elif self._head.strip():
            found.ended_in = "in the middle of a statement"
        found.complete = self._trailer_seen and not self._after_trailer and not found.ended_in
        return found

    def _run(self, buffer: bytes, *, final: bool) -> None:
        # A step goes on until it needs more bytes (False) or has handed over to another step (True).
        while self._step(buffer, final):
            pass

    def _top(self, buffer: bytes, final: bool) -> bool:
        """Between literals and comments: look for the next of them, or for the end of the statement."""
        while match := _TOKEN.search(buffer, self._at):
            start, end = match.span()
            kind = match.lastgroup
            if kind == "end":
                self._keep(buffer[self._at : start])
                self._at = end
                if self._statement_ends():
                    return True
                continue
            self._keep(buffer[self._at : start])
            self._at = start
            if kind in ("line", "meta") and not self._head:
                self._step = self._noted_line
            elif kind == "meta":
                self._keep(b"\\")
                self._at = end
                continue
            else:
                self._enter(kind or "", match[0], buffer)
            return True
        held = 0 if final else _HELD_BYTES
        stop = max(self._at, len(buffer) - held)
        self._keep(buffer[self._at : stop])
        self._at = stop
        return False

    def _enter(self, kind: str, token: bytes, buffer: bytes) -> None:
        start = self._at
        self._at += len(token)
        if kind == "line":
            self._step = self._line_comment
        elif kind == "block":
            self._depth = 1
            self._step = self._block_comment
        else:
            self._keep(token)
            self._tag = token
            before = buffer[max(0, start - 2) : start]
            escaped = token == b"'" and (self._escaped_strings or _ESCAPE_PREFIX.search(before) is not None)
            self._step = self._escaped_string if escaped else self._literal

    def _literal(self, buffer: bytes, final: bool) -> bool:
        """In '…', "…" or $tag$…$tag$. A doubled quote ends one literal and begins the next, which comes to the same."""
        end = buffer.find(self._tag, self._at)
        if end < 0:
            stop = max(self._at, len(buffer) - len(self._tag) + 1)
            self._keep(buffer[self._at : stop])
            self._at = stop
            return False
        self._keep(buffer[self._at : end + len(self._tag)])
        self._at = end + len(self._tag)
        self._step = self._top
        return True

    def _escaped_string(self, buffer: bytes, final: bool) -> bool:
        while match := _IN_ESCAPED.search(buffer, self._at):
            place = match.start()
            following = buffer[place + 1 : place + 2]
            if not following and not final:
                self._at = place
                return False
            if match[0] == b"\\" or following == b"'":
                self._at = place + 2
                continue
            self._at = place + 1
            self._keep(b"'")
            self._step = self._top
            return True
        self._at = len(buffer)
        return False

    def _line_comment(self, buffer: bytes, final: bool) -> bool:
        end = buffer.find(b"\n", self._at)
        self._at = len(buffer) if end < 0 else end
        if end < 0:
            if final:
                self._step = self._top
            return False
        self._step = self._top
        return True

    def _block_comment(self, buffer: bytes, final: bool) -> bool:
        while match := _IN_BLOCK.search(buffer, self._at):
            self._at = match.end()
            self._depth += 1 if match[0] == b"/*" else -1
            if self._depth == 0:
                self._step = self._top
                return True
        self._at = max(self._at, len(buffer) - 1)
        return False

    def _noted_line(self, buffer: bytes, final: bool) -> bool:
        """A comment or a command of psql between two statements: is it the trailer, or does something follow it?"""
        end = buffer.find(b"\n", self._at, self._at + 1024)
        if end < 0 and not final and len(buffer) - self._at < 1024:
            return False
        line = buffer[self._at : end if end >= 0 else self._at + 1024].rstrip()
        if line == TRAILER:
            self._trailer_seen = True
        elif line.startswith(b"\\") and not line.startswith(b"\\unrestrict") and self._trailer_seen:
            self._after_trailer = True
        self._step = self._line_comment
        return True

    def _keep(self, text: bytes) -> None:
        """Add to the statement's head; white space in front of it is dropped."""
        if not self._head:
            text = text.lstrip()
            if text and self._trailer_seen:
                self._after_trailer = True
        self._head += text[: _HEAD_BYTES - len(self._head)]

    def _statement_ends(self) -> bool:
        """Note what the statement says; True when the data of a COPY follows."""
        statement = parse_statement(bytes(self._head).rstrip())
        self._head.clear()
        found = self._found
        if isinstance(statement, CopyHeader):
            self._copy = statement
            self._step = self._copy_begins
            return True
        if isinstance(statement, CreatedTable):
            self._note(found.tables, statement.table)
        elif isinstance(statement, InsertedInto):
            self._note(found.inserted, statement.table)
        elif isinstance(statement, EscapedStrings):
            self._escaped_strings = True
        elif isinstance(statement, UnreadableCopy):
            raise ArchiveError("The dump holds a COPY statement that pg_dump does not write.", code=ErrorCode.CORRUPT)
        return False

    @staticmethod
    def _note(tables: set[str], table: str) -> None:
        tables.add(table)
        if len(tables) > MOST_TABLES:
            raise ArchiveError(f"The dump creates more than {MOST_TABLES} tables.", code=ErrorCode.HOSTILE_ARCHIVE)

    def _copy_begins(self, buffer: bytes, final: bool) -> bool:
        """Skip the rest of the statement's line."""
        end = buffer.find(b"\n", self._at)
        if end < 0:
            self._at = len(buffer)
            return False
        self._at = end + 1
        assert self._copy is not None  # set with this step
        pick = self._picks.get(self._copy.table)
        if pick is not None and not isinstance(pick, Pick):
            pick.begin(self._copy.columns)
            self._rows = pick
            self._found.picked.add(self._copy.table)
        elif pick is not None and set(pick.columns) <= set(self._copy.columns):
            self._rows = _RowPicker(pick, self._copy.columns)
            self._found.picked.add(self._copy.table)
        self._found.rows.setdefault(self._copy.table, 0)
        self._step = self._copy_data
        return True

    def _copy_data(self, buffer: bytes, final: bool) -> bool:
        r"""Rows until the line ``\.``; what stands before ``at`` is counted, the newline right before it too."""
        look_from = max(0, self._at - 1)
        while match := _END_OF_DATA.search(buffer, look_from):
            end, marker_end = match.span()
            rest = buffer[marker_end : marker_end + 2]
            if rest.startswith((b"\n", b"\r\n")) or (final and not rest.strip()):
                self._take_rows(buffer, end + 1)
                self._at = min(marker_end, len(buffer))
                self._copy_ends()
                return True
            if rest in (b"", b"\r"):
                break
            look_from = marker_end
        newline = buffer.rfind(b"\n", max(look_from, len(buffer) - 4))
        undecided = newline >= 0 and b"\n\\.\r\n".startswith(buffer[newline:])
        self._take_rows(buffer, newline + 1 if undecided else len(buffer))
        return False

    def _take_rows(self, buffer: bytes, stop: int) -> None:
        assert self._copy is not None  # set with this step
        if stop <= self._at:
            return
        self._found.rows[self._copy.table] += buffer.count(b"\n", self._at, stop)
        if self._rows is not None:
            self._rows.feed(buffer[self._at : stop])
        self._at = stop

    def _copy_ends(self) -> None:
        self._copy = None
        self._rows = None
        self._step = self._top


class _RowPicker:
    """Cuts a COPY block into rows and shows the wanted columns."""

    def __init__(self, pick: Pick, columns: Sequence[str]) -> None:
        self._visit = pick.visit
        self._narrow = pick.narrow or _all_lines
        self._wanted = tuple(columns.index(column) for column in pick.columns)
        self._splits = max(self._wanted) + 1
        self._tail = b""

    def feed(self, block: bytes) -> None:
        """The next bytes of the block."""
        whole, newline, self._tail = (self._tail + block).rpartition(b"\n")
        lines = self._narrow(whole) if newline else []
        if len(self._tail) > _LONG_ROW_BYTES:
            # A row of any length costs no more than the beginnings of its fields; none that is wanted is this long.
            self._tail = b"\t".join(value[:_LONGEST_FIELD] for value in self._tail.split(b"\t"))
        rows = [self._picked(line) for line in lines]
        if rows:
            self._visit(rows)

    def _picked(self, line: bytes) -> Row:
        values = line.split(b"\t", self._splits)
        if len(values) < self._splits:
            raise ArchiveError("The dump holds a row with too few columns.", code=ErrorCode.CORRUPT)
        return tuple(decode_field(values[index]) for index in self._wanted)


def _all_lines(text: bytes) -> list[bytes]:
    return text.split(b"\n")
