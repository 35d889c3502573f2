"""Directories that held files in the base and hold none now: as if their disk were not mounted at the host."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import NamedTuple

LEAST_FILES = 10
DEPTH = 3
_KEPT = 1000
_SHOWN = 100


class Emptied(NamedTuple):
    """A directory that held ``base_files`` files in the base and holds none now; ``path`` is relative to the tree."""

    path: bytes
    base_files: int


class EmptiedDirectories:
    """Told of each file that is gone, in the order of the paths' bytes, and asked at the end.

    All that lies below a directory stands together in that order, so only the directories above one path are ever counted.
    """

    def __init__(self, tree: bytes, watched: Sequence[bytes]) -> None:
        self._tree = tree
        self._watched = [path.strip(b"/") for path in watched]
        self._open: dict[bytes, int] = {}
        self._found: list[Emptied] = []

    def gone(self, path: bytes) -> None:
        """A file of the base is not there any more."""
        above = self._above(path)
        for directory in [each for each in self._open if each not in above]:
            self._close(directory)
        for directory in above:
            self._open[directory] = self._open.get(directory, 0) + 1

    def finish(self) -> tuple[Emptied, ...]:
        """The topmost of the directories that hold no file now; the first hundred."""
        for directory in list(self._open):
            self._close(directory)
        paths = {each.path for each in self._found}
        topmost = [each for each in self._found if not any(above in paths for above in _parents(each.path))]
        return tuple(sorted(topmost)[:_SHOWN])

    def _above(self, path: bytes) -> set[bytes]:
        parents = _parents(path)
        return {each for each in parents if each.count(b"/") < DEPTH or each in self._watched}

    def _close(self, directory: bytes) -> None:
        count = self._open.pop(directory)
        if count >= LEAST_FILES and len(self._found) < _KEPT and not _holds_a_file(self._tree + b"/" + directory):
            self._found.append(Emptied(directory, count))


def _parents(path: bytes) -> list[bytes]:
    """a/b/c → "", a, a/b."""
    parts = path.split(b"/")[:-1]
    return [b"/".join(parts[:depth]) for depth in range(len(parts) + 1)] if path else []


def _holds_a_file(directory: bytes) -> bool:
    """Whether anything but directories lies below; a directory of millions of files is left at the first of them."""
    waiting = [directory]
    while waiting:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    return True
                waiting.append(entry.path)
    return False
