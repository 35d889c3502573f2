"""The journal of a restore: what is about to be changed, stored before it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from webapp.core.errors import TaskStopped
from webapp.core.status import ErrorCode

Journal = Callable[[Mapping[str, Any]], None]
"""Stores the whole state durably; each call replaces what the one before it stored."""


def is_anothers(error: BaseException) -> bool:
    """Whether another has our lease: the target is theirs to put in order, and what has our names now may be theirs."""
    return isinstance(error, TaskStopped) and error.code is ErrorCode.LEASE_LOST
