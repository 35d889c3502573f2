"""Snapshots of a real host, taken by the engine: the plan, and the way from a source to its tree in the snapshot."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.sshd import SshServer
from webapp.core.snapshot_plans import HostPlan, SnapshotPlace, SnapshotPlan, SnapshotResult
from webapp.engine.report import Reporter, SilentReporter
from webapp.engine.snapshots.places import open_root
from webapp.engine.snapshots.take import take

FIRST_DAY = datetime(2026, 11, 1, 2, 15, tzinfo=UTC)
DIRECTORY = "web-1"


def plan_of(server: SshServer, root: Path, source: Path, *, run_id: int = 1, **changes: Any) -> SnapshotPlan:
    """The snapshot of the run's day; changes are of the plan, ``host`` being a mapping of changes of the host's."""
    host = HostPlan(ssh=server.plan(), paths=(str(source),), timeout_seconds=30)
    moment = FIRST_DAY + timedelta(days=run_id)
    plan = SnapshotPlan(
        run_id=run_id,
        fence=1,
        attempt=1,
        instance_id=1,
        instance_uid="web-1",
        instance_name="web-1",
        job_id=1,
        host=replace(host, **changes.pop("host", {})),
        root=str(root),
        directory=DIRECTORY,
        name=f"{moment:%Y%m%dT%H%M%SZ}",
        started_at=moment,
        reserve_bytes=0,
    )
    return replace(plan, **changes)


def taken(plan: SnapshotPlan, reporter: Reporter | None = None) -> SnapshotResult:
    """The snapshot, its root made when it is missing."""
    open_root(plan.root, create=True)
    return take(plan, reporter or SilentReporter())


def tree_of(place: SnapshotPlace, source: Path) -> Path:
    """Where the source's tree lies in the snapshot."""
    return Path(place.tree + str(source))


def partial_tree(plan: SnapshotPlan, run_id: int | None = None) -> Path:
    """Where an unfinished tree of the run lies."""
    number = plan.run_id if run_id is None else run_id
    return Path(plan.root, plan.directory, ".partial", str(number), "data")
