"""Strips: the newest runs of an instance or a job as bars, with the slots that never became a run among them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute

from webapp.core.status import ErrorCode, SlotState, TaskStatus
from webapp.store.db import db
from webapp.store.models import Job, Run, Slot

STRIP_LENGTH = 30
_KINDS = {
    TaskStatus.COMPLETED: ("ok", "succeeded"),
    TaskStatus.COMPLETED_WITH_WARNINGS: ("warn", "finished with warnings"),
    TaskStatus.FAILED: ("fail", "failed"),
    TaskStatus.RUNNING: ("run", "running"),
    TaskStatus.PENDING: ("run", "waiting"),
}
_QUIET = {ErrorCode.CANCELLED: ("none", "cancelled"), ErrorCode.SKIPPED_OVERLAP: ("none", "skipped")}
_SUMMARY = {"ok": "succeeded", "warn": "with warnings", "fail": "failed", "miss": "missed", "run": "running"}


@dataclass(frozen=True, slots=True)
class RunMark:
    """One bar. ``kind``: ok, warn, fail, run, miss (a slot that did not start; no run), none (cancelled, skipped)."""

    run_id: int | None
    kind: str
    at: datetime
    word: str
    size_bytes: int | None


def summarise(marks: Sequence[RunMark]) -> str:
    """A strip in words."""
    counts = [(sum(mark.kind == kind for mark in marks), word) for kind, word in _SUMMARY.items()]
    said = ", ".join(f"{count} {word}" for count, word in counts if count)
    return f"Last {len(marks)} runs: {said}" if said else "No runs yet"


def list_instance_marks(instance_ids: Sequence[int]) -> dict[int, tuple[RunMark, ...]]:
    """The newest 30 marks of each instance, oldest first."""
    return _list_marks(Run.instance_id, Job.instance_id, instance_ids)


def list_job_marks(job_ids: Sequence[int]) -> dict[int, tuple[RunMark, ...]]:
    """The newest 30 marks of each job, oldest first."""
    return _list_marks(Run.job_id, Job.id, job_ids)


def _list_marks(
    of_run: InstrumentedAttribute[int | None],
    of_slot: InstrumentedAttribute[int],
    ids: Sequence[int],
) -> dict[int, tuple[RunMark, ...]]:
    marks: dict[int, list[RunMark]] = defaultdict(list)
    number = sa.func.row_number().over(partition_by=of_run, order_by=Run.id.desc()).label("n")
    newest = sa.select(Run.id, number).where(of_run.in_(ids), Run.status != TaskStatus.PENDING).subquery()
    chosen = sa.select(newest.c.id).where(newest.c.n <= STRIP_LENGTH)
    for owner, run in db.session.execute(sa.select(of_run, Run).where(Run.id.in_(chosen)).order_by(Run.id)):
        if owner is not None:
            marks[owner].append(mark_of(run))
    for owner, at in _missed(of_slot, ids):
        marks[owner].append(RunMark(None, "miss", at, "did not start", None))
    found: dict[int, tuple[RunMark, ...]] = defaultdict(tuple)
    for owner, listed in marks.items():
        found[owner] = tuple(sorted(listed, key=lambda mark: mark.at)[-STRIP_LENGTH:])
    return found


def _missed(of_slot: InstrumentedAttribute[int], ids: Sequence[int]) -> list[tuple[int, datetime]]:
    number = sa.func.row_number().over(partition_by=of_slot, order_by=Slot.scheduled_at.desc()).label("n")
    inner = (
        sa.select(of_slot.label("owner"), Slot.scheduled_at, number)
        .join(Job, Job.id == Slot.job_id)
        .where(of_slot.in_(ids), Slot.state == SlotState.MISSED, Job.deleted_at.is_(None))
        .subquery()
    )
    rows = db.session.execute(sa.select(inner.c.owner, inner.c.scheduled_at).where(inner.c.n <= STRIP_LENGTH))
    return [(int(owner), at) for owner, at in rows]


def mark_of(run: Run) -> RunMark:
    """A run as one bar."""
    kind, word = _KINDS[run.status]
    if run.error_code in _QUIET:
        kind, word = _QUIET[run.error_code]
    return RunMark(run.id, kind, run.scheduled_at or run.started_at or run.created_at, word, run.size_bytes)
