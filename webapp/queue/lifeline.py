"""Dying with one's parent, so that no process of ours is ever left behind."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(parent_pid: int, signal_number: int = signal.SIGKILL) -> None:
    """From now on the kernel sends us the signal when our parent ends (Linux only; elsewhere nothing happens).

    The kernel means the thread that started us, so start processes from a thread that stays.
    """
    if _libc is None:
        return
    _libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent_pid:  # it ended before the call
        os._exit(1)
