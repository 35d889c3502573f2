"""The SQL inside an archive: as a stream for psql, and what its head says about the server that it needs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from webapp.core.errors import ArchiveError, NotFound
from webapp.core.status import ArchiveFormat, ErrorCode
from webapp.engine.archive.zip_reader import open_zip
from webapp.engine.pgtools import PgTools, find_tools
from webapp.engine.process import ProcessFailed, clean_environment, stream
from webapp.engine.report import Reporter
from webapp.engine.restore.sql_filter import DumpFilter

DUMP_NAME = "dump.sql"
_HEAD_BYTES = 64 * 1024 * 1024
_EXTENSION = re.compile(rb'CREATE\s+EXTENSION\s+(?:IF\s+NOT\s+EXISTS\s+)?("(?:[^"]|"")*"|[^\s;]+)', re.IGNORECASE)
_ENCODING = re.compile(rb"SET\s+client_encoding\s*(?:=|TO)\s*'([^']*)'", re.IGNORECASE)
# pg_dump writes schemas and extensions before these.
_AFTER_THE_HEAD = re.compile(rb"CREATE\s+(?:UNLOGGED\s+|FOREIGN\s+)?(TABLE|VIEW|SEQUENCE|TYPE|INDEX)\b", re.IGNORECASE)


@dataclass(slots=True)
class DumpHead:
    """What stands before the first table: extensions in the order of the dump, and the database's encoding."""

    extensions: list[str] = field(default_factory=list)
    encoding: str = "UTF8"
    read: bool = False

    def judge(self, text: bytes) -> bool:
        """For DumpFilter: take a note; nothing passes."""
        if match := _EXTENSION.match(text):
            name = match[1].decode("utf-8", "replace")
            self.extensions.append(name[1:-1].replace('""', '"') if name.startswith('"') else name)
        elif match := _ENCODING.match(text):
            self.encoding = match[1].decode("ascii", "replace") or self.encoding
        elif _AFTER_THE_HEAD.match(text):
            self.read = True
        return False


def read_head(path: str, archive_format: ArchiveFormat, reporter: Reporter) -> DumpHead:
    """The head of an archive's dump. Raises ArchiveError."""
    head = DumpHead()
    sieve = DumpFilter(head.judge)
    if archive_format is ArchiveFormat.CUSTOM:
        with custom_sql(path, newest_tools(), reporter, schema_only=True) as chunks:
            for _ in sieve.filtered(chunks):
                reporter.check()
        return head
    with zip_sql(path) as (chunks, _):
        for _ in sieve.filtered(_until(head, chunks)):
            reporter.check()
            if head.read:
                break
    return head


def _until(head: DumpHead, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Pieces small enough that the end of the head is noticed soon."""
    taken = 0
    for chunk in chunks:
        for start in range(0, len(chunk), 64 * 1024):
            if head.read or taken > _HEAD_BYTES:
                return
            piece = chunk[start : start + 64 * 1024]
            taken += len(piece)
            yield piece


@contextmanager
def zip_sql(path: str) -> Iterator[tuple[Iterator[bytes], int]]:
    """The bytes of dump.sql in a zip, and how many there are; its CRC is checked at the end. Raises ArchiveError."""
    with open_zip(path) as archive:
        try:
            member = archive.get_member(DUMP_NAME)
        except NotFound:
            raise ArchiveError("The archive holds no dump.sql.", code=ErrorCode.INCOMPLETE) from None
        yield archive.stream(member), member.size


@contextmanager
def custom_sql(
    path: str, tools: PgTools, reporter: Reporter, *, schema_only: bool = False
) -> Iterator[Iterator[bytes]]:
    """A custom-format archive as SQL. The iterator raises ArchiveError at its end unless pg_restore ended well."""
    argv = [tools.program("pg_restore"), "--file=-", "--no-owner", *(["--schema-only"] if schema_only else []), path]
    with stream(argv, env=clean_environment(), reporter=reporter) as chunks:
        yield _translated(chunks)


def _translated(chunks: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from chunks
    except ProcessFailed as error:
        said = error.stderr_tail.splitlines()[-1:] or [error.message]
        raise ArchiveError(f"pg_restore could not read the archive: {said[0]}", code=ErrorCode.CORRUPT) from error


def newest_tools() -> PgTools:
    """The client programs that read the newest archives. Raises ArchiveError(client_missing)."""
    found = find_tools()
    if not found:
        raise ArchiveError(
            "No pg_restore was found to read the archive with.",
            hint="Install PostgreSQL's client programs on the worker.",
            code=ErrorCode.CLIENT_MISSING,
            permanent=True,
        )
    return max(found, key=lambda one: one.major)
