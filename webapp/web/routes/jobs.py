"""Jobs: the editor with its preview, the page, and what can be done with one."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, make_response, render_template, request
from flask.typing import ResponseReturnValue

from webapp.core.errors import InvalidInput
from webapp.core.status import InstanceKind, JobKind, Role
from webapp.services import cron_preview, host_jobs, instance_history, instances, jobs
from webapp.services.drafts import StaleDraft
from webapp.services.job_preview import preview_job
from webapp.services.job_rules import JobDraft, draft_of, needs_custom_format, new_draft
from webapp.services.retention_pages import policy_words
from webapp.web.access import current_actor, permission, request_time
from webapp.web.forms import jobs as form
from webapp.web.forms.draft_state import FormState, overtaken, refused
from webapp.web.htmx import see_other, toast

bp = Blueprint("jobs", __name__)


@bp.get("/instances/<int:instance_id>/jobs/new")
@permission(Role.OPERATOR)
def new(instance_id: int) -> ResponseReturnValue:
    """The editor with a nightly job to begin with."""
    instance = instances.get_instance(instance_id)
    return _editor(new_draft(instance), instance, FormState())


@bp.post("/instances/<int:instance_id>/jobs/new")
@permission(Role.OPERATOR)
def create(instance_id: int) -> ResponseReturnValue:
    """Add a job; "preview" only shows what it would mean."""
    instance = instances.get_instance(instance_id)
    draft = form.read_job(request.form)
    if request.form.get("then") == "preview":
        return _editor(draft, instance, FormState())
    try:
        job = jobs.create_job(instance_id, draft, actor=current_actor(), now=request_time())
    except InvalidInput as error:
        return _editor(draft, instance, refused(error))
    return _after_save(job.id, f"Added {job.name}.")


@bp.get("/jobs/<int:job_id>")
@permission(Role.VIEWER)
def show(job_id: int) -> ResponseReturnValue:
    """What the job says, when it runs next, and its runs."""
    job, now = jobs.get_job(job_id), request_time()
    if job.kind is JobKind.REFRESH:
        return see_other("refreshes.show", job_id=job_id)
    return render_template(
        "jobs/show.html",
        row=instance_history.job_row(job),
        job=job,
        instance=job.instance,
        preview=preview_job(draft_of(job), job.instance, job, now),
        kept_words=policy_words(job),
        rides_with=_rides_with(job.rides_with_id),
        now=now,
    )


@bp.get("/jobs/<int:job_id>/edit")
@permission(Role.OPERATOR)
def edit(job_id: int) -> ResponseReturnValue:
    """The editor with what is stored."""
    job = jobs.get_job(job_id)
    if job.kind is JobKind.REFRESH:
        return see_other("refreshes.edit", job_id=job_id)
    return _editor(draft_of(job), job.instance, FormState(version=job.version), job=job)


@bp.post("/jobs/<int:job_id>/edit")
@permission(Role.OPERATOR)
def update(job_id: int) -> ResponseReturnValue:
    """Save; 422 with every refusal, 409 when another person saved in between."""
    job = jobs.get_job(job_id)
    draft, version = form.read_job(request.form), form.read_version(request.form)
    if request.form.get("then") == "preview":
        return _editor(draft, job.instance, FormState(version=version), job=job)
    try:
        saved = jobs.update_job(job_id, draft, version=version, actor=current_actor(), now=request_time())
    except StaleDraft as error:
        return _editor(draft, job.instance, overtaken(error), job=job)
    except InvalidInput as error:
        return _editor(draft, job.instance, refused(error, version), job=job)
    return _after_save(job_id, f"Saved {saved.name}.")


@bp.post("/jobs/<int:job_id>/run")
@permission(Role.OPERATOR)
def run_now(job_id: int) -> ResponseReturnValue:
    """Start it now; the page of the one run, or of the instance when there are several."""
    job = jobs.get_job(job_id)
    tasks = jobs.run_now(job_id, actor=current_actor(), now=request_time())
    if len(tasks) == 1 and tasks[0].type.value == "backup":
        return see_other("runs.show", run_id=tasks[0].id)
    if job.kind is JobKind.REFRESH:
        return see_other("restores.show", restore_id=tasks[0].id)
    toast(f"Started {job.name}.", "run")
    return see_other("instances.show", instance_id=job.instance_id)


@bp.post("/jobs/<int:job_id>/enable")
@permission(Role.OPERATOR)
def enable(job_id: int) -> ResponseReturnValue:
    """Switch it on; it counts from now."""
    return _switch(job_id, enabled=True)


@bp.post("/jobs/<int:job_id>/disable")
@permission(Role.OPERATOR)
def disable(job_id: int) -> ResponseReturnValue:
    """Switch it off; a run at work goes on."""
    return _switch(job_id, enabled=False)


@bp.get("/jobs/<int:job_id>/delete")
@permission(Role.OPERATOR)
def delete_form(job_id: int) -> ResponseReturnValue:
    """Say what deleting means."""
    job = jobs.get_job(job_id)
    return render_template("jobs/delete.html", job=job, instance=job.instance, points=jobs.count_points(job_id))


@bp.post("/jobs/<int:job_id>/delete")
@permission(Role.OPERATOR)
def delete(job_id: int) -> ResponseReturnValue:
    """Delete it; its restore points and history stay."""
    job = jobs.delete_job(job_id, actor=current_actor(), now=request_time())
    toast(f"Deleted {job.name}. Its restore points stay.")
    return see_other("instances.show", instance_id=job.instance_id)


@bp.post("/partials/job/preview")
@permission(Role.OPERATOR)
def preview() -> ResponseReturnValue:
    """The editor's right-hand column for what is typed now. Writes nothing."""
    draft = form.with_expression(form.read_job(request.form))
    job_id = request.form.get("job", type=int)
    job = jobs.get_job(job_id) if job_id else None
    instance = job.instance if job is not None else instances.get_instance(request.form.get("instance", 0, type=int))
    shown = preview_job(draft, instance, job, request_time())
    response = make_response(render_template("jobs/_preview.html", preview=shown, draft=draft, now=request_time()))
    response.headers["Cache-Control"] = "no-store"
    return response


