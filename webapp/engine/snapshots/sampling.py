"""A sample of a snapshot's files, chosen without reading its whole list."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator

from webapp.core.errors import ArchiveError
from webapp.engine.disk import disk_error
from webapp.engine.snapshots.records import NOTHING, Entry, parse_record

MOST_FILES = 64
MOST_BYTES = 32 * 1000 * 1000
_WINDOW = 16 * 1024
_TRIES = 8


def pick_files(list_path: str, new: Iterable[Entry] = ()) -> list[Entry]:
    """Up to 64 files of at most 32 MB together: half of them from ``new`` as far as these go, the others from anywhere.

    Raises StoreError when the list cannot be read.
    """
    chosen: dict[bytes, Entry] = {}
    room = MOST_BYTES
    for entries, most in ((iter(new), MOST_FILES // 2), (_anywhere(list_path), MOST_FILES)):
        for entry in entries:
            if len(chosen) >= most:
                break
            if entry.path not in chosen and entry.size <= room:
                chosen[entry.path] = entry
                room -= entry.size
    return list(chosen.values())


def _anywhere(list_path: str) -> Iterator[Entry]:
    """Files at random offsets of the list; a longer path is a little more likely, which does no harm."""
    try:
        with open(list_path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            for _ in range(MOST_FILES * _TRIES if size else 0):
                offset = random.randrange(size)  # noqa: S311 - a sample, not a secret
                file.seek(offset)
                yield from _first_file(file.read(_WINDOW), at_start=offset == 0)
    except OSError as error:
        raise disk_error(error, "read the snapshot's list of files") from error


def _first_file(window: bytes, *, at_start: bool) -> list[Entry]:
    """The first whole record in the window, when it is of a file."""
    parts = window.split(b"\0", 2)
    record = parts[0] if at_start and len(parts) > 1 else parts[1] if len(parts) > 2 else b""
    try:
        entry = parse_record(record)
    except ArchiveError:  # A directory's, the end of the list, or a damaged one, which other checks report.
        return []
    return [entry] if entry.digest != NOTHING else []
