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
    # Columns, not whole runs with their text and JSON: a fleet has thousands of marks, and the overview shows them all.
    began = sa.func.coalesce(Run.scheduled_at, Run.started_at, Run.created_at, type_=Run.created_at.type)
    columns = sa.select(of_run, Run.id, Run.status, Run.error_code, began, Run.size_bytes)
    for owner, run_id, status, code, at, size in db.session.execute(columns.where(Run.id.in_(chosen))):
        kind, word = (_QUIET.get(code) if code else None) or _KINDS[status]
        if owner is not None:
            marks[owner].append(RunMark(run_id, kind, at, word, size))
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
