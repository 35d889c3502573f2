"""Verification of a snapshot: manifest, list and tree are asked whether they are what was written."""

from __future__ import annotations

from webapp.core.reports import Check, VerificationReport
from webapp.core.snapshot_plans import SnapshotPlace
from webapp.core.status import VerificationLevel
from webapp.engine.report import Reporter
from webapp.engine.snapshots.listing import ListTotals


def verify(
    place: SnapshotPlace, manifest_sha256: str, list_sha256: str, level: VerificationLevel, reporter: Reporter
) -> VerificationReport:
    """Every check of ``level``; the digests are those that the catalogue keeps ("" where it has none).

    Keys: snapshot_manifest, snapshot_list, snapshot_tree, then snapshot_sample (intact) or snapshot_contents (complete: every file is
    read). A snapshot that is not right is an answer, not an error. A plain one has nothing to be compared with: one check,
    skipped, so the report does not count as passed... see ``VerificationReport``. Raises StoreError, TaskStopped.
    """
    raise NotImplementedError


def sample(tree: str, list_path: str, totals: ListTotals, *, digest: str, reporter: Reporter) -> Check:
    """Up to 64 files and 32 MB, new and carried over, read back from the disk itself and compared with the list.

    Syncs the file system first, so that the page cache can be dropped. Key: snapshot_sample. Raises StoreError, TaskStopped.
    """
    raise NotImplementedError
