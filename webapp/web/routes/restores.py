"""Restores: the wizard in five steps, the check of the target, the confirmation, and the page of a restore.

An operator may restore. Replacing a database asks for the password again and for the database's name, which the service
compares. Every step is a page with its own address and works without JavaScript.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, make_response, render_template, request, send_file, url_for
from flask.typing import ResponseReturnValue

from webapp.core.errors import Conflict, InvalidInput
from webapp.core.status import ArchiveFormat, RestoreTarget, Role
from webapp.services import archives, restore_files, restore_pages, restores
from webapp.web.access import current_actor, permission, request_time, requires_recent_sign_in
from webapp.web.forms import restores as form
from webapp.web.forms.draft_state import FormState, refused
from webapp.web.forms.restores import RestoreDraft
from webapp.web.htmx import page_or_partial, see_other

bp = Blueprint("restores", __name__)

NOTHING_WRONG = FormState()
TARGET_WORDS = {
    RestoreTarget.NEW_DATABASE: "New database",
    RestoreTarget.REPLACE: "Replace a database",
    RestoreTarget.ODOO: "Through Odoo",
    RestoreTarget.FILESTORE: "Filestore only",
    RestoreTarget.ATTACHMENT: "One attachment",
    RestoreTarget.TABLE: "One table as CSV",
    RestoreTarget.DIRECTORY: "Unpacked files",
}


@bp.context_processor
def _words() -> dict[str, object]:
    return {"target_words": TARGET_WORDS}


@bp.get("/restore/new")
@permission(Role.OPERATOR)
def new() -> ResponseReturnValue:
    """A step of the wizard: ``?archive= &run= &source= &source_database= &step=source|target|options`` and what was chosen."""
    draft = form.read_restore(request.args)
    step = request.args.get("step", "")
    archive_id = _source_asked(draft)
    if archive_id is None:
        return render_template("restores/sources.html", sources=restore_pages.list_sources(), now=request_time())
    chosen_by_id = "archive" in request.args or "run" in request.args
    if step not in form.STEPS:
        step = "target" if chosen_by_id else "source"
    return _wizard(draft, archive_id, step=step)


@bp.post("/restore/new")
@permission(Role.OPERATOR)
def check() -> ResponseReturnValue:
    """Ask a worker to look at the target, or show the step that needs another look."""
    draft = form.read_restore(request.form)
    try:
        wish = form.to_wish(draft)
        asked = restores.request_check(wish, actor=current_actor(), now=request_time())
    except InvalidInput as error:
        if not draft.archive.isdigit():
            raise
        step = form.STEP_OF_FIELD.get(error.field, "options")
        return _wizard(draft, int(draft.archive), step=step, state=refused(error))
    return see_other("restores.show_check", check_id=asked.id)


@bp.get("/restore/checks/<int:check_id>")
@permission(Role.VIEWER)
def show_check(check_id: int) -> ResponseReturnValue:
    """The check of a target. Block "body" for the poll."""
    now = request_time()
    page = restore_pages.get_check_page(check_id, now)
    return page_or_partial(
        "restores/check.html", "body", page=page, seen=page.seen, task=page.check, now=now, **_ways(page)
    )


@bp.post("/restore/checks/<int:check_id>/again")
@permission(Role.OPERATOR)
def check_again(check_id: int) -> ResponseReturnValue:
    """Look at the same target anew."""
    now = request_time()
    page = restore_pages.get_check_page(check_id, now)
    asked = restores.request_check(page.wish, actor=current_actor(), now=now)
    return see_other("restores.show_check", check_id=asked.id)


@bp.get("/restore/checks/<int:check_id>/confirm")
@permission(Role.OPERATOR)
def confirm(check_id: int) -> ResponseReturnValue:
    """Say what will be done. A replacement has a page of its own, which asks for the password."""
    page = restore_pages.get_check_page(check_id, request_time())
    if page.is_replacement:
        return see_other("restores.confirm_replacement", check_id=check_id)
    return _confirmation(page)


@bp.post("/restore/checks/<int:check_id>/confirm")
@permission(Role.OPERATOR)
def start(check_id: int) -> ResponseReturnValue:
    """Restore what was checked, where nothing is replaced."""
    page = restore_pages.get_check_page(check_id, request_time())
    if page.is_replacement:
        return see_other("restores.confirm_replacement", check_id=check_id)
    return _start(page)


@bp.get("/restore/checks/<int:check_id>/replace")
@permission(Role.OPERATOR)
@requires_recent_sign_in
def confirm_replacement(check_id: int) -> ResponseReturnValue:
    """Say what will be gone, and ask for the database's name."""
    page = restore_pages.get_check_page(check_id, request_time())
    if not page.is_replacement:
        return see_other("restores.confirm", check_id=check_id)
    return _confirmation(page)


