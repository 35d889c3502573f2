"""Removal of trees: gone from their place in one step, then taken apart with the lowest priority; may be repeated at any time."""

from __future__ import annotations

import os

from webapp.core.errors import StoreError
from webapp.core.snapshot_plans import SnapshotPlace
from webapp.core.status import ErrorCode
from webapp.engine.disk import disk_error
from webapp.engine.durable import make_directory, rename_new, sync_directory
from webapp.engine.endings import ProcessFailed
from webapp.engine.process import clean_environment, find_executable, stream
from webapp.engine.report import Reporter
from webapp.engine.snapshots.places import (
    PARTIAL,
    REMOVING,
    directory_names,
    host_path,
    open_root,
    partial_path,
    require_place,
)

# A tree of millions of files may take hours; it says nothing meanwhile.
_LONGEST_SECONDS = 24 * 3600.0


def remove(place: SnapshotPlace, reporter: Reporter) -> bool:
    """Remove a snapshot for good, and what an earlier removal of it left. False when there was nothing.

    Raises StoreError (also when the root is away), TaskStopped; then it is to be called again.
    """
    path = require_place(place)
    open_root(place.root)
    return _put_aside_and_erase(place.root, place.directory, path, place.name.replace("/", "_"), reporter)


def remove_partial(root: str, directory: str, run_id: int, reporter: Reporter) -> bool:
    """Remove a dead run's unfinished tree. False when there was none. Raises StoreError, TaskStopped."""
    path = partial_path(root, directory, run_id)
    open_root(root)
    return _put_aside_and_erase(root, directory, path, f"{PARTIAL}-{int(run_id)}", reporter)


def finish_removals(root: str, directory: str, reporter: Reporter) -> int:
    """Remove what removals that were cut off have left; returns how many there were. Raises StoreError, TaskStopped."""
    open_root(root)
    removing = os.path.join(host_path(root, directory), REMOVING)
    names = directory_names(removing)
    for name in names:
        _erase(os.path.join(removing, name), reporter)
    return len(names)


def _put_aside_and_erase(root: str, directory: str, path: str, name: str, reporter: Reporter) -> bool:
    removing = os.path.join(host_path(root, directory), REMOVING)
    aside = os.path.join(removing, name)
    left = os.path.lexists(aside)
    if left:
        _erase(aside, reporter)
    try:
        facts = os.lstat(path)
    except FileNotFoundError:
        return left
    except OSError as error:
        raise disk_error(error, f"look at {path}") from error
    _put_aside(path, aside, facts)
    _erase(aside, reporter)
    return True


def _put_aside(path: str, aside: str, facts: os.stat_result) -> None:
    parent = os.path.dirname(path)
    if facts.st_dev != os.lstat(parent).st_dev or not os.path.isdir(path) or os.path.islink(path):
        raise StoreError(
            f"{path} is not a directory of the root's own disk; it is not removed.",
            hint="Holdfast made none that is a link or a mount of its own. Look at it, and remove it by hand.",
            permanent=True,
        )
    try:
        make_directory(os.path.dirname(aside))
        rename_new(path, aside)
        sync_directory(parent)
        sync_directory(os.path.dirname(aside))
    except FileNotFoundError:
        return  # Somebody else has put it aside in this moment.
    except OSError as error:
        raise disk_error(error, f"remove {path}") from error


def _erase(path: str, reporter: Reporter) -> None:
    """Unlink all of it, as gently as the system can; interrupted, the next call goes on where this one ended."""
    argv = [*_gently(), "rm", "-rf", "--one-file-system", "--", path]
    try:
        with stream(argv, env=clean_environment(), reporter=reporter, idle_seconds=_LONGEST_SECONDS) as output:
            for _ in output:
                pass
    except ProcessFailed as error:
        raise StoreError(
            f"Could not remove {path}: {error.message}",
            hint=error.stderr_tail[-500:],
            code=ErrorCode.STORE_ERROR,
        ) from error


def _gently() -> list[str]:
    words = []
    if nice := find_executable("nice"):
        words += [nice, "-n", "19"]
    if ionice := find_executable("ionice"):
        words += [ionice, "-c", "3", "-t"]
    return words
