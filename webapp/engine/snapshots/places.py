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
import os
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from webapp.core.errors import StoreError
from webapp.core.snapshot_plans import SnapshotPlace
from webapp.core.status import ErrorCode
from webapp.engine.disk import disk_error, free_bytes
from webapp.engine.durable import make_directory
from webapp.engine.marker import Marker

MARKER = ".holdfast-snapshots"
_MARKER = Marker(MARKER, "holdfast-snapshots", "backup root")
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
    if not root.startswith("/"):
        raise StoreError(f"The backup root {root!r} is not an absolute path.", code=ErrorCode.STORE_UNAVAILABLE)
    path = os.path.realpath(root)
    try:
        if create:
            os.makedirs(path, mode=0o700, exist_ok=True)
        root_id = _MARKER.read(path)
        if root_id is None and create:
            require_usable(path)
            root_id = _MARKER.write(path)
    except OSError as error:
        raise disk_error(error, f"open the backup root at {root}") from error
    if root_id is None:
        raise _MARKER.missing(root)
    return Root(path, root_id, free_bytes(path))


def require_usable(root: str) -> None:
    """A file can be written at the root and takes user attributes, which owners and modes are noted in. Raises StoreError."""
    probe = os.path.join(root, f".probe-{uuid.uuid4().hex}")
    try:
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.setxattr(descriptor, XATTR, b"100644 0,0 0:0")
        finally:
            os.close(descriptor)
            os.unlink(probe)
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.ENOSYS):
            raise disk_error(error, f"write below the backup root at {root}") from error
        raise StoreError(
            f"The file system of the backup root at {root} does not take extended attributes.",
            hint="Owners and modes of the host's files are noted in these. Choose a root on ext4, XFS, Btrfs or ZFS.",
            code=ErrorCode.STORE_UNAVAILABLE,
            permanent=True,
        ) from error


def host_path(root: str, directory: str) -> str:
    """``<root>/<directory>``. Raises StoreError for a directory name that is none of ours."""
    if not _DIRECTORY.fullmatch(directory):
        raise StoreError(f"{directory!r} cannot be a host's directory below the backup root.", permanent=True)
    return os.path.join(root, directory)


def require_place(place: SnapshotPlace) -> str:
    """The place's path. Raises StoreError for one that could lead elsewhere."""
    parent = host_path(place.root, place.directory)
    if not _NAME.fullmatch(place.name):
        raise StoreError(f"{place.name!r} cannot be the name of a snapshot.", permanent=True)
    return os.path.join(parent, place.name)


@contextmanager
def host_lock(root: str, directory: str) -> Iterator[None]:
    """The host's directory, made where it is missing, is this caller's alone to write snapshots in while inside.

    Raises StoreError(target_busy), which a later attempt may retry, when another process holds it.
    """
    parent = host_path(root, directory)
    try:
        make_directory(parent)
        path = os.path.join(parent, LOCK)
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise disk_error(error, f"lock {parent}") from error
    try:
        _lock(descriptor, parent)
        yield
    finally:
        os.close(descriptor)  # Ends the lock too; so does the end of the process, whatever it is.


def partial_path(root: str, directory: str, run_id: int) -> str:
    """``<root>/<directory>/.partial/<run>``, whether it is there or not."""
    return os.path.join(host_path(root, directory), PARTIAL, str(int(run_id)))


def make_partial(root: str, directory: str, run_id: int) -> str:
    """The run's own directory with ``data`` in it, kept when it is there. Returns its path.

    Of a former attempt only the tree and the plan are kept: it may have been killed when it had replaced a file and not yet
    logged its digest, and a program's temporary files may lie beside.
    """
    path = partial_path(root, directory, run_id)
    try:
        for each in (host_path(root, directory), os.path.dirname(path), path, os.path.join(path, DATA)):
            make_directory(each)
        for name in set(os.listdir(path)) - {DATA, PLAN_FILE}:
            os.unlink(os.path.join(path, name))
    except OSError as error:
        raise disk_error(error, f"make {path}") from error
    return path


def take_over_partial(root: str, directory: str, run_id: int, resume_from: Sequence[int]) -> int | None:
    """Make the newest of the dead runs' unfinished trees this run's own, unless it has one. Returns whose it was, or None."""
    own = partial_path(root, directory, run_id)
    left = {partial.run_id for partial in list_partials(root, directory)}
    dead = next((number for number in resume_from if number in left), None)
    if dead is None or run_id in left:
        return None
    try:
        os.rename(partial_path(root, directory, dead), own)
    except OSError as error:
        raise disk_error(error, f"take over what run {dead} left") from error
    return dead


def list_partials(root: str, directory: str) -> list[Partial]:
    """Unfinished trees of the host, by run. ``changed_at`` is that of whatever changes in it while its run works."""
    parent = os.path.join(host_path(root, directory), PARTIAL)
    found = []
    for name in directory_names(parent):
        if name.isdecimal():
            path = os.path.join(parent, name)
            found.append(Partial(int(name), path, _changed_at(path)))
    return sorted(found, key=lambda partial: partial.run_id)


def directory_names(path: str) -> list[str]:
    """The directories in a directory (no links), sorted; none where it is missing. Raises StoreError."""
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise disk_error(error, f"list {path}") from error


def _changed_at(path: str) -> float:
    times = [0.0]
    for each in (path, os.path.join(path, DATA), os.path.join(path, DIGESTS_LOG), os.path.join(path, PLAN_FILE)):
        with contextlib.suppress(FileNotFoundError):
            facts = os.lstat(each)
            # The tree's own mtime is the host's, and may be years old: its ctime is of this machine.
            times.append(facts.st_ctime)
    return max(times)


def _lock(descriptor: int, parent: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StoreError(
            f"Another process is writing a snapshot in {parent}.",
            hint="Only one may work on a host at a time; this one is tried again later.",
            code=ErrorCode.TARGET_BUSY,
        ) from None
    except OSError as error:
        raise disk_error(error, f"lock {parent}") from error
