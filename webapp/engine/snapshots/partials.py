"""The unfinished tree that a run works in: its own, or what a dead run of the same host left, as far as that can be trusted."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webapp.core.errors import StoreError
from webapp.core.snapshot_plans import SnapshotPlan
from webapp.core.status import ErrorCode
from webapp.engine.disk import disk_error
from webapp.engine.durable import write_durably
from webapp.engine.endings import ProcessFailed
from webapp.engine.process import clean_environment, stream
from webapp.engine.report import Reporter
from webapp.engine.snapshots.places import DATA, PLAN_FILE, make_partial, partial_path, take_over_partial
from webapp.engine.snapshots.removal import remove_partial

_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Begun:
    """Where the run works. ``reread``: what lies there may be other than it looks, so that contents are to be compared."""

    path: str
    reread: bool


def begin(plan: SnapshotPlan, reporter: Reporter) -> Begun:
    """Take over or make the run's unfinished tree. Inside the host's lock. Raises StoreError, TaskStopped.

    A tree of other paths or options is removed: rsync leaves what it is not asked about. Files that have another name go as well:
    that name may be the base's, and rsync changes modes and owners in place; it links them again at once. A tree from before
    this machine started is kept and compared by content, because files that no one had synced can have their size and time
    and not their bytes.
    """
    dead = take_over_partial(plan.root, plan.directory, plan.run_id, plan.resume_from)
    path = partial_path(plan.root, plan.directory, plan.run_id)
    left = _read_plan(path)
    was_there = os.path.isdir(path)
    if was_there and (left is None or left.get("asked") != _asked(plan)):
        reporter.log("An unfinished tree of other paths or options is removed")
        remove_partial(plan.root, plan.directory, plan.run_id, reporter)
        was_there = False
    make_partial(plan.root, plan.directory, plan.run_id)
    boot = str(left["boot"]) if was_there and left is not None else boot_id()
    _write_plan(path, plan, boot)
    if was_there:
        _remove_shared(f"{path}/{DATA}", reporter)
        whose = f"run {dead}" if dead is not None else "an attempt before"
        reporter.log(f"What {whose} had brought is taken up")
    return Begun(path, reread=was_there and (not boot or boot != boot_id()))


def _remove_shared(data: str, reporter: Reporter) -> None:
    argv = ["find", data, "-xdev", "!", "-type", "d", "-links", "+1", "-delete"]
    try:
        with stream(argv, env=clean_environment(), reporter=reporter) as output:
            for _ in output:
                pass
    except ProcessFailed as error:
        raise StoreError(
            f"Could not part the unfinished tree {data} from its base: {error.message}",
            hint=error.stderr_tail[-500:],
            code=ErrorCode.STORE_ERROR,
        ) from error


def boot_id() -> str:
    """Changes with every start of this machine; "" where that cannot be told, and then nothing is known to be of this start."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


def _read_plan(path: str) -> dict[str, Any] | None:
    try:
        with open(f"{path}/{PLAN_FILE}", "rb") as file:
            data = json.load(file)
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) and {"asked", "boot"} <= set(data) else None


def _asked(plan: SnapshotPlan) -> list[Any]:
    """What decides which files belong into the tree, as JSON gives it back."""
    host = plan.host
    return [*map(list, (host.paths, host.includes, host.excludes, host.options)), host.one_file_system]


def _write_plan(path: str, plan: SnapshotPlan, boot: str) -> None:
    data = {
        "run_id": plan.run_id,
        "fence": plan.fence,
        "name": plan.name,
        "asked": _asked(plan),
        "base": plan.base.name if plan.base else "",
        "boot": boot,
    }
    try:
        write_durably(f"{path}/{PLAN_FILE}", json.dumps(data).encode())
    except OSError as error:
        raise disk_error(error, f"write {path}/{PLAN_FILE}") from error
