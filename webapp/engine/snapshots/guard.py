"""The guard before promotion: a tree that looks as if its source had been emptied is not made a snapshot."""

from __future__ import annotations

import os

from webapp.core.errors import SourceError
from webapp.core.path_text import path_bytes
from webapp.core.rsync_options import check_host_path
from webapp.core.snapshot_guard import Losses, refusal_of
from webapp.core.snapshot_plans import SnapshotPlan
from webapp.core.status import ErrorCode
from webapp.engine.snapshots.listing import ListTotals


def require_source(plan: SnapshotPlan, data: str, totals: ListTotals) -> None:
    """Raises SourceError(source_emptied) for a tree that a person has to look at first."""
    losses = Losses(
        base_files=totals.base_files,
        gone_files=totals.gone_files,
        emptied=[("/" + os.fsdecode(each.path), each.base_files) for each in totals.emptied],
        missing_sentinels=missing_sentinels(plan, data),
    )
    if refusal := refusal_of(losses, plan.shrink_percent):
        raise SourceError(
            f"{plan.instance_name} looks emptied, so nothing was promoted. {refusal}",
            hint="Look at the host. Where this is right, accept the change on the run's page and run again.",
            code=ErrorCode.SOURCE_EMPTIED,
            permanent=True,
        )


def missing_sentinels(plan: SnapshotPlan, data: str) -> list[str]:
    """The plan's sentinel files that are not in the tree."""
    return [
        path
        for path in plan.host.sentinel_files
        if not os.path.lexists(os.fsencode(data) + path_bytes(check_host_path(path)))
    ]
