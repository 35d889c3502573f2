"""Retention of a job: its plan with reasons, applied by a person, frozen and let go on; and a policy replayed over history."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from webapp.core.status import Role
from webapp.services import retention_by_hand, retention_holds
from webapp.services.drafts import DraftCheck
from webapp.services.job_keeping import check_policy
from webapp.services.job_rules import JobDraft, draft_of
from webapp.services.jobs import get_job
from webapp.services.retention_clock import confirm_clock
from webapp.services.retention_pages import LONGEST_DAYS, replay_for_job, retention_page
from webapp.web.access import current_actor, permission, request_time, requires_recent_sign_in
from webapp.web.forms.draft_state import FormState
from webapp.web.forms.jobs import KEEPING_FIELDS
from webapp.web.htmx import see_other, toast

bp = Blueprint("retention", __name__)


@bp.get("/jobs/<int:job_id>/retention")
@permission(Role.VIEWER)
def show(job_id: int) -> ResponseReturnValue:
    """The plan; ``?retention_mode= &retention_value= &keep_…=`` replays another policy over the history beside the job's own."""
    job, now = get_job(job_id), request_time()
    check, draft = DraftCheck(), _trial(draft_of(job))
    trial = check_policy(check, draft)
    page = retention_page(job, now)
    state = FormState(problems=tuple(check.problems))
    body = render_template(
        "retention/show.html",
        job=job,
        instance=job.instance,
        page=page,
        draft=draft,
        errors=state.errors,
        own=replay_for_job(job, page.policy, now, LONGEST_DAYS),
        trial=replay_for_job(job, trial, now, LONGEST_DAYS) if trial not in (None, page.policy) else None,
        trial_words=trial.in_words() if trial else "",
        now=now,
    )
    return body, 422 if check.problems else 200


@bp.post("/jobs/<int:job_id>/retention/apply")
@permission(Role.OPERATOR)
@requires_recent_sign_in
def apply(job_id: int) -> ResponseReturnValue:
    """Put what the plan drops into the trash, the oldest first."""
    applied = retention_by_hand.apply_now(
        job_id,
        digest=request.form.get("digest", ""),
        most=request.form.get("most", 0, type=int),
        actor=current_actor(),
        now=request_time(),
    )
    toast(f"Put {len(applied.trashed)} into the trash; {applied.remaining} more would go.")
    return see_other("retention.show", job_id=job_id)


@bp.post("/jobs/<int:job_id>/retention/allow")
@permission(Role.OPERATOR)
@requires_recent_sign_in
def allow(job_id: int) -> ResponseReturnValue:
    """Agree to a plan that drops more than goes by itself; the runs to come apply it."""
    retention_by_hand.allow(job_id, digest=request.form.get("digest", ""), actor=current_actor(), now=request_time())
    toast("Agreed. They go ten at a time, after the runs to come.")
    return see_other("retention.show", job_id=job_id)


@bp.post("/jobs/<int:job_id>/retention/freeze")
@permission(Role.OPERATOR)
def freeze(job_id: int) -> ResponseReturnValue:
    """Delete nothing until a person lets it go on."""
    reason = request.form.get("reason", "")
    job = retention_holds.freeze(job_id, reason, actor=current_actor(), now=request_time())
    toast(f"Retention of {job.name} is frozen.")
    return see_other("retention.show", job_id=job_id)


@bp.post("/jobs/<int:job_id>/retention/unfreeze")
@permission(Role.OPERATOR)
@requires_recent_sign_in
def unfreeze(job_id: int) -> ResponseReturnValue:
    """A person has looked: it goes on."""
    seen = request.form.get("reason", "")
    job = retention_holds.unfreeze(job_id, seen_reason=seen, actor=current_actor(), now=request_time())
    toast(f"Retention of {job.name} goes on.")
    return see_other("retention.show", job_id=job_id)


@bp.post("/jobs/<int:job_id>/retention/clock")
@permission(Role.ADMIN)
@requires_recent_sign_in
def believe_clock(job_id: int) -> ResponseReturnValue:
    """The clock of this machine is right, and counts from here on; for every job."""
    job = get_job(job_id)
    confirm_clock(actor=current_actor(), now=request_time())
    toast("The clock is believed from here on.")
    return see_other("retention.show", job_id=job.id)


def _trial(draft: JobDraft) -> JobDraft:
    if "retention_mode" not in request.args:
        return draft
    typed: dict[str, Any] = {name: request.args.get(name, "")[:20] for name in KEEPING_FIELDS}
    return replace(draft, **typed)