@bp.get("/api/settings/cron/preview")
@permission(Role.VIEWER)
def preview_cron() -> ResponseReturnValue:
    """The next runs of ``expr`` in ``tz``, as JSON: ``count`` of them, 1 to 20, 5 unless told."""
    count = request.args.get("count", str(cron_preview.DEFAULT_COUNT))
    found = cron_preview.preview_cron(
        request.args.get("expr", ""),
        request.args.get("tz", "UTC"),
        count=int(count) if count.isascii() and count.isdigit() and len(count) < 4 else 0,
        now=request_time(),
    )
    runs = [{"at": run.at.isoformat(), "local": run.local.isoformat(), "note": run.note} for run in found.runs]
    return jsonify(
        {
            "expression": found.expression,
            "time_zone": found.time_zone,
            "description": found.sentence,
            "next_runs": runs,
        }
    )


def _editor(draft: JobDraft, instance: Any, state: FormState, *, job: Any = None) -> Response:
    now, draft = request_time(), form.with_expression(draft)
    body = render_template(
        "jobs/edit.html",
        draft=draft,
        instance=instance,
        job=job,
        state=state,
        errors=state.errors,
        preview=preview_job(draft, instance, job, now),
        frequencies=form.FREQUENCIES,
        weekdays=form.WEEKDAYS,
        zones=form.zone_choices(now, draft.time_zone),
        spreads=form.spread_choices(draft.spread_seconds),
        needs_custom=needs_custom_format(instance),
        ridable=host_jobs.list_ridable() if instance.kind is InstanceKind.HOST else [],
        now=now,
    )
    return make_response(body, state.status)


def _rides_with(instance_id: int | None) -> Any:
    """The Odoo instance whose odd ends a host's job keeps, or None."""
    return next((it for it in host_jobs.list_ridable() if it.id == instance_id), None) if instance_id else None


def _after_save(job_id: int, words: str) -> ResponseReturnValue:
    if request.form.get("then") == "run":
        return run_now(job_id)
    toast(words)
    return see_other("jobs.show", job_id=job_id)


def _switch(job_id: int, *, enabled: bool) -> ResponseReturnValue:
    job = jobs.set_enabled(job_id, enabled, actor=current_actor(), now=request_time())
    toast(f"{'Enabled' if enabled else 'Disabled'} {job.name}.")
    return see_other("instances.show", instance_id=job.instance_id)
