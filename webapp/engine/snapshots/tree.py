"""A snapshot's tree as the host had it: looked at, listed, opened, and never left.

Every path is walked one component at a time from the tree's own descriptor, and no symlink is followed. Paths are absolute
as on the host ("/etc/hosts"), as text with surrogate escapes for bytes that are not UTF-8 (``os.fsdecode``).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from webapp.core.errors import NotFound, StoreError
from webapp.core.snapshot_plans import SnapshotPlace
from webapp.core.status import ErrorCode, SnapshotLayout
from webapp.engine.snapshots.nodes import Kind, Node, Real, parse_noted, shown

ATTRIBUTE = "user.rsync.%stat"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LONGEST_TARGET_BYTES = 4096  # PATH_MAX of Linux


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a directory: directories first, then everything else, each in the order of the names' bytes."""

    directory: Node
    entries: tuple[Node, ...]
    total: int
    offset: int


class Walked(NamedTuple):
    """A name come upon in a walk. ``parent`` is open until the next one is asked for. ``path`` is relative to the tree."""

    path: bytes
    parent: int
    name: bytes
    is_directory: bool


def list_directory(place: SnapshotPlace, path: str = "/", *, offset: int = 0, limit: int = 200) -> Listing:
    """One page of a directory. Raises NotFound for what is not there or is no directory."""
    parts = parts_of(path)
    with opened_tree(place) as root, opened_directory(root, parts) as directory:
        names = sorted(_names(directory), key=lambda item: (not item[1], item[0]))
        page = names[max(offset, 0) : max(offset, 0) + max(limit, 0)]
        inside = b"".join(b"/" + part for part in parts)
        entries = [look_at(directory, name, inside + b"/" + name, layout=place.layout) for name, _ in page]
        node = look_at(directory, b".", inside or b"/", layout=place.layout)
    return Listing(node, tuple(entries), len(names), max(offset, 0))


def find_node(place: SnapshotPlace, path: str) -> Node:
    """What lies at the path. Raises NotFound."""
    with opened_tree(place) as root:
        return find_below(root, parts_of(path), layout=place.layout)


def find_below(root: int, parts: list[bytes], *, layout: SnapshotLayout) -> Node:
    """The same, of a tree that is open and of a path's components. Raises NotFound."""
    with opened_directory(root, parts[:-1]) as parent:
        return look_at(parent, parts[-1] if parts else b".", b"/" + b"/".join(parts), layout=layout)


def open_file(place: SnapshotPlace, path: str) -> tuple[BinaryIO, int]:
    """A regular file, open for reading, and its size. Raises NotFound for anything that was no regular file on the host."""
    parts = parts_of(path)
    if not parts:
        raise NotFound("That is the snapshot itself, not a file in it.")
    with opened_tree(place) as root, opened_directory(root, parts[:-1]) as parent:
        node = look_at(parent, parts[-1], b"/" + b"/".join(parts), layout=place.layout)
        if not node.is_file:
            raise NotFound(f"{shown(path)} is not a file but a {node.kind.value.replace('_', ' ')}.")
        descriptor = open_beneath(parent, parts[-1], node.path)
    return os.fdopen(descriptor, "rb"), node.size_bytes


def chosen_parts(place: SnapshotPlace, paths: Sequence[str]) -> list[list[bytes]]:
    """The components of each path, each of which is there, without those that lie below another one; [[]] for all.

    Raises NotFound.
    """
    kept: list[list[bytes]] = []
    for parts in sorted(parts_of(find_node(place, path).path) for path in paths or ("/",)):
        if not kept or parts[: len(kept[-1])] != kept[-1]:
            kept.append(parts)
    return kept


@contextmanager
def opened_tree(place: SnapshotPlace) -> Iterator[int]:
    """The tree's descriptor while inside. Raises NotFound when the snapshot is not on disk."""
    try:
        descriptor = os.open(place.tree, _DIRECTORY)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            hint = "Its disk may not be mounted, or it was removed outside Holdfast."
            raise NotFound(f"The snapshot {place.name} is not on disk at {place.path}.", hint=hint) from error
        raise unreadable(place.path, error) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def opened_directory(root: int, parts: list[bytes]) -> Iterator[int]:
    """A directory's descriptor while inside. Raises NotFound."""
    descriptor = descend(root, parts)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def descend(root: int, parts: list[bytes]) -> int:
    """A new descriptor of the directory at ``parts`` below ``root``. Raises NotFound."""
    current = os.open(b".", _DIRECTORY, dir_fd=root)
    for part in parts:
        try:
            deeper = os.open(part, _DIRECTORY, dir_fd=current)
        except OSError as error:
            raise _missing(b"/" + b"/".join(parts), error) from error
        finally:
            os.close(current)
        current = deeper
    return current


