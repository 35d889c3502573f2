"""Whether a program and its children still read anything, for one that may be silent for long and at work all the same."""

from __future__ import annotations

import itertools

_NEVER_THE_SAME = itertools.count()
# Two rsyncs that wait for one another send four bytes now and then, for ever, and that is no work.
_UNIT_BYTES = 1024


def bytes_read(pid: int, name: str) -> int:
    """How much the process and its children of that name have read so far, from files, pipes and sockets alike (proc(5)), in KiB.

    Where that cannot be told the answer is never the same twice, as of a program at work.
    """
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = [int(word) for word in file.read().split()]
        return sum(_read_by(each, name) for each in (pid, *children)) // _UNIT_BYTES
    except OSError:
        return -1 - next(_NEVER_THE_SAME)


def _read_by(pid: int, name: str) -> int:
    """0 for a process of another name, and for one that has just ended."""
    try:
        with open(f"/proc/{pid}/comm") as file:
            if file.read().strip() != name:
                return 0
        with open(f"/proc/{pid}/io") as file:
            return int(file.readline().removeprefix("rchar:"))
    except (ProcessLookupError, FileNotFoundError):
        return 0
