"""The overview."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from webapp.core.status import Role
from webapp.services import health, overview
from webapp.web.access import permission, request_time
from webapp.web.htmx import page_or_partial, see_other

bp = Blueprint("dashboard", __name__)

BLOCKS = ("verdict", "running", "fleet")


@bp.get("/")
@permission(Role.VIEWER)
def show() -> ResponseReturnValue:
    """Overview, or one of its blocks (``?_b=verdict|running|fleet``) for a poll."""
    now = request_time()
    seen = overview.get_overview(now, health.glance(now))
    if not seen.fleet:
        return see_other("welcome.show")
    return page_or_partial("dashboard/show.html", *BLOCKS, overview=seen, now=now)
