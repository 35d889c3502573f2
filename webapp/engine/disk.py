"""The disk below the store: how much is free, and what its refusals mean for the operator."""

from __future__ import annotations

import errno
import os

from webapp.core.errors import StoreError
from webapp.core.status import ErrorCode
from webapp.core.text import format_size

FULL_HINT = (
    "Free space on the store's disk, delete archives that are no longer needed, or move the store to a larger disk."
)
TOO_LONG_HINT = (
    "A path may have 4,095 bytes here, the store's own included: leave this one out, or shorten it at its source."
)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)


def free_bytes(directory: str | int) -> int:
    """Bytes that an ordinary user may still write there. Raises StoreError(store_unavailable)."""
    try:
        facts = os.statvfs(directory)
    except OSError as error:
        raise disk_error(error, "look at the free space of the archive store") from error
    return facts.f_bavail * facts.f_frsize


def require_free(directory: str | int, needed: int, reserve: int) -> None:
    """Raises StoreError(disk_full) unless ``needed`` bytes fit and ``reserve`` remains, and another file may be made."""
    free = free_bytes(directory)
    facts = os.statvfs(directory)
    if facts.f_files and not facts.f_favail:  # Some file systems count none (Btrfs).
        raise StoreError(
            f"The disk can hold no more files: its {facts.f_files} inodes are used up.",
            hint=FULL_HINT,
            code=ErrorCode.DISK_FULL,
        )
    if free < needed + reserve:
        raise StoreError(
            f"The archive store has {format_size(free)} free; {format_size(needed + reserve)} are needed"
            f" ({format_size(reserve)} of it stay in reserve).",
            hint=FULL_HINT,
            code=ErrorCode.DISK_FULL,
        )


def disk_error(error: OSError, action: str) -> StoreError:
    """The refusal of the disk as a sentence: «Could not ``action``: …»."""
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        why = "its quota is used up" if error.errno == errno.EDQUOT else "it is full"
        return StoreError(f"Could not {action}: the disk refused, {why}.", hint=FULL_HINT, code=ErrorCode.DISK_FULL)
    if error.errno in _REFUSED:
        return StoreError(
            f"Could not {action}: {reason}.",
            hint="The store must be mounted writable and belong to the user that Holdfast runs as.",
            code=ErrorCode.STORE_UNAVAILABLE,
        )
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENOTCONN):
        return StoreError(
            f"Could not {action}: {reason}.",
            hint="Check that the store's disk is mounted.",
            code=ErrorCode.STORE_UNAVAILABLE,
        )
    if error.errno == errno.ENAMETOOLONG:
        return StoreError(f"Could not {action}: {reason}.", hint=TOO_LONG_HINT, permanent=True)
    return StoreError(
        f"Could not {action}: {reason}.",
        hint="The disk may be failing; look at the system's log.",
        code=ErrorCode.STORE_ERROR,
    )