def open_beneath(parent: int, name: bytes, path: str) -> int:
    """A descriptor of the plain file ``name`` in ``parent``; nothing else is ever opened. Raises NotFound, StoreError."""
    # O_NONBLOCK: a fifo that took the file's place since it was looked at must not hold us.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=parent)
    except OSError as error:
        raise _missing(os.fsencode(path), error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotFound(f"{shown(path)} is not a file.")
    return descriptor


def look_at(parent: int, name: bytes, path: bytes, *, layout: SnapshotLayout) -> Node:
    """What ``name`` in the directory ``parent`` was on its host; ``path`` is its path there. Raises NotFound."""
    try:
        seen = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except OSError as error:
        raise _missing(path, error) from error
    real = Real(seen.st_mode, seen.st_uid, seen.st_gid, (os.major(seen.st_rdev), os.minor(seen.st_rdev)))
    if layout is SnapshotLayout.OURS:
        real = _noted(parent, name, seen.st_mode) or real
    kind = real.kind
    return Node(
        path=os.fsdecode(path),
        kind=kind,
        mode=real.permissions,
        uid=real.uid,
        gid=real.gid,
        size_bytes=seen.st_size if kind is Kind.FILE else 0,
        mtime_ns=seen.st_mtime_ns,
        target=_target(parent, name, seen.st_mode) if kind is Kind.SYMLINK else "",
        device=real.device if kind in (Kind.BLOCK_DEVICE, Kind.CHARACTER_DEVICE) else (0, 0),
    )


def walk(root: int, parts: list[bytes], *, by_path: bool = False) -> Iterator[Walked]:
    """Everything below a directory, it itself not among it.

    Each directory comes right before all that is in it; with ``by_path`` the order is that of the whole paths' bytes instead,
    as in ``files.list``. What is kept in memory is the names of the directories on the way down, nothing else.
    """
    stack = [_Level(parts, _ordered(root, parts, by_path=by_path))]
    try:
        while stack:
            level = stack[-1]
            if not level.items:
                stack.pop().close()
                continue
            name, is_directory, deeper = level.items.pop()
            if not deeper:
                yield Walked(b"/".join([*level.parts, name]), level.open(root), name, is_directory)
                continue
            if len(stack) >= _OPEN_LEVELS:
                level.close()
            below = [*level.parts, name]
            stack.append(_Level(below, _ordered(root, below, by_path=by_path)))
    finally:
        for level in stack:
            level.close()


def parts_of(path: str) -> list[bytes]:
    """The components of a path, [] for "/". Raises NotFound for one that could lead out of the tree."""
    try:
        parts = [part for part in os.fsencode(path).split(b"/") if part not in (b"", b".")]
    except UnicodeEncodeError:
        raise NotFound(f"{shown(path)} is not a path in a snapshot.") from None
    if b".." in parts or any(b"\0" in part for part in parts):
        raise NotFound(f"{shown(path)} is not a path in a snapshot.")
    return parts


def unreadable(path: str, error: OSError) -> StoreError:
    """The error of something in the store that cannot be read."""
    hint = "Look at the kernel's log: the disk may be failing." if error.errno == errno.EIO else ""
    return StoreError(f"{shown(path)} cannot be read: {error.strerror}.", hint=hint, code=ErrorCode.STORE_ERROR)


# A directory's descriptor is kept open down to this depth; a hostile tree is deeper than a process may have files open.
_OPEN_LEVELS = 64


class _Level:
    """One directory on the way down. ``items`` is taken from the end."""

    def __init__(self, parts: list[bytes], items: list[tuple[bytes, bool, bool]]) -> None:
        self.parts = parts
        self.items = items
        self._descriptor: int | None = None

    def open(self, root: int) -> int:
        if self._descriptor is None:
            self._descriptor = descend(root, self.parts)
        return self._descriptor

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _ordered(root: int, parts: list[bytes], *, by_path: bool) -> list[tuple[bytes, bool, bool]]:
    """(name, whether it is a directory, whether its inside is meant), the last to come first."""
    with opened_directory(root, parts) as directory:
        items = []
        for name, is_directory in _names(directory):
            items.append((name, is_directory, False))
            if is_directory:
                items.append((name, True, True))
    # "a-b" comes after "a" and before "a/x", since "-" is less than "/".
    items.sort(key=lambda item: (item[0] + b"/" if item[2] and by_path else item[0], item[2]), reverse=True)
    return items


def _names(directory: int) -> Iterator[tuple[bytes, bool]]:
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                yield os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)
    except OSError as error:
        raise unreadable("A directory of the snapshot", error) from error


def _noted(parent: int, name: bytes, on_disk: int) -> Real | None:
    try:
        text = os.getxattr(f"/proc/self/fd/{parent}/".encode() + name, ATTRIBUTE, follow_symlinks=False)
    except OSError:
        return None
    return parse_noted(text, on_disk)


def _target(parent: int, name: bytes, on_disk: int) -> str:
    """Where a symlink leads: a real one's target, or the content of the file that stands for it."""
    try:
        if stat.S_ISLNK(on_disk):
            return os.fsdecode(os.readlink(name, dir_fd=parent))
        descriptor = open_beneath(parent, name, "the symlink")
    except (OSError, NotFound, StoreError):
        return ""
    try:
        return os.fsdecode(os.read(descriptor, _LONGEST_TARGET_BYTES))
    finally:
        os.close(descriptor)


def _missing(path: bytes, error: OSError) -> NotFound | StoreError:
    where = os.fsdecode(path)
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
        return NotFound(f"{shown(where)} is not in this snapshot, or is no directory that can be entered.")
    return unreadable(where, error)
