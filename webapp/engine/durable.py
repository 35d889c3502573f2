"""Writes that survive a power cut: a file's bytes and the directory entry that names it are both on the disk."""

from __future__ import annotations

import ctypes
import errno
import os

_LIBC = ctypes.CDLL(None, use_errno=True)
_RENAMEAT2 = getattr(_LIBC, "renameat2", None)
_RENAME_NOREPLACE = 1  # linux/fs.h
_AT_FDCWD = -100  # fcntl.h


def sync_file(path: str) -> None:
    """The file's bytes are on the disk. Raises OSError; the file is then not to be trusted."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: str) -> None:
    """The directory's entries are on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_filesystem(descriptor: int) -> None:
    """All that was written to the file system of ``descriptor`` is on the disk: for many new files at once. Raises OSError."""
    syncfs = getattr(_LIBC, "syncfs", None)  # syncfs(2), Linux; the standard library does not know it.
    if syncfs is None:
        os.sync()
    elif syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def write_durably(path: str, data: bytes) -> None:
    """A small file that is there whole or not at all: written beside its place, synced, renamed. Raises OSError."""
    beside = f"{path}.new"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(beside, path)
    sync_directory(os.path.dirname(path))


def rename_new(source: str, target: str) -> None:
    """Rename, which replaces nothing: FileExistsError when ``target`` exists, even as an empty directory. Raises OSError."""
    # renameat2(2), Linux and glibc 2.28; where the file system does not know the flag (EINVAL) we look before we leap.
    if _RENAMEAT2 is not None:
        done = _RENAMEAT2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE)
        number = ctypes.get_errno() if done != 0 else 0
        if not number:
            return
        if number not in (errno.EINVAL, errno.ENOSYS):
            raise OSError(number, os.strerror(number), source, None, target)
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
    os.rename(source, target)


def make_directory(path: str) -> None:
    """The directory exists, and its entry is on the disk when it is new. Raises OSError."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if os.path.islink(path) or not os.path.isdir(path):
            raise
        return
    sync_directory(os.path.dirname(path))
