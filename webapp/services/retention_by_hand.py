"""Retention by a person: the plan that was seen is applied, or agreed to although more goes than goes by itself."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime

from webapp.core.actors import Actor
from webapp.core.errors import Conflict, InvalidInput
from webapp.services import audit
from webapp.services.jobs import get_job
from webapp.services.retention import (
    MOST_DELETIONS,
    allowance_for,
    plan_for_job,
    record_applied,
    set_quietly,
    trash_due,
)
from webapp.services.retention_clock import watch_clock
from webapp.services.trash import lock_archives
from webapp.store.db import writing
from webapp.store.models import Archive


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying a plan did: the archives that are in the trash now, and how many more the plan would drop."""

    trashed: tuple[int, ...]
    remaining: int
    digest: str


def apply_now(job_id: int, *, digest: str, most: int = MOST_DELETIONS, actor: Actor, now: datetime) -> Applied:
    """A person applies the plan that they have seen, oldest archives first.

    Raises NotFound; Conflict when the plan is frozen or is not the one that was seen; InvalidInput for a ``most`` below 1.
    """
    if most < 1:
        raise InvalidInput("At least one restore point has to be meant.", field="most")
    watch_clock(now)
    with writing():
        job = get_job(job_id)
        lock_archives(Archive.job_id == job.id)
        plan = plan_for_job(job, now, confirmed=True)
        if plan.frozen:
            raise Conflict(f"Nothing is deleted: {plan.frozen}", hint="Look into the reason, then let it go on.")
        if not hmac.compare_digest(plan.digest.encode(), digest.encode("utf-8", "replace")):
            raise Conflict(
                "The plan has changed since it was shown: a backup arrived, or something was pinned, used or deleted.",
                hint="Look at the plan again, then apply that one.",
            )
        chosen = trash_due(job, plan, most=most, by=actor.username, now=now)
        record_applied(actor, job, plan, chosen, now)
    return Applied(tuple(chosen), len(plan.drop) - len(chosen), plan.digest)


def allow(job_id: int, *, digest: str, actor: Actor, now: datetime) -> int:
    """A person agrees to the plan although more goes than the cap lets go; the runs to come apply it step by step.

    How many deletions that allows. Raises NotFound, Conflict when it is not the plan that was seen.
    """
    with writing():
        job = get_job(job_id)
        plan = plan_for_job(job, now, confirmed=True)
        if not hmac.compare_digest(plan.digest.encode(), digest.encode("utf-8", "replace")):
            raise Conflict(
                "The plan has changed since it was shown.", hint="Look at the plan again, then confirm that one."
            )
        set_quietly(job, retention_allowance=allowance_for(plan))
        details = {"deletions": job.retention_allowance, "digest": plan.digest}
        audit.record(
            actor, "retention.allowed", subject_kind="job", subject_id=job.id, subject_name=job.name,
            details=details, now=now,
        )  # fmt: skip
    return job.retention_allowance
