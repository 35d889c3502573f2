"""The first steps after the setup; each is checked by Holdfast itself."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from webapp.core.status import Role
from webapp.services.welcome import list_first_steps
from webapp.web.access import permission

bp = Blueprint("welcome", __name__)


@bp.get("/welcome")
@permission(Role.VIEWER)
def show() -> ResponseReturnValue:
    """The checklist, with the first open step unfolded."""
    steps = list_first_steps()
    current = next((step.key for step in steps if not step.is_done), "")
    return render_template("welcome/show.html", steps=steps, current=current)
