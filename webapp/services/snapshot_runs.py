"""Snapshot runs: a host's Run executed. A plan from rows, the tree through the engine, the result in one transaction.

A promoted tree is never taken back: should its run not be able to say so any more, the sweeper does (snapshot_sweep.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.core.errors import InvalidInput
from webapp.core.snapshot_plans import SnapshotPlace, SnapshotPlan, SnapshotResult
from webapp.core.status import (
    ArchiveFormat,
    ArchiveState,
    SnapshotLayout,
    TaskStatus,
    VerificationStatus,
)
from webapp.engine.snapshots.places import open_root
from webapp.engine.snapshots.take import take
from webapp.services.archive_use import BASE_OF_RUN
from webapp.services.connection_tests import is_limited
from webapp.services.execution import Outcome
from webapp.services.hosts import effective, get_host, host_plan
from webapp.services.reporting import TaskReporter
from webapp.services.retention import add_retention
from webapp.services.runs import get_run
from webapp.services.settings import get_settings
from webapp.services.snapshot_places import find_at, is_new_root, place_of, root_of
from webapp.services.snapshot_reads import read_after_run
from webapp.services.snapshot_rows import NewSnapshot, add_snapshot
from webapp.store.db import db, release, writing
from webapp.store.models import Archive, Host, Run, SnapshotRecord

NAME = "%Y%m%dT%H%M%SZ"
MOST_RESUMED = 20


def take_snapshot(run_id: int, reporter: TaskReporter, clock: Callable[[], datetime]) -> Outcome:
    """The body of a host's Run."""
    with writing():
        plan = snapshot_plan(get_run(run_id), clock())
        accepted = get_host(plan.instance_id).shrink_accepted_at
    is_new = is_new_root(plan.root)
    reporter.hide(plan.host.ssh.private_key.reveal())
    release()
    open_root(plan.root, create=is_new)
    result = take(plan, reporter)
    _repeat_warnings(result, reporter)
    error = result.report.error(hint="The snapshot is kept but does not count. Look at the report.")
    outcome = Outcome(values=run_values(result), error=error, irrevocable=True)

    def store(session: Session) -> None:
        run = get_run(run_id)
        record = add_snapshot(session, _new(run, result), now=clock())
        _use_up_acceptance(session, plan.instance_id, accepted)
        outcome.ring += add_followers(session, run, record, now=clock())

    outcome.store = store
    return outcome


def snapshot_plan(run: Run, now: datetime) -> SnapshotPlan:
    """Everything the engine needs, unsealed, as one frozen value.

    Inside the caller's ``writing()``: the base is locked and noted with the run, so that nothing removes it meanwhile.
    """
    instance = run.instance
    if instance is None or instance.deleted_at is not None:
        raise InvalidInput("The host of this run was deleted.")
    host, plan = get_host(instance.id), host_plan(instance, run.job)
    root, directory = root_of(host), host.directory
    base = _find_base(root, directory, plan.paths)
    run.details = {**run.details, BASE_OF_RUN: base.archive_id if base is not None else None}
    started_at = _free_moment(root, directory, now)
    comparable = base is not None and tuple(base.paths) == plan.paths and host.shrink_accepted_at is None
    return SnapshotPlan(
        run_id=run.id,
        fence=run.fence,
        attempt=run.attempt,
        instance_id=instance.id,
        instance_uid=instance.uid,
        instance_name=instance.name,
        job_id=run.job_id,
        host=plan,
        root=root,
        directory=directory,
        name=f"{started_at:{NAME}}",
        started_at=started_at,
        base=place_of(base) if base is not None else None,
        shrink_percent=effective(host).shrink_percent.value if comparable else None,
        secluded=not is_limited(instance.id),
        resume_from=_dead_runs(run),
        reserve_bytes=get_settings().reserve_bytes,
        labels=_labels(run, host),
    )


