"""What the pages about retention show: a job's plan with what holds it back, and a policy replayed over its history."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from webapp.core.retention import RetentionPlan, RetentionPolicy
from webapp.core.retention_history import Replay, replay_retention
from webapp.services.retention import exceeds_cap, plan_for_job, point_of, policy_of
from webapp.services.retention_clock import find_clock_fault
from webapp.store.db import db
from webapp.store.models import Archive, Job

PREVIEW_DAYS = 90
LONGEST_DAYS = 400
MOST_POINTS = 5_000


@dataclass(frozen=True, slots=True)
class RetentionPage:
    """A job's retention as its page shows it.

    Attributes:
        plan: As if a person agreed to it: this is what «Apply now» applies.
        waiting: Sentences that say why the worker does less than that.
        needs_word: The worker will not do it without a person's word, which nobody has given yet.
        clock_fault: Why the clock is not believed, or "".
    """

    policy: RetentionPolicy
    plan: RetentionPlan
    waiting: tuple[str, ...]
    needs_word: bool
    clock_fault: str


def retention_page(job: Job, now: datetime) -> RetentionPage:
    """Everything but the replay. Raises RetentionError when the stored policy cannot be meant."""
    own = plan_for_job(job, now)
    confirmed = plan_for_job(job, now, confirmed=True)
    return RetentionPage(
        policy=policy_of(job),
        plan=confirmed,
        waiting=own.capped,
        needs_word=bool(own.capped) and exceeds_cap(confirmed),
        clock_fault=find_clock_fault(now),
    )


def replay_for_job(job: Job, policy: RetentionPolicy, now: datetime, days: int = PREVIEW_DAYS) -> Replay:
    """The policy over all archives that the job ever made in the last ``days`` (400 at most), deleted ones too."""
    since = now - timedelta(days=min(days, LONGEST_DAYS))
    query = sa.select(Archive).where(Archive.job_id == job.id, Archive.taken_at >= since, Archive.taken_at <= now)
    newest = query.order_by(Archive.taken_at.desc(), Archive.id.desc()).limit(MOST_POINTS)
    history = [point_of(archive, in_use=False) for archive in db.session.scalars(newest)]
    first = min((point.taken_at for point in history), default=now)
    return replay_retention(policy, history, since=max(since, first), now=now)
