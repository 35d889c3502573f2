"""What a name of a snapshot was on its host: kind, mode, owner, size, time."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from webapp.core.text import strip_controls

# What rsync --fake-super notes: type and mode in octal, the device's numbers, owner and group. See rsync(1) and its xattrs.c.
_NOTED = re.compile(rb"([0-7]{1,7}) (\d{1,10}),(\d{1,10}) (\d{1,10}):(\d{1,10})\0?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_NS = int((datetime(9999, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()) * 10**9


class Kind(StrEnum):
    """What something really was on its host."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    CHARACTER_DEVICE = "character_device"
    BLOCK_DEVICE = "block_device"
    FIFO = "fifo"
    SOCKET = "socket"


_KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFCHR: Kind.CHARACTER_DEVICE,
    stat.S_IFBLK: Kind.BLOCK_DEVICE,
    stat.S_IFIFO: Kind.FIFO,
    stat.S_IFSOCK: Kind.SOCKET,
}


class Real(NamedTuple):
    """What ``stat`` said on the host: type and mode in one number, owner, group, the device's numbers."""

    mode: int
    uid: int
    gid: int
    device: tuple[int, int]

    @property
    def kind(self) -> Kind:
        """What it was."""
        return _KINDS.get(stat.S_IFMT(self.mode), Kind.FILE)

    @property
    def permissions(self) -> int:
        """The mode without the type."""
        return stat.S_IMODE(self.mode)


@dataclass(frozen=True, slots=True)
class Node:
    """One name of a tree, as the host had it.

    ``mode`` is the permission bits alone. ``size_bytes`` is of a file's content, 0 for anything else. ``target`` is where a
    symlink leads, "" for anything else. ``device`` is (major, minor), (0, 0) for what is no device.
    """

    path: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    size_bytes: int
    mtime_ns: int
    target: str = ""
    device: tuple[int, int] = (0, 0)

    @property
    def name(self) -> str:
        """The last part of the path, "" for the tree itself."""
        return self.path.rpartition("/")[2]

    @property
    def modified_at(self) -> datetime:
        """The time of the last change, held within the years that a datetime can say."""
        return _EPOCH + timedelta(microseconds=max(-(10**15), min(self.mtime_ns, _LATEST_NS) // 1000))

    @property
    def type_bits(self) -> int:
        """The kind as ``stat`` has it: 0o100000 for a file."""
        return next(number for number, kind in _KINDS.items() if kind is self.kind)

    @property
    def mode_text(self) -> str:
        """As ``ls`` writes it: "-rw-r--r--"."""
        return stat.filemode(self.type_bits | self.mode)

    @property
    def is_directory(self) -> bool:
        """Whether it can be entered."""
        return self.kind is Kind.DIRECTORY

    @property
    def is_file(self) -> bool:
        """Whether it has content to hand out."""
        return self.kind is Kind.FILE


def parse_noted(text: bytes, on_disk: int) -> Real | None:
    """What rsync noted in the attribute; None for what it never writes: other words, a directory that lies here as a file."""
    match = _NOTED.fullmatch(text)
    if match is None:
        return None
    mode, (major, minor, uid, gid) = int(match[1], 8), map(int, match.groups()[1:])
    if stat.S_IFMT(mode) not in _KINDS or stat.S_ISDIR(mode) != stat.S_ISDIR(on_disk):
        return None
    return Real(mode, uid, gid, (major, minor))


def shown(path: str) -> str:
    """A path for a sentence: no controls, not too long."""
    return strip_controls(path.replace("\n", "\\n"), 300)
