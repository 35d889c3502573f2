"""The pill in the page head that says what runs and waits."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from webapp.core.status import Role
from webapp.services import overview
from webapp.web.access import permission

bp = Blueprint("activity", __name__)


@bp.get("/partials/activity")
@permission(Role.VIEWER)
def show() -> ResponseReturnValue:
    """The pill alone."""
    return render_template("_layout/_activity.html", activity=overview.get_activity())
