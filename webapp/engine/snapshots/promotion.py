"""Promotion: the moment an unfinished tree becomes a snapshot, whole and durable, or does not."""

from __future__ import annotations

import contextlib
import os

from webapp.core.errors import StoreError
from webapp.core.snapshot_manifest import FILE_NAME, LIST_NAME, SnapshotManifest
from webapp.core.snapshot_plans import SnapshotPlace
from webapp.core.status import ErrorCode
from webapp.engine.disk import disk_error
from webapp.engine.durable import rename_new, sync_directory, sync_filesystem, write_durably
from webapp.engine.snapshots.places import DATA, DIGESTS_LOG, PLAN_FILE, open_root, partial_path, require_place

_PARTS = {DATA, FILE_NAME, LIST_NAME}


def write_manifest(root: str, directory: str, run_id: int, manifest: SnapshotManifest) -> str:
    """Put the manifest into the run's unfinished snapshot; returns the SHA-256 of its file. Raises StoreError."""
    try:
        write_durably(os.path.join(partial_path(root, directory, run_id), FILE_NAME), manifest.as_bytes())
    except OSError as error:
        raise disk_error(error, "write the snapshot's manifest") from error
    return manifest.sha256


def sync_root(root: str) -> None:
    """All that was written below the root is on the disk. Raises StoreError."""
    try:
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sync_filesystem(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise disk_error(error, f"write all of the snapshot to the disk of {root}") from error


def sync_partial(partial: str) -> None:
    """All of an unfinished snapshot is on the disk. Raises StoreError; then no other attempt takes it up.

    What a failed sync lost is in memory still, where it looks as it should: nobody could tell which files these are.
    """
    try:
        sync_root(partial)
    except StoreError:
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(partial, PLAN_FILE))
        raise


def promote(root: str, directory: str, run_id: int, name: str) -> None:
    """Make ``.partial/<run>``, which has its tree, its list and its manifest, the snapshot ``<name>``.

    1. what only the run needed is removed, 2. the file system is synced, 3. a rename that never replaces anything, 4. both
    parents are synced. Before step 3 there is no snapshot, after it a whole one. Raises StoreError.
    """
    open_root(root)
    partial = partial_path(root, directory, run_id)
    target = require_place(SnapshotPlace(root, directory, name))
    try:
        for extra in (DIGESTS_LOG, PLAN_FILE):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(partial, extra))
        _require_whole(partial)
        sync_partial(partial)  # The host's directory may lie on a disk of its own.
        rename_new(partial, target)
    except FileExistsError:
        raise StoreError(f"There is a snapshot {target} already.", permanent=True) from None
    except OSError as error:
        raise disk_error(error, "put the snapshot in its place") from error
    try:
        sync_directory(os.path.dirname(target))
        sync_directory(os.path.dirname(partial))
    except OSError as error:
        # It may not survive a power cut, so it is not to be counted: back to where the next attempt finds it.
        with contextlib.suppress(OSError):
            rename_new(target, partial)
        raise disk_error(error, "make the snapshot's place durable") from error


def _require_whole(partial: str) -> None:
    found = set(os.listdir(partial))
    if found != _PARTS:
        raise StoreError(
            f"The unfinished snapshot {partial} cannot be promoted: {', '.join(sorted(found ^ _PARTS))} should"
            f" {'be' if _PARTS - found else 'not be'} in it.",
            code=ErrorCode.STORE_ERROR,
        )
