"""The pattern page: each component once, for whoever builds pages, and photographed by tests."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from webapp.core.status import Role
from webapp.web.access import permission, request_time

bp = Blueprint("patterns", __name__)


@bp.get("/patterns")
@permission(Role.ADMIN)
def show() -> ResponseReturnValue:
    """All components."""
    return render_template("patterns/show.html", now=request_time())
