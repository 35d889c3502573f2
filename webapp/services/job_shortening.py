"""A retention policy made shorter: what goes by that is named first, and much of it needs a person's word."""

from __future__ import annotations

import hmac
from datetime import datetime
from typing import Any

from webapp.core.errors import InvalidInput
from webapp.core.retention import RetentionPlan, RetentionPolicy
from webapp.services.drafts import DraftCheck, InvalidDraft
from webapp.services.job_keeping import check_policy, policy_columns
from webapp.services.job_rules import JobDraft
from webapp.services.retention import allowance_for, exceeds_cap, plan_for_job
from webapp.store.models import Job


def is_changed(job: Job, policy: RetentionPolicy) -> bool:
    """Whether saving the policy would change what the job keeps."""
    rezoned = policy.rules is not None and policy.time_zone != job.time_zone
    return rezoned or any(getattr(job, key) != value for key, value in policy_columns(policy).items())


def plan_to_confirm(job: Job, policy: RetentionPolicy, now: datetime) -> RetentionPlan | None:
    """The plan of a changed policy when it needs a person's word, else None."""
    if not is_changed(job, policy):
        return None
    plan = plan_for_job(job, now, policy, confirmed=True)
    return plan if exceeds_cap(plan) else None


def check_shortening(job: Job, draft: JobDraft, now: datetime) -> dict[str, Any]:
    """The job's new allowance. Raises InvalidDraft when the draft does not carry the digest of what would go."""
    policy = check_policy(DraftCheck(), draft)
    if policy is None or not is_changed(job, policy):
        return {}
    plan = plan_to_confirm(job, policy, now)
    if plan is None:
        return {"retention_allowance": 0}
    if not hmac.compare_digest(plan.digest.encode(), draft.retention_confirmed.encode("utf-8", "replace")):
        stored = len(plan.keep) + len(plan.drop)
        raise InvalidDraft(
            [
                InvalidInput(
                    f"This policy would delete {len(plan.drop)} of {stored} restore points.",
                    field="retention_confirmed",
                    hint="Look at them in the retention preview, and tick the box there if that is meant.",
                )
            ]
        )
    return {"retention_allowance": allowance_for(plan)}
