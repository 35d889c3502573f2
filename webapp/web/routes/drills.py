"""Restore drills: asked for by a person, followed live, and reported question by question."""

from __future__ import annotations

from flask import Blueprint, url_for
from flask.typing import ResponseReturnValue

from webapp.core.status import Role
from webapp.services import drill_pages, drills
from webapp.web.access import current_actor, permission, request_time
from webapp.web.htmx import page_or_partial, see_other

bp = Blueprint("drills", __name__)


@bp.post("/restore-points/<int:archive_id>/drill")
@permission(Role.OPERATOR)
def create(archive_id: int) -> ResponseReturnValue:
    """Restore it for practice, now; a drill that is on its way is shown instead."""
    drill = drills.request_drill(archive_id, actor=current_actor(), now=request_time())
    return see_other("drills.show", drill_id=drill.id)


@bp.get("/drills/<int:drill_id>")
@permission(Role.VIEWER)
def show(drill_id: int) -> ResponseReturnValue:
    """One drill and its report. Blocks "head", "progress", "steps", "results" for the polls."""
    now = request_time()
    page = drill_pages.get_drill_page(drill_id, now)
    return page_or_partial(
        "drills/show.html",
        "head",
        "progress",
        "steps",
        "results",
        page=page,
        seen=page.seen,
        task=page.drill,
        drill=page.drill,
        now=now,
    )


@bp.get("/drills/<int:drill_id>/report.json")
@permission(Role.VIEWER)
def report(drill_id: int) -> ResponseReturnValue:
    """The questions and their answers as JSON."""
    drill = drills.get_drill(drill_id)
    return {
        "drill": drill_id,
        "url": url_for("drills.show", drill_id=drill_id),
        "restore_point_id": drill.archive_id,
        "status": drill.status.value,
        "seconds": drill.seconds,
        "facts": drill.facts,
        "checks": drill.checks,
    }
