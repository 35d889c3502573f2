"""The connection test of a host: from its name to the free space for its snapshots."""

from __future__ import annotations

from webapp.core.reports import Check
from webapp.core.snapshot_plans import HostPlan
from webapp.engine.report import Reporter


def probe_host(plan: HostPlan, *, root: str, reserve_bytes: int, reporter: Reporter) -> list[Check]:
    """Ask everything that a snapshot will need, in this order; what cannot be asked after a failure is skipped.

    Keys: dns, tcp, ssh, rsync, paths, local_rsync, root, free_space. Changes nothing on the host.
    """
    raise NotImplementedError
