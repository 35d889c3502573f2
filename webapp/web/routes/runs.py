"""Runs: the list, the page of one, its live parts, and what a person may do with it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from typing import Any

from flask import Blueprint, Response, flash, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.core.errors import Conflict
from webapp.core.status import ArchiveFormat, ErrorCode, Role
from webapp.services import run_pages, runs, snapshots, tasks
from webapp.services.run_pages import RunFilter
from webapp.web.access import current_actor, permission, request_time
from webapp.web.htmx import page_or_partial, see_other
from webapp.web.tables import csv_response, page_number

bp = Blueprint("runs", __name__)

PAGE = 50
LOG_CAP = 2000
CSV_HEAD = (
    *("run", "instance", "database", "job", "status", "error_code", "verification", "triggered_by"),
    *("scheduled_at", "started_at", "completed_at", "seconds", "size_bytes", "error_message"),
)


def read_filter(page: int, size: int = PAGE) -> RunFilter:
    """The filter that the URL asks for."""
    return RunFilter(
        instance_id=request.args.get("instance", type=int),
        job_id=request.args.get("job", type=int),
        outcome=request.args.get("outcome", ""),
        words=request.args.get("q", "")[:100],
        offset=(page - 1) * size,
        limit=size,
    )


@bp.get("/runs", endpoint="list")
@permission(Role.VIEWER)
def list_() -> ResponseReturnValue:
    """All runs, newest first; ``?q= &outcome= &instance= &job= &page=``. Block "rows" for the poll."""
    page = page_number()
    wanted = read_filter(page)
    found, total = run_pages.list_runs(wanted)
    return page_or_partial(
        "runs/list.html",
        "rows",
        runs=found,
        total=total,
        page=page,
        page_size=PAGE,
        wanted=wanted,
        counts=run_pages.count_outcomes(wanted),
        outcome_of=run_pages.outcome_of,
        seconds_of=run_pages.duration_seconds,
        now=request_time(),
    )


@bp.get("/runs.csv")
@permission(Role.VIEWER)
def export() -> ResponseReturnValue:
    """The filtered list as CSV, at most 10,000 rows."""
    found, _ = run_pages.list_runs(read_filter(1, 10_000))
    now = request_time()

    def rows() -> Iterator[tuple[object, ...]]:
        for run in found:
            yield (
                run.id,
                run.instance_name,
                run.database_name,
                run.job_name,
                run.status,
                run.error_code or "",
                run.verification_status,
                run.triggered_by,
                run.scheduled_at,
                run.started_at,
                run.completed_at,
                run_pages.duration_seconds(run, now),
                run.size_bytes,
                run.error_message,
            )

    return csv_response("runs.csv", CSV_HEAD, rows())


@bp.get("/runs/<int:run_id>")
@permission(Role.VIEWER)
def show(run_id: int) -> ResponseReturnValue:
    """One run. Blocks "head", "progress", "steps", "results" for the polls; ``?from=`` shows the log from a line."""
    now = request_time()
    seen = run_pages.get_run_page(run_id, now, from_line=request.args.get("from", type=int))
    return page_or_partial(
        "runs/show.html",
        "head",
        "progress",
        "steps",
        "results",
        seen=seen,
        run=seen.run,
        now=now,
        **_of_host(seen.run),
    )


def _of_host(run: Any) -> dict[str, Any]:
    """What the page of a host's run shows beside."""
    is_host = run.format is ArchiveFormat.SNAPSHOT
    emptied = is_host and run.error_code is ErrorCode.SOURCE_EMPTIED
    return {
        "is_host": is_host,
        "record": snapshots.find_of_run(run.id) if is_host else None,
        "may_accept": emptied and snapshots.can_accept_shrink(run.id),
    }


@bp.get("/runs/<int:run_id>/log")
@permission(Role.VIEWER)
def log(run_id: int) -> ResponseReturnValue:
    """Lines after ``?after=`` with a new tail; 204 when there is nothing new. The tail ends when the run has."""
    after = request.args.get("after", 0, type=int)
    run = runs.get_run(run_id)
    done = run.status.is_final
    lines = tasks.list_log(run_id, after, LOG_CAP)
    if not lines and not done:
        return "", 204
    last = lines[-1].n if lines else after
    return render_template("runs/_log.html", lines=lines, last_line=last, live=not done, run=run)


@bp.get("/runs/<int:run_id>/log.txt")
@permission(Role.VIEWER)
def raw_log(run_id: int) -> ResponseReturnValue:
    """The whole log as text."""
    runs.get_run(run_id)

    def text() -> Iterator[str]:
        after = 0
        while lines := tasks.list_log(run_id, after, LOG_CAP):
            for line in lines:
                yield f"{line.at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ} {line.level:<7} {line.message}\n"
            after = lines[-1].n

    response = Response("".join(text()), mimetype="text/plain")
    response.headers["Content-Disposition"] = f'inline; filename="run-{run_id}.log"'
    return response


@bp.post("/runs/<int:run_id>/cancel")
@permission(Role.OPERATOR)
def cancel(run_id: int) -> ResponseReturnValue:
    """Cancel at any phase."""
    runs.get_run(run_id)
    try:
        tasks.cancel(run_id, actor=current_actor(), now=request_time())
        flash("The run is being cancelled. Nothing of it will be left behind.", "ok")
    except Conflict as error:
        flash(error.message, "warn")
    return see_other("runs.show", run_id=run_id)


@bp.post("/runs/<int:run_id>/retry")
@permission(Role.OPERATOR)
def retry(run_id: int) -> ResponseReturnValue:
    """Another run of the same job and database."""
    run = runs.request_retry(run_id, actor=current_actor(), now=request_time())
    return see_other("runs.show", run_id=run.id)


@bp.get("/runs/<int:run_id>/report.json")
@permission(Role.VIEWER)
def report(run_id: int) -> ResponseReturnValue:
    """The verification report as JSON."""
    seen = run_pages.get_run_page(run_id, request_time())
    return {
        "run": run_id,
        "url": url_for("runs.show", run_id=run_id),
        "verification_status": seen.run.verification_status.value,
        "checks": [check.as_json() for check in seen.checks],
    }
