"""What the pages about retention show: a job's plan with what holds it back, and a policy replayed over its history."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from webapp.core.retention import Kept, RetentionError, RetentionPlan, RetentionPolicy
from webapp.core.retention_history import Replay, replay_retention
from webapp.core.retention_rules import Period
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


def policy_words(job: Job) -> str:
    """What the job keeps, or why that cannot be read."""
    try:
        return policy_of(job).in_words()
    except RetentionError as error:
        return error.message


def replay_for_job(job: Job, policy: RetentionPolicy, now: datetime, days: int = PREVIEW_DAYS) -> Replay:
    """The policy over all archives that the job ever made in the last ``days`` (400 at most), deleted ones too."""
    since = now - timedelta(days=min(days, LONGEST_DAYS))
    query = sa.select(Archive).where(Archive.job_id == job.id, Archive.taken_at >= since, Archive.taken_at <= now)
    newest = query.order_by(Archive.taken_at.desc(), Archive.id.desc()).limit(MOST_POINTS)
    history = [point_of(archive, in_use=False) for archive in db.session.scalars(newest)]
    first = min((point.taken_at for point in history), default=now)
    return replay_retention(policy, history, since=max(since, first), now=now)


@dataclass(frozen=True, slots=True)
class Dot:
    """An archive on a line of the preview: ``x`` from 0 (the line's first label) to 100; ``rule`` "" for one that goes."""

    x: float
    rule: str
    title: str


@dataclass(frozen=True, slots=True)
class DotLine:
    """One stretch of the past, youngest at the left."""

    first: str
    last: str
    dots: tuple[Dot, ...]


_LINES = (("today", "7 days", 0, 7), ("1 week", "5 weeks", 7, 35), ("5 weeks", "12 months", 35, 365))


def draw_plan(plan: RetentionPlan, now: datetime) -> tuple[DotLine, ...]:
    """The plan as lines of dots, coloured by the rule that keeps each; lines without an archive are left out."""
    gone = {dropped.point.archive_id: dropped for dropped in (*plan.drop, *plan.held)}
    points = [(kept.point, _rule_of(kept), "; ".join(kept.reasons)) for kept in plan.keep]
    points = [entry for entry in points if entry[0].archive_id not in gone]
    points += [(dropped.point, "", dropped.reason) for dropped in gone.values()]
    lines = []
    for first, last, low, high in _LINES:
        ages = [(point, rule, why, (now - point.taken_at) / timedelta(days=1)) for point, rule, why in points]
        dots = tuple(
            Dot(
                round(1.5 + (max(age, 0) - low) / (high - low) * 97, 2), rule, f"{point.taken_at:%Y-%m-%d %H:%M}: {why}"
            )
            for point, rule, why, age in sorted(ages, key=lambda entry: entry[3])
            if low <= max(age, 0) < high
        )
        if dots:
            lines.append(DotLine(first, last, dots))
    return tuple(lines)


def _rule_of(kept: Kept) -> str:
    if kept.rule:
        return kept.rule
    first = kept.reasons[0].split()[0]
    if first in tuple(Period):
        return first
    return "last" if kept.reasons[0].startswith(("one of the newest", "the newest verified")) else "protected"
