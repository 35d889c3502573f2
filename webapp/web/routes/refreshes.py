"""Refresh jobs: a copy of production made anew on a schedule. Their databases are replaced, so saving asks for the password."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, make_response, render_template, request
from flask.typing import ResponseReturnValue

from webapp.core.errors import InvalidInput
from webapp.core.status import Role
from webapp.services import refresh_pages
from webapp.services.drafts import StaleDraft
from webapp.services.refresh_jobs import RefreshDraft, create_refresh_job, draft_of, update_refresh_job
from webapp.web.access import current_actor, current_settings, permission, request_time, requires_recent_sign_in
from webapp.web.forms import refreshes as form
from webapp.web.forms.draft_state import FormState, overtaken, refused
from webapp.web.forms.instances import read_version
from webapp.web.forms.jobs import zone_choices
from webapp.web.htmx import see_other, toast

bp = Blueprint("refreshes", __name__, url_prefix="/refreshes")

MONDAYS_AT_FIVE = "0 5 * * 1"


@bp.get("/new")
@permission(Role.OPERATOR)
@requires_recent_sign_in
def new() -> ResponseReturnValue:
    """The empty form; ``?source=`` names the instance to copy from."""
    found = refresh_pages.first_values(request.args.get("source", type=int))
    draft = RefreshDraft(cron=MONDAYS_AT_FIVE, time_zone=current_settings().time_zone, **found)
    return _editor(draft, FormState())


@bp.post("/new")
@permission(Role.OPERATOR)
@requires_recent_sign_in
def create() -> ResponseReturnValue:
    """Add it, or show the form again with what is wrong."""
    draft = form.read_refresh(request.form)
    try:
        job = create_refresh_job(draft, actor=current_actor(), now=request_time())
    except InvalidInput as error:
        return _editor(draft, refused(error))
    toast(f"Added {job.name}.")
    return see_other("refreshes.show", job_id=job.id)


@bp.get("/<int:job_id>")
@permission(Role.VIEWER)
def show(job_id: int) -> ResponseReturnValue:
    """What it restores where, when next, and its newest restores."""
    page = refresh_pages.get_refresh_page(job_id, request_time())
    return render_template("refreshes/show.html", page=page, job=page.job, now=request_time())


@bp.get("/<int:job_id>/edit")
@permission(Role.OPERATOR)
@requires_recent_sign_in
def edit(job_id: int) -> ResponseReturnValue:
    """The form with what is stored."""
    job = refresh_pages.get_refresh_job(job_id)
    return _editor(draft_of(job), FormState(version=job.version), job=job)


@bp.post("/<int:job_id>/edit")
@permission(Role.OPERATOR)
@requires_recent_sign_in
def update(job_id: int) -> ResponseReturnValue:
    """Save; 422 with every refusal, 409 when another person saved in between."""
    job = refresh_pages.get_refresh_job(job_id)
    draft, version = form.read_refresh(request.form), read_version(request.form)
    try:
        saved = update_refresh_job(job_id, draft, version=version, actor=current_actor(), now=request_time())
    except StaleDraft as error:
        return _editor(draft, overtaken(error), job=job)
    except InvalidInput as error:
        return _editor(draft, refused(error, version), job=job)
    toast(f"Saved {saved.name}.")
    return see_other("refreshes.show", job_id=job_id)


def _editor(draft: RefreshDraft, state: FormState, *, job: Any = None) -> Response:
    now = request_time()
    body = render_template(
        "refreshes/edit.html",
        draft=draft,
        job=job,
        state=state,
        errors=state.errors,
        places=refresh_pages.list_places(),
        preview=refresh_pages.preview(draft.cron, draft.time_zone, now),
        zones=zone_choices(now, draft.time_zone),
        now=now,
    )
    return make_response(body, state.status)
