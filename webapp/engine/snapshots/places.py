"""Places below a backup root: its marker, what it must be able to, the hosts' directories and their locks.

    <root>/.holdfast-snapshots               marks the root: an empty mount point has no marker
    <root>/<directory>/.lock                 held (flock) by the one who writes here
    <root>/<directory>/.partial/<run>/       a run at work
    <root>/<directory>/.removing/<name>/     a snapshot that is being removed
    <root>/<directory>/<name>/               a snapshot
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from webapp.core.errors import StoreError
from webapp.core.snapshot_plans import SnapshotPlace
from webapp.core.status import ErrorCode
from webapp.engine.disk import disk_error, free_bytes
from webapp.engine.durable import make_directory, write_durably

MARKER = ".holdfast-snapshots"
MARKER_FORMAT = "holdfast-snapshots"
LOCK = ".lock"
PARTIAL = ".partial"
REMOVING = ".removing"
DATA = "data"
DIGESTS_LOG = "digests.log"
PLAN_FILE = "plan.json"
XATTR = b"user.rsync.%stat"
_DIRECTORY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
# Of a snapshot: one component, or two for a tool that keeps kinds apart (scheduled/2026-11-22T02:15:00).
_NAME = re.compile(r"[A-Za-z0-9_][^/\0]{0,120}(/[A-Za-z0-9_][^/\0]{0,120})?")


@dataclass(frozen=True, slots=True)
class Root:
    """A backup root that is there. ``path`` is absolute and without links; ``free_bytes`` as of when it was opened."""

    path: str
    root_id: str
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Partial:
    """An unfinished tree. ``changed_at`` is POSIX time: the last sign of its run."""

    run_id: int
    path: str
    changed_at: float


def open_root(root: str, *, create: bool = False) -> Root:
    """The backup root at ``root``, which carries our marker. Nothing is written unless ``create``.

    Raises StoreError(store_unavailable) without a marker, as an unmounted disk has none: nothing may then be concluded
    about its snapshots. ``create`` makes directory and marker where they are missing and asks ``require_usable``; only
    whoever knows that the root never held a snapshot says so.
    """
    raise NotImplementedError


def require_usable(root: str) -> None:
    """A file can be written at the root and takes user attributes, which owners and modes are noted in. Raises StoreError."""
    raise NotImplementedError


def host_path(root: str, directory: str) -> str:
    """``<root>/<directory>``. Raises StoreError for a directory name that is none of ours."""
    raise NotImplementedError


@contextmanager
def host_lock(root: str, directory: str) -> Iterator[None]:
    """The host's directory, made where it is missing, is this caller's alone to write snapshots in while inside.

    Raises StoreError(target_busy), which a later attempt may retry, when another process holds it.
    """
    raise NotImplementedError
    yield


def partial_path(root: str, directory: str, run_id: int) -> str:
    """``<root>/<directory>/.partial/<run>``, whether it is there or not."""
    raise NotImplementedError


def make_partial(root: str, directory: str, run_id: int) -> str:
    """The run's own directory with an empty ``data`` in it, kept as it is when it exists. Returns its path."""
    raise NotImplementedError


def take_over_partial(root: str, directory: str, run_id: int, resume_from: Sequence[int]) -> int | None:
    """Make the newest of the dead runs' unfinished trees this run's own, unless it has one. Returns whose it was, or None."""
    raise NotImplementedError


def list_partials(root: str, directory: str) -> list[Partial]:
    """Unfinished trees of the host, by run."""
    raise NotImplementedError
