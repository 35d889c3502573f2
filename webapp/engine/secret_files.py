"""Secrets for programs that read them from a file: kept in memory, so that a killed worker leaves none on a disk."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def secret_file(text: str) -> Iterator[str]:
    """A path that programs of this user can read ``text`` from, mode 0600, while inside.

    On Linux it is an anonymous file in memory, named through /proc of this very process (ssh closes descriptors it
    inherits, so /proc/self would not do). Elsewhere it is a temporary file that is removed on the way out.
    """
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
        descriptor = os.memfd_create("holdfast", os.MFD_CLOEXEC)
        path = f"/proc/{os.getpid()}/fd/{descriptor}"
    else:
        descriptor, path = tempfile.mkstemp(prefix="holdfast-")
    try:
        os.fchmod(descriptor, 0o600)
        with open(descriptor, "w", encoding="utf-8", closefd=False) as file:
            file.write(text)
        yield path
    finally:
        os.close(descriptor)
        if not path.startswith("/proc/"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