def _labels(run: Run, host: Host) -> dict[str, str]:
    labels = {"job": run.job_name, "instance": run.instance_name, "triggered_by": run.triggered_by}
    return labels | ({"shrink_accepted_by": host.shrink_accepted_by} if host.shrink_accepted_at else {})


def _find_base(root: str, directory: str, paths: Sequence[str]) -> SnapshotRecord | None:
    """The newest snapshot of the same paths to share files with, else the newest of the host. Its row is locked.

    Only ours: in a plain tree links and devices are real, and sharing would bring them into the new one.
    """
    query = (
        sa.select(SnapshotRecord)
        .join(Archive)
        .where(
            SnapshotRecord.root == root,
            SnapshotRecord.directory == directory,
            SnapshotRecord.layout == SnapshotLayout.OURS,
            Archive.state == ArchiveState.STORED,
            Archive.verification_status != VerificationStatus.FAILED,
        )
        .order_by(Archive.taken_at.desc(), Archive.id.desc())
        .limit(50)
    )
    found = db.session.scalars(query).all()
    base = next((record for record in found if list(record.paths) == list(paths)), found[0] if found else None)
    if base is not None:
        db.session.execute(sa.select(Archive.id).where(Archive.id == base.archive_id).with_for_update())
    return base


def _free_moment(root: str, directory: str, now: datetime) -> datetime:
    """Now, or the first second after it that no snapshot of the host is named after."""
    moment = now.replace(microsecond=0)
    while find_at(SnapshotPlace(root, directory, f"{moment:{NAME}}")) is not None:
        moment += timedelta(seconds=1)
    return moment


def _dead_runs(run: Run) -> tuple[int, ...]:
    """Failed runs of the same job, the newest first: what they brought before they died need not come again."""
    query = (
        sa.select(Run.id)
        .where(
            Run.instance_id == run.instance_id,
            Run.job_id == run.job_id,
            Run.format == ArchiveFormat.SNAPSHOT,
            Run.status == TaskStatus.FAILED,
            Run.id != run.id,
        )
        .order_by(Run.id.desc())
        .limit(MOST_RESUMED)
    )
    return tuple(db.session.scalars(query))


def run_values(result: SnapshotResult) -> dict[str, Any]:
    """Columns of the run."""
    status = VerificationStatus.PASSED if result.report.passed else VerificationStatus.FAILED
    return {"verification_status": status, "size_bytes": result.manifest.new_bytes}


def _new(run: Run, result: SnapshotResult) -> NewSnapshot:
    return NewSnapshot(
        place=result.place,
        taken_at=datetime.fromisoformat(result.manifest.started_at),
        instance_id=run.instance_id,
        instance_name=run.instance_name,
        job_id=run.job_id,
        run_id=run.id,
        manifest=result.manifest,
        manifest_sha256=result.manifest_sha256,
        report=result.report,
    )


def add_followers(session: Session, run: Run, record: SnapshotRecord, *, now: datetime) -> list[int]:
    """Retention and the full read that follow a good snapshot; ids to ring. In the transaction that settles the run."""
    if record.archive.verification_status is not VerificationStatus.PASSED:
        return []
    followers = (add_retention(session, run, now=now), read_after_run(session, record.archive, now=now))
    session.flush()
    return [task.id for task in followers if task is not None]


def _use_up_acceptance(session: Session, instance_id: int, accepted: datetime | None) -> None:
    """The word of a person that fewer files are right holds for one snapshot; a newer word than this one's stays."""
    host = session.get(Host, instance_id)
    if host is not None and accepted is not None and host.shrink_accepted_at == accepted:
        host.shrink_accepted_at, host.shrink_accepted_by = None, ""


def _repeat_warnings(result: SnapshotResult, reporter: TaskReporter) -> None:
    """What the engine has not said itself while it worked."""
    said = {warning["message"] for warning in reporter.warnings}
    for code, message in result.warnings:
        if reporter.clean(message) not in said:
            reporter.warn(code, message)
