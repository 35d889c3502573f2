"""What must hold when the chaos is over: asked of every slot, run and archive."""

from __future__ import annotations

import collections
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from tests.proof.invariants import SUCCESS, check_archives, check_leftovers
from webapp.core.status import ArchiveState, DatabaseSelection, ErrorCode, SlotState, TaskStatus
from webapp.services import sweeper
from webapp.store.db import db
from webapp.store.models import Archive, FanOut, Job, Run, Slot, Task

MINUTE = timedelta(minutes=1)


def check_aftermath(enabled_at: str, disabled_at: str) -> list[str]:
    """Every broken promise, as a sentence."""
    sweeper.sweep(datetime.now(UTC))
    db.session.commit()
    first, last = datetime.fromisoformat(enabled_at), datetime.fromisoformat(disabled_at)
    return [
        *check_calendar(first, last, "Every minute%"),
        *check_fan_out(),
        *check_ends(),
        *check_successes(),
        *check_archives(),
        *check_leftovers(),
    ]


def check_calendar(first: datetime, last: datetime, names: str) -> list[str]:
    """Every minute of every job whose name is like this has its slot, once."""
    broken = []
    for job in db.session.scalars(sa.select(Job).where(Job.name.like(names))):
        found = collections.Counter(db.session.scalars(sa.select(Slot.scheduled_at).where(Slot.job_id == job.id)))
        minute = first.replace(second=0, microsecond=0) + MINUTE
        while minute <= last:
            if found[minute] != 1:
                broken.append(f"job {job.id}: the slot of {minute:%H:%M} is there {found[minute]} times")
            minute += MINUTE
        if len(found) != int((last - first.replace(second=0, microsecond=0)) / MINUTE):
            broken.append(f"job {job.id}: it has {len(found)} slots")
    return broken


def check_fan_out() -> list[str]:
    """A fanned-out slot has one run per database; any other slot has none."""
    broken = []
    for slot in db.session.scalars(sa.select(Slot)):
        runs = db.session.scalars(sa.select(Run).where(Run.slot_id == slot.id)).all()
        label = f"slot {slot.id} ({slot.state.value}, job {slot.job_id}, {slot.scheduled_at:%H:%M})"
        if slot.state is SlotState.OPEN:
            broken.append(f"{label} was never started")
        elif slot.state is SlotState.FANNED_OUT:
            broken += [f"{label} {why}" for why in _wrong_runs(slot, [run.database_name for run in runs])]
        elif runs:
            broken.append(f"{label} has {len(runs)} runs")
    return broken


def _wrong_runs(slot: Slot, names: list[str]) -> list[str]:
    if slot.job.database_selection is not DatabaseSelection.ALL:
        return [] if len(names) == 1 else [f"has {len(names)} runs"]
    finders = db.session.scalars(sa.select(FanOut).where(FanOut.slot_id == slot.id)).all()
    if len(finders) != 1:
        return [f"has {len(finders)} fan-outs"]
    if finders[0].error_code is ErrorCode.SKIPPED_OVERLAP:
        return ["was skipped and has runs"] if names else []
    wanted = ["*"] if finders[0].status is TaskStatus.FAILED else finders[0].details.get("databases")
    return [] if sorted(names) == wanted else [f"has runs for {sorted(names)} instead of {wanted}"]


def check_ends() -> list[str]:
    """Every task came to an end, and for a reason that we caused."""
    expected = {ErrorCode.WORKER_LOST, ErrorCode.LEASE_LOST, ErrorCode.SKIPPED_OVERLAP}
    broken = []
    for task in db.session.scalars(sa.select(Task)):
        if not task.status.is_final:
            broken.append(f"{task.type.value} {task.id} is {task.status.value} for ever")
        elif task.error_code is not None and task.error_code not in expected:
            broken.append(f"{task.type.value} {task.id} ended with {task.error_code.value}: {task.error_message}")
    return broken


ENDS = ([ArchiveState.STORED], [ArchiveState.TRASHED], [ArchiveState.DELETED])


def check_successes() -> list[str]:
    """A run that says it succeeded has exactly one archive, and a failed one has none that counts."""
    broken = []
    for run in db.session.scalars(sa.select(Run)):
        archives = db.session.scalars(sa.select(Archive).where(Archive.run_id == run.id)).all()
        states = [archive.state for archive in archives]
        skipped = run.error_code is ErrorCode.SKIPPED_OVERLAP
        if run.status in SUCCESS and not skipped and states not in ENDS:
            broken.append(f"false success: run {run.id} has archives {states}")
        elif (run.status is TaskStatus.FAILED or skipped) and states:
            broken.append(f"run {run.id} failed and has archives {states}")
    return broken


def summarise_aftermath() -> list[str]:
    """Counts for the report."""
    slots = collections.Counter(slot.state.value for slot in db.session.scalars(sa.select(Slot)))
    ends = collections.Counter(
        f"{run.status.value}{f' ({run.error_code.value})' if run.error_code else ''}"
        for run in db.session.scalars(sa.select(Run))
    )
    attempts = db.session.scalar(sa.select(sa.func.max(Run.attempt)))
    archives = collections.Counter(archive.state.value for archive in db.session.scalars(sa.select(Archive)))
    return [
        f"slots: {_words(slots)}",
        f"runs: {_words(ends)}; at most {attempts} attempts",
        f"archives: {_words(archives)}",
    ]


def _words(counts: collections.Counter[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in counts.most_common())
