"""pg_dump as a stream: of a given snapshot, loadable by the server's own version, its end never trusted unchecked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from webapp.core.status import ArchiveFormat
from webapp.engine.pgerrors import dump_failure
from webapp.engine.pgsnapshot import Snapshot
from webapp.engine.pgtools import PgTools, server_major
from webapp.engine.process import ProcessFailed, stream
from webapp.engine.report import Reporter

IDLE_SECONDS = 1800
# Settings that a newer pg_dump writes at the top and an older server refuses, and since when servers know them.
_NEWER_SETTINGS = {b"SET transaction_timeout = 0;\n": 17}
_HEAD_ENDS = b"SELECT pg_catalog.set_config('search_path'"
_HEAD_BYTES = 16 * 1024


@contextmanager
def dump(
    snapshot: Snapshot, tools: PgTools, archive_format: ArchiveFormat, reporter: Reporter
) -> Iterator[Iterator[bytes]]:
    """Yield the dump's bytes. The iterator raises SourceError at its end for anything but a clean end of pg_dump."""
    plan = snapshot.access.plan
    argv = [
        tools.program("pg_dump"),
        "--no-password",
        "--no-owner",
        f"--snapshot={snapshot.id}",
        f"--lock-wait-timeout={plan.lock_wait_seconds * 1000}",
    ]
    plain = archive_format is ArchiveFormat.ZIP
    argv += ["--format=plain"] if plain else ["--format=custom", "--compress=1"]
    try:
        environment = snapshot.access.environment(snapshot.database)
        with stream(argv, env=environment, reporter=reporter, idle_seconds=IDLE_SECONDS) as raw:
            chunks = raw
            if plain and tools.major > server_major(snapshot.server_version_num):
                chunks = without_newer_settings(raw, server_major(snapshot.server_version_num))
            yield _translated(chunks, snapshot.database)
    except ProcessFailed as error:
        raise dump_failure(error, snapshot.database) from error


def without_newer_settings(chunks: Iterator[bytes], major: int) -> Iterator[bytes]:
    """The same dump without the SET lines at its top that a server of ``major`` does not know.

    Only the preamble is looked at (it ends at the search_path line), and only these exact lines are taken out, so
    that no row can ever be touched.
    """
    head = b""
    for chunk in chunks:
        head += chunk
        if _HEAD_ENDS in head or len(head) > _HEAD_BYTES:
            break
    preamble, ending, rest = head.partition(_HEAD_ENDS)
    if ending:
        for line, since in _NEWER_SETTINGS.items():
            if major < since:
                preamble = preamble.replace(b"\n" + line, b"\n", 1)
    yield preamble + ending + rest
    yield from chunks


def _translated(chunks: Iterator[bytes], database: str) -> Iterator[bytes]:
    try:
        yield from chunks
    except ProcessFailed as error:
        raise dump_failure(error, database) from error
