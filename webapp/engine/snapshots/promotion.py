"""Promotion: the moment an unfinished tree becomes a snapshot, whole and durable, or does not."""

from __future__ import annotations

from webapp.core.snapshot_manifest import SnapshotManifest


def write_manifest(root: str, directory: str, run_id: int, manifest: SnapshotManifest) -> str:
    """Put the manifest into the run's unfinished snapshot; returns the SHA-256 of its file. Raises StoreError."""
    raise NotImplementedError


def promote(root: str, directory: str, run_id: int, name: str) -> None:
    """Make ``.partial/<run>``, which has its tree, its list and its manifest, the snapshot ``<name>``.

    1. what only the run needed is removed, 2. the file system is synced, 3. a rename that never replaces anything, 4. both
    parents are synced. Before step 3 there is no snapshot, after it a whole one. Raises StoreError.
    """
    raise NotImplementedError
