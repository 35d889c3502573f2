"""Where the many files of a throw-away cluster lie, and how they go: what a file system makes dear."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import struct
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

# linux/fs.h: _IOR('f', 1, long), _IOW('f', 2, long); fs/ext4/ext4.h
_FS_IOC_GETFLAGS = 2 << 30 | struct.calcsize("l") << 16 | ord("f") << 8 | 1
_FS_IOC_SETFLAGS = 1 << 30 | struct.calcsize("l") << 16 | ord("f") << 8 | 2
_EXT4_TOPDIR_FL = 0x00020000


def spread_below(directory: str) -> None:
    """Ask ext4 to place each directory below ours apart from the others (chattr +T); other file systems have no such wish.

    For a minute it passes over every inode that was deleted, one by one for each new file: a cluster made where the last one
    was just removed paid twice for its files.
    """
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            flags = bytearray(struct.calcsize("l"))  # of which the kernel uses an int
            fcntl.ioctl(descriptor, _FS_IOC_GETFLAGS, flags)
            (now,) = struct.unpack_from("i", flags)
            if not now & _EXT4_TOPDIR_FL:
                struct.pack_into("i", flags, 0, now | _EXT4_TOPDIR_FL)
                fcntl.ioctl(descriptor, _FS_IOC_SETFLAGS, flags)
        finally:
            os.close(descriptor)


def remove_cluster(home: str) -> None:
    """The files of each directory by two threads, for the kernel has all their pages to free; then the rest.

    No symbolic link is followed, whatever the server's user left there; what cannot be removed stays for the sweep.
    """
    with ThreadPoolExecutor(2, thread_name_prefix="remove") as pool, contextlib.suppress(OSError):
        for _, _, names, descriptor in os.fwalk(home):
            list(pool.map(_unlink, names, repeat(descriptor)))
    shutil.rmtree(home, ignore_errors=True)


def _unlink(name: str, directory: int) -> None:
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=directory)
