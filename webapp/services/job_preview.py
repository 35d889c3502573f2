"""What saving a job would mean: when it runs, what it keeps and drops, and what deserves a second thought. Writes nothing."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from webapp.core.errors import InvalidInput
from webapp.core.retention import RetentionPlan
from webapp.core.retention_history import Replay
from webapp.core.status import Content, TaskStatus, VerificationLevel
from webapp.core.text import format_duration, plural
from webapp.services.cron_preview import DEFAULT_COUNT, CronPreview, preview_of
from webapp.services.drafts import DraftCheck
from webapp.services.job_rules import JobDraft, check_policy, check_timing, needs_custom_format
from webapp.services.job_shortening import plan_to_confirm
from webapp.services.retention import plan_for_job
from webapp.services.retention_pages import replay_for_job
from webapp.store.db import db
from webapp.store.models import Instance, Job, Run

SAMPLE = 10
CROWD = 4


@dataclass(frozen=True, slots=True)
class JobPreview:
    """Everything the editor's right-hand column shows.

    Attributes:
        cron: None while the schedule cannot be read; ``problems`` says why.
        retention: As if a person agreed to it; None for a new job and while the policy cannot be read.
        confirm_digest: Of that plan, when saving it needs a person's word because much goes; "" otherwise.
        replay: What the policy would have kept of the last 90 days; None where ``retention`` is.
        typical_duration: Median of the last successful runs, None when there are too few.
        warnings: Sentences.
    """

    cron: CronPreview | None
    retention: RetentionPlan | None
    confirm_digest: str
    replay: Replay | None
    typical_duration: timedelta | None
    warnings: tuple[str, ...]
    problems: tuple[InvalidInput, ...]


def preview_job(draft: JobDraft, instance: Instance, job: Job | None, now: datetime) -> JobPreview:
    """The preview of a draft, for a new job (None) or an existing one."""
    check = DraftCheck()
    timing = check_timing(check, draft)
    policy = check_policy(check, draft)
    cron = preview_of(timing.cron, timing.time_zone, count=DEFAULT_COUNT, now=now) if timing else None
    plan = plan_for_job(job, now, policy, confirmed=True) if job is not None and policy is not None else None
    asked = plan_to_confirm(job, policy, now) if job is not None and policy is not None else None
    replay = replay_for_job(job, policy, now) if job is not None and policy is not None else None
    typical = typical_duration(job.id) if job is not None else None
    warnings = [
        *_timing_warnings(cron, typical, instance),
        *_crowd_warnings(cron, job),
        *_content_warnings(draft, instance),
    ]
    return JobPreview(
        cron=cron,
        retention=plan,
        confirm_digest=asked.digest if asked is not None else "",
        replay=replay,
        typical_duration=typical,
        warnings=tuple(warnings),
        problems=tuple(check.problems),
    )


def typical_duration(job_id: int) -> timedelta | None:
    """The median of the newest successful runs; None with fewer than two."""
    query = (
        sa.select(Run.started_at, Run.completed_at)
        .where(
            Run.job_id == job_id,
            Run.status.in_([TaskStatus.COMPLETED, TaskStatus.COMPLETED_WITH_WARNINGS]),
            Run.started_at.is_not(None),
            Run.completed_at.is_not(None),
        )
        .order_by(Run.id.desc())
        .limit(SAMPLE)
    )
    spans = [(ended - began).total_seconds() for began, ended in db.session.execute(query) if began and ended]
    return timedelta(seconds=statistics.median(spans)) if len(spans) > 1 else None


def _timing_warnings(cron: CronPreview | None, typical: timedelta | None, instance: Instance) -> list[str]:
    if cron is None:
        return []
    found = []
    if typical is not None and cron.shortest_gap < typical:
        found.append(
            f"Two runs can be {_words(cron.shortest_gap)} apart, and a run usually takes "
            f"{_words(typical)}: some will be skipped or wait."
        )
    target = timedelta(hours=instance.target_age_hours)
    if cron.longest_gap > target:
        found.append(
            f"Up to {_words(cron.longest_gap)} lie between two runs, more than the instance's target of "
            f"{_words(target)}: it will be shown as overdue unless another job fills the gap."
        )
    return found


def _crowd_warnings(cron: CronPreview | None, job: Job | None) -> list[str]:
    """Other jobs that begin in the same minute as the next run."""
    if cron is None or not cron.runs:
        return []
    first = cron.runs[0].at
    query = sa.select(sa.func.count()).select_from(Job).where(Job.next_slot_at == first, Job.deleted_at.is_(None))
    if job is not None:
        query = query.where(Job.id != job.id)
    others = db.session.scalar(query) or 0
    if others < CROWD:
        return []
    return [
        f"{others} other {plural(others, 'job begins', 'jobs begin')} at the same minute. A spread keeps them apart."
    ]


def _content_warnings(draft: JobDraft, instance: Instance) -> list[str]:
    found = []
    if draft.verification_level == VerificationLevel.NONE.value:
        found.append("Without verification nothing proves these backups, and retention never counts them.")
    if draft.content == Content.DATABASE.value and needs_custom_format(instance) and draft.format == "zip":
        found.append("Odoo before 19 always puts the filestore into its zip. Choose the custom format.")
    return found


def _words(span: timedelta) -> str:
    return format_duration(span.total_seconds())
