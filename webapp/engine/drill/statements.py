"""What a statement of a dump means to a drill: which may run beside others, which are left out. Unknown ones run in order.

Only statements exactly as pg_dump writes them are recognised. Whatever else a dump holds is run alone, in its place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from webapp.engine.archive.sql_statements import table_name

_IDENT = rb'(?:"(?:[^"]|"")+"|[a-z_\x80-\xff][a-z0-9_$\x80-\xff]*)'
_NAME = _IDENT + rb"(?:\." + _IDENT + rb")?"
_ACTION = rb"(?:CASCADE|RESTRICT|SET NULL|SET DEFAULT|NO ACTION)"
_COLUMNS = rb"\([^()]*\)"


class Shape(StrEnum):
    """What is done with a statement."""

    OTHER = "other"
    SETTING = "setting"
    EXTENSION = "extension"
    EXTENSION_COMMENT = "extension_comment"
    SCHEMA = "schema"
    SEQUENCE = "sequence"
    INDEX = "index"
    KEY = "key"
    VIEW = "view"
    FOREIGN_KEY = "foreign_key"
    COMMENT = "comment"
    RIGHTS = "rights"
    FOR_SUPERUSERS = "for_superusers"


@dataclass(frozen=True, slots=True)
class Understood:
    """A statement with its meaning.

    Attributes:
        table: The table that it changes, as "schema.table"; "" when that does not matter.
        name: The constraint, the extension or the schema it names, as written.
        other: The extension's schema, or the table that a foreign key refers to, as written.
    """

    text: bytes
    shape: Shape
    table: str = ""
    name: bytes = b""
    other: bytes = b""


_PATTERNS: tuple[tuple[Shape, re.Pattern[bytes]], ...] = tuple(
    (shape, re.compile(pattern, re.DOTALL))
    for shape, pattern in (
        (Shape.SETTING, rb"SET (?!LOCAL |SESSION |ROLE |CONSTRAINTS )[a-z_]+ (?:=|TO) [^;]*\Z"),
        (Shape.SETTING, rb"SELECT pg_catalog\.set_config\('search_path', '[^']*', false\)\Z"),
        (Shape.SEQUENCE, rb"SELECT pg_catalog\.setval\('(?:[^']|'')*', -?\d+, (?:true|false)\)\Z"),
        (Shape.COMMENT, rb"COMMENT ON (?!EXTENSION )[A-Z]+(?: [A-Z]+)* "),
        (
            Shape.INDEX,
            rb"CREATE (?:UNIQUE )?INDEX " + _IDENT + rb" ON (?:ONLY )?(?P<table>" + _NAME + rb") USING ",
        ),
        (
            Shape.FOREIGN_KEY,
            rb"ALTER TABLE ONLY (?P<table>" + _NAME + rb")\s+ADD CONSTRAINT (?P<name>" + _IDENT + rb") FOREIGN KEY "
            + _COLUMNS + rb" REFERENCES (?P<other>" + _NAME + rb")" + _COLUMNS
            + rb"(?: MATCH FULL| ON (?:DELETE|UPDATE) " + _ACTION
            + rb"| DEFERRABLE| INITIALLY DEFERRED)*\Z",
        ),
        (
            Shape.KEY,
            rb"ALTER TABLE ONLY (?P<table>" + _NAME + rb")\s+ADD CONSTRAINT " + _IDENT + rb" (?:PRIMARY KEY|UNIQUE|EXCLUDE)\b",
        ),
        (
            Shape.EXTENSION,
            rb"CREATE EXTENSION (?:IF NOT EXISTS )?(?P<name>" + _IDENT + rb")(?: WITH SCHEMA (?P<other>" + _IDENT + rb"))?\Z",
        ),
        (Shape.VIEW, rb"CREATE (?:OR REPLACE )?VIEW " + _NAME + rb" (?:WITH \([^()]*\) )?AS\s"),
        (Shape.EXTENSION_COMMENT, rb"COMMENT ON EXTENSION (?P<name>" + _IDENT + rb") IS "),
        (Shape.SCHEMA, rb"CREATE SCHEMA (?P<name>" + _IDENT + rb")\Z"),
        (Shape.RIGHTS, rb"(?:GRANT|REVOKE|ALTER DEFAULT PRIVILEGES)\s"),
        (Shape.RIGHTS, rb"ALTER [A-Z]+(?: [A-Z]+)* [^;]* OWNER TO " + _IDENT + rb"\Z"),
        (Shape.FOR_SUPERUSERS, rb"(?:CREATE|ALTER) (?:PUBLICATION|SUBSCRIPTION|EVENT TRIGGER) "),
    )
)  # fmt: skip
_FIRST_WORDS = re.compile(rb"(?:SET|SELECT|COMMENT|CREATE|ALTER|GRANT|REVOKE)\s")
_PLAIN_KEY = re.compile(
    rb"(?P<head>ALTER TABLE ONLY (?P<table>" + _NAME + rb")\s+ADD CONSTRAINT (?P<name>" + _IDENT + rb") "
    rb"(?:PRIMARY KEY|UNIQUE)) (?P<columns>" + _COLUMNS + rb")\Z"
)  # fmt: skip
_CREATED = re.compile(rb"CREATE TABLE (?P<name>" + _NAME + rb") ")
_PARTITIONED = re.compile(rb"CREATE TABLE (?P<name>" + _NAME + rb") .*\)\s*PARTITION BY ", re.DOTALL)


def understand(text: bytes) -> Understood:
    """What the statement (without its semicolon) means."""
    if _FIRST_WORDS.match(text):
        for shape, pattern in _PATTERNS:
            if match := pattern.match(text):
                groups = match.groupdict()
                table = table_name(groups["table"]) if groups.get("table") else ""
                return Understood(text, shape, table, groups.get("name") or b"", groups.get("other") or b"")
    return Understood(text, Shape.OTHER)


def partitioned_table(text: bytes) -> str:
    """The partitioned table that the statement creates, or ""."""
    match = _PARTITIONED.match(text) if text.startswith(b"CREATE TABLE ") else None
    return table_name(match["name"]) if match else ""


def created_table(text: bytes) -> bytes:
    """The table that a CREATE TABLE makes, as written."""
    match = _CREATED.match(text)
    return match["name"] if match else b""


def split_key(text: bytes) -> tuple[bytes, bytes] | None:
    """A primary key or unique constraint in two: the index, which others can be made beside, and the constraint on it."""
    match = _PLAIN_KEY.match(text)
    if match is None:
        return None
    name = match["name"]
    index = b"CREATE UNIQUE INDEX " + name + b" ON ONLY " + match["table"] + b" USING btree " + match["columns"]
    return index, match["head"] + b" USING INDEX " + name


def plain_name(written: bytes) -> str:
    """An identifier without its quotes."""
    if written.startswith(b'"'):
        written = written[1:-1].replace(b'""', b'"')
    return written.decode("utf-8", "replace")