@bp.post("/restore/checks/<int:check_id>/replace")
@permission(Role.OPERATOR)
@requires_recent_sign_in
def replace(check_id: int) -> ResponseReturnValue:
    """Replace the database that was checked; the service compares the typed name."""
    return _start(restore_pages.get_check_page(check_id, request_time()))


@bp.get("/restores/<int:restore_id>")
@permission(Role.VIEWER)
def show(restore_id: int) -> ResponseReturnValue:
    """One restore. Blocks "head", "progress", "steps", "results" for the polls."""
    now = request_time()
    page = restore_pages.get_restore_page(restore_id, now)
    return page_or_partial(
        "restores/show.html",
        "head",
        "progress",
        "steps",
        "results",
        page=page,
        seen=page.seen,
        task=page.restore,
        restore=page.restore,
        now=now,
    )


@bp.get("/restores/<int:restore_id>/download")
@permission(Role.OPERATOR)
def download(restore_id: int) -> ResponseReturnValue:
    """The one file that a restore left: an attachment, or a table as CSV."""
    path = restore_files.record_download(restore_id, actor=current_actor(), now=request_time())
    return send_file(
        path,
        mimetype="application/octet-stream",
        as_attachment=True,
        download_name=path.rsplit("/", 1)[-1],
        max_age=0,
    )


@bp.get("/restores/<int:restore_id>/report.json")
@permission(Role.VIEWER)
def report(restore_id: int) -> ResponseReturnValue:
    """What was compared afterwards, and what the target is, as JSON."""
    page = restore_pages.get_restore_page(restore_id, request_time())
    return {
        "restore": restore_id,
        "url": url_for("restores.show", restore_id=restore_id),
        "restore_point_id": page.archive.id,
        "target": page.restore.target.value,
        "database": page.restore.target_database,
        "status": page.restore.status.value,
        "outcome": page.restore.outcome.value,
        "checks": [check.as_json() for check in page.checks],
    }


def _source_asked(draft: RestoreDraft) -> int | None:
    """The restore point that the address means, None when it names none."""
    if draft.archive.isascii() and draft.archive.isdigit():
        return int(draft.archive[:9])
    run_id = request.args.get("run", type=int)
    if run_id is not None:
        found = archives.archive_of_run(run_id)
    else:
        instance_id = request.args.get("source", type=int)
        database = request.args.get("source_database", "")[:63]
        found = restore_pages.find_newest(instance_id, database) if instance_id is not None else None
    return found.id if found is not None else None


def _wizard(
    draft: RestoreDraft, archive_id: int, *, step: str, state: FormState = NOTHING_WRONG
) -> ResponseReturnValue:
    """A step with all that was chosen before it."""
    archive = archives.get_archive(archive_id)
    if archive.format is ArchiveFormat.SNAPSHOT:
        return see_other("snapshot_restores.new", archive_id=archive_id)
    now = request_time()
    choices = restores.choices_for(archive, now)
    if choices.refusal:
        step = "source"
    given = {**draft.query(), "archive": str(archive_id)}
    full = form.with_defaults(RestoreDraft(**given), choices)
    body = render_template(
        "restores/new.html",
        step=step,
        archive=archive,
        choices=choices,
        draft=full,
        query=given,
        points=restore_pages.list_points(archive),
        errors=state.errors,
        state=state,
        estimate_seconds=restore_pages.estimate_seconds(archive),
        now=now,
    )
    return make_response(body, state.status)


def _ways(page: restore_pages.CheckPage) -> dict[str, object]:
    query: dict[str, Any] = form.draft_of(page.wish).query()
    return {"urls": {step: url_for("restores.new", step=step, **query) for step in form.STEPS}}


def _confirmation(page: restore_pages.CheckPage, error: InvalidInput | Conflict | None = None) -> ResponseReturnValue:
    if page.restore is not None and error is None:
        return see_other("restores.show", restore_id=page.restore.id)
    status = 200 if error is None else 422 if isinstance(error, InvalidInput) else 409
    if page.why_not and error is None:
        return see_other("restores.show_check", check_id=page.check.id)
    body = render_template("restores/confirm.html", page=page, error=error, now=request_time(), **_ways(page))
    return make_response(body, status)


def _start(page: restore_pages.CheckPage) -> ResponseReturnValue:
    typed = request.form.get("typed", "")[:200]
    try:
        restore = restores.request_restore(page.check.id, typed_name=typed, actor=current_actor(), now=request_time())
    except (InvalidInput, Conflict) as error:
        return _confirmation(page, error)
    return see_other("restores.show", restore_id=restore.id)
