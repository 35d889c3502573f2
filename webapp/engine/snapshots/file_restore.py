"""Files of a snapshot put back on a host, or into a directory of this machine."""

from __future__ import annotations

from webapp.core.snapshot_plans import FileRestorePlan, FileRestoreResult
from webapp.engine.report import Reporter


def run(plan: FileRestorePlan, reporter: Reporter) -> FileRestoreResult:
    """Put them there, or (``dry_run``) say what would be changed and change nothing.

    Raises NotFound for a path that is not in the snapshot, SourceError when the host cannot be reached or refuses, StoreError
    for a directory that may not be written.
    """
    raise NotImplementedError
