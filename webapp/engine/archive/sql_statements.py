"""What the statements of a plain dump say, as far as a verification asks: names of tables, headers of COPY blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass

_IDENTIFIER = rb'(?:"(?:[^"]|"")*"|[^\s."();,]+)'
_NAME = rb"(?P<name>" + _IDENTIFIER + rb"(?:\." + _IDENTIFIER + rb")?)"
_COPY = re.compile(
    rb"COPY\s+" + _NAME + rb"\s*(?:\((?P<columns>(?:\"(?:[^\"]|\"\")*\"|[^\")])*)\))?\s*FROM\s+stdin\s*\Z",
    re.IGNORECASE,
)
_COPY_FROM_STDIN = re.compile(rb"COPY\b.*\bFROM\s+stdin\b", re.IGNORECASE | re.DOTALL)
_CREATE_TABLE = re.compile(
    rb"CREATE\s+(?:UNLOGGED\s+|FOREIGN\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?(?:ONLY\s+)?" + _NAME, re.IGNORECASE
)
_INSERT = re.compile(rb"INSERT\s+INTO\s+(?:ONLY\s+)?" + _NAME, re.IGNORECASE)
_STRINGS_WITH_ESCAPES = re.compile(rb"SET\s+standard_conforming_strings\s*(?:=|TO)\s*'?off\b", re.IGNORECASE)
_SPLIT_IDENTIFIERS = re.compile(_IDENTIFIER)
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|x([0-9A-Fa-f]{1,2})|(.))", re.DOTALL)
_LETTERS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


@dataclass(frozen=True, slots=True)
class CopyHeader:
    """A COPY … FROM stdin: whose rows follow, and in which order their columns come."""

    table: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CreatedTable:
    """A CREATE TABLE."""

    table: str


@dataclass(frozen=True, slots=True)
class InsertedInto:
    """An INSERT: the table's rows do not come by COPY, or not only."""

    table: str


@dataclass(frozen=True, slots=True)
class EscapedStrings:
    """From here on a backslash in any string literal escapes what follows."""


@dataclass(frozen=True, slots=True)
class UnreadableCopy:
    """A COPY from stdin that cannot be understood, so that the data after it cannot be told from SQL."""


Statement = CopyHeader | CreatedTable | InsertedInto | EscapedStrings | UnreadableCopy | None


def parse_statement(text: bytes) -> Statement:
    """What one statement (without its semicolon) means to us, None for nothing."""
    word = text[:6].upper()
    if word.startswith(b"COPY"):
        return _parse_copy(text)
    if word == b"CREATE":
        match = _CREATE_TABLE.match(text)
        return CreatedTable(table_name(match["name"])) if match else None
    if word == b"INSERT":
        match = _INSERT.match(text)
        return InsertedInto(table_name(match["name"])) if match else None
    if word.startswith(b"SET") and _STRINGS_WITH_ESCAPES.match(text):
        return EscapedStrings()
    return None


def _parse_copy(text: bytes) -> Statement:
    match = _COPY.match(text)
    if match:
        columns = tuple(_decoded(part) for part in _SPLIT_IDENTIFIERS.findall(match["columns"] or b""))
        return CopyHeader(table_name(match["name"]), columns)
    return UnreadableCopy() if _COPY_FROM_STDIN.match(text) else None


def table_name(written: bytes) -> str:
    """``schema.table`` without quotes, as the source's row counts name it; a bare name belongs to ``public``."""
    parts = [_decoded(part) for part in _SPLIT_IDENTIFIERS.findall(written)]
    return ".".join(parts) if len(parts) > 1 else f"public.{parts[0]}"


def _decoded(identifier: bytes) -> str:
    if identifier.startswith(b'"'):
        identifier = identifier[1:-1].replace(b'""', b'"')
    return identifier.decode("utf-8", "replace")


def decode_field(field: bytes) -> bytes | None:
    """A value of COPY's text format: None for NULL, escapes resolved.

    Source: https://www.postgresql.org/docs/current/sql-copy.html, «Text Format».
    """
    if b"\\" not in field:
        return field
    if field == b"\\N":
        return None
    return _ESCAPE.sub(_unescaped, field)


def _unescaped(match: re.Match[bytes]) -> bytes:
    octal, hexadecimal, letter = match.groups()
    if octal:
        return bytes([int(octal, 8) & 0xFF])
    if hexadecimal:
        return bytes([int(hexadecimal, 16)])
    return _LETTERS.get(letter, letter)
