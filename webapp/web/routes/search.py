"""Search over instances, runs and restore points."""

from __future__ import annotations

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from webapp.core.status import Role
from webapp.services import run_pages
from webapp.services.fleet import list_fleet
from webapp.services.run_pages import RunFilter
from webapp.web.access import permission, request_time
from webapp.web.htmx import see_other

bp = Blueprint("search", __name__)


@bp.get("/search")
@permission(Role.VIEWER)
def show() -> ResponseReturnValue:
    """``?q=`` words; a run's number goes straight to it."""
    words = request.args.get("q", "").strip()[:100]
    number = words.removeprefix("#")
    if number.isdigit() and len(number) < 12:
        return see_other("runs.show", run_id=int(number))
    low = words.lower()
    now = request_time()
    rows = [
        row
        for row in (list_fleet(now) if words else [])
        if any(low in text.lower() for text in (row.instance.name, row.instance.customer, *row.databases))
    ]
    found, total = run_pages.list_runs(RunFilter(words=words, limit=20)) if words else ([], 0)
    return render_template(
        "search/show.html", words=words, rows=rows, runs=found, total=total, outcome_of=run_pages.outcome_of, now=now
    )
