"""Names looked for in a snapshot: through its list where it has one, else through the tree."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from webapp.core.errors import ArchiveError, NotFound
from webapp.core.snapshot_manifest import LIST_NAME
from webapp.core.snapshot_plans import SnapshotPlace
from webapp.core.status import ErrorCode, SnapshotLayout
from webapp.engine.snapshots.nodes import Node
from webapp.engine.snapshots.tree import find_below, opened_tree, parts_of, unreadable, walk

Found = Node
BLOCK_BYTES = 1024 * 1024
_HINT = "The snapshot's tree can still be browsed and restored."


def search(place: SnapshotPlace, text: str, limit: int = 200) -> Sequence[Found]:
    """The first names whose path holds the text, small and large letters (of ASCII) alike, in the order of the paths' bytes.

    A text with * or ? is a pattern: for the name, or for the whole path where it has a slash. Raises NotFound when the
    snapshot is not on disk, ArchiveError when its list is missing.
    """
    found: list[Found] = []
    try:
        wanted = os.fsencode(text).lower()
    except UnicodeEncodeError:  # No name of bytes reads like that.
        return found
    if not wanted or limit < 1:
        return found
    with opened_tree(place) as root:
        for path in _matching(place, root, wanted):
            with suppress(NotFound):
                found.append(find_below(root, parts_of(os.fsdecode(path)), layout=place.layout))
            if len(found) == limit:
                break
    return found


def _matching(place: SnapshotPlace, root: int, wanted: bytes) -> Iterator[bytes]:
    """Absolute paths that match, as they are on the host."""
    is_pattern = b"*" in wanted or b"?" in wanted
    matches = _pattern(wanted) if is_pattern else lambda path: wanted in path
    if place.layout is SnapshotLayout.PLAIN:
        paths: Iterator[bytes] = (b"/" + walked.path for walked in walk(root, [], by_path=True))
    else:
        paths = _listed(f"{place.path}/{LIST_NAME}", b"" if is_pattern else wanted)
    return (path for path in paths if matches(path.lower()))


def _pattern(wanted: bytes) -> Callable[[bytes], bool]:
    escaped = os.fsdecode(wanted).replace("[", "[[]")
    expression = re.compile(os.fsencode(fnmatch.translate(escaped)))
    if b"/" in wanted:
        return lambda path: expression.match(path) is not None
    return lambda path: expression.match(path.rpartition(b"/")[2]) is not None


def _listed(path: str, needle: bytes) -> Iterator[bytes]:
    """The list's paths; with a needle those alone in whose record it occurs, so that millions are passed over at once."""
    for block in _blocks(path):
        lowered = block.lower() if needle else block
        at = 0
        while at < len(block):
            hit = lowered.find(needle, at)
            if hit < 0:
                break
            start = block.rfind(b"\0", 0, hit) + 1
            at = block.index(b"\0", hit) + 1
            yield b"/" + block[start : at - 1].partition(b"/")[2]


def _blocks(path: str) -> Iterator[bytes]:
    """The list in pieces of whole records."""
    rest = b""
    try:
        with open(path, "rb", opener=_open_plainly) as file:
            while block := file.read(BLOCK_BYTES):
                block = rest + block
                end = block.rfind(b"\0") + 1
                rest = block[end:]
                if len(rest) > BLOCK_BYTES:  # No path is that long.
                    raise ArchiveError(f"The list at {path} is damaged.", hint=_HINT, code=ErrorCode.CORRUPT)
                yield block[:end]
    except FileNotFoundError as error:
        raise ArchiveError(f"The list at {path} is missing.", hint=_HINT, code=ErrorCode.CORRUPT) from error
    except OSError as error:
        raise unreadable(path, error) from error


def _open_plainly(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
