"""Kept databases: what was there before a replacement, listed, and removed for good with care."""

from __future__ import annotations

from flask import Blueprint, make_response, render_template, request
from flask.typing import ResponseReturnValue

from webapp.core.errors import Conflict, InvalidInput
from webapp.core.status import Role
from webapp.services import kept_databases
from webapp.web.access import current_actor, permission, request_time, requires_recent_sign_in
from webapp.web.htmx import see_other

bp = Blueprint("kept", __name__, url_prefix="/kept-databases")


@bp.get("", endpoint="list")
@permission(Role.VIEWER)
def list_() -> ResponseReturnValue:
    """Kept databases, newest first; ``?removed=1`` adds those that are gone."""
    with_removed = request.args.get("removed") == "1"
    found = kept_databases.list_kept(with_removed=with_removed)
    return render_template("kept/list.html", found=found, with_removed=with_removed, now=request_time())


@bp.get("/<int:kept_id>/remove")
@permission(Role.OPERATOR)
@requires_recent_sign_in
def confirm(kept_id: int) -> ResponseReturnValue:
    """Say what will be gone, and ask for its name."""
    return _question(kept_id)


@bp.post("/<int:kept_id>/remove")
@permission(Role.OPERATOR)
@requires_recent_sign_in
def remove(kept_id: int) -> ResponseReturnValue:
    """Remove it for good; the service compares the typed name."""
    typed = request.form.get("typed", "")[:200]
    try:
        task = kept_databases.request_removal(kept_id, typed_name=typed, actor=current_actor(), now=request_time())
    except (InvalidInput, Conflict) as error:
        return _question(kept_id, error)
    return see_other("tasks.show", task_id=task.id)


def _question(kept_id: int, error: InvalidInput | Conflict | None = None) -> ResponseReturnValue:
    kept = kept_databases.get_kept(kept_id)
    body = render_template("kept/remove.html", kept=kept, error=error)
    return make_response(body, 200 if error is None else 422 if isinstance(error, InvalidInput) else 409)
