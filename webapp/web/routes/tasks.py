"""Tasks: one page and one list for all background work, and the banner that follows one of them."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.core.errors import Conflict
from webapp.core.reports import Check
from webapp.core.status import Role, TaskStatus, TaskType
from webapp.services import run_pages, tasks
from webapp.services.tasks import TASK_KINDS, TaskFilter
from webapp.web.access import current_actor, permission, request_time
from webapp.web.htmx import nothing_new, page_or_partial, see_other
from webapp.web.tables import page_number

bp = Blueprint("tasks", __name__, url_prefix="/tasks")

PAGE = 50
LOG_CAP = 2000
OWN_PAGES = {
    TaskType.BACKUP: ("runs.show", "run_id"),
    TaskType.RESTORE_CHECK: ("restores.show_check", "check_id"),
    TaskType.RESTORE: ("restores.show", "restore_id"),
    TaskType.DRILL: ("drills.show", "drill_id"),
    TaskType.SNAPSHOT_RESTORE: ("snapshot_restores.show", "restore_id"),
}


@bp.get("", endpoint="list")
@permission(Role.VIEWER)
def list_() -> ResponseReturnValue:
    """All tasks; ``?type= &status= &instance= &page=``. Block "rows" for the poll."""
    page = page_number()
    wanted = TaskFilter(
        type=_task_type(),
        status=_task_status(),
        instance_id=request.args.get("instance", type=int),
        offset=(page - 1) * PAGE,
        limit=PAGE,
    )
    found, total = tasks.list_tasks(wanted)
    return page_or_partial(
        "tasks/list.html",
        "rows",
        tasks=found,
        total=total,
        page=page,
        page_size=PAGE,
        wanted=wanted,
        kinds=TASK_KINDS,
        statuses=list(TaskStatus),
        outcome_of=run_pages.outcome_of,
        seconds_of=run_pages.duration_seconds,
        now=request_time(),
    )


@bp.get("/<int:task_id>")
@permission(Role.VIEWER)
def show(task_id: int) -> ResponseReturnValue:
    """One task; a run has its own page. Block "body" for the poll."""
    task = tasks.get_task(task_id)
    if task.type in OWN_PAGES:
        return redirect(page_of(task.type, task.id), code=303)
    now = request_time()
    return page_or_partial(
        "tasks/show.html",
        "body",
        task=task,
        kind=TASK_KINDS[task.type],
        outcome=run_pages.outcome_of(task),
        seconds=run_pages.duration_seconds(task, now),
        steps=run_pages.step_views(task, now),
        lines=tasks.list_log(task_id, 0, 5000),
        checks=[Check.from_json(item) for item in tasks.checks_of(task)],
        now=now,
    )


@bp.get("/<int:task_id>/banner")
@permission(Role.VIEWER)
def banner(task_id: int) -> ResponseReturnValue:
    """The banner of one task, as a partial; it polls itself until the task is final."""
    task = tasks.get_task(task_id)
    return render_template(
        "tasks/_banner.html",
        task=task,
        kind=TASK_KINDS[task.type],
        outcome=run_pages.outcome_of(task),
        url=page_of(task.type, task.id),
    )


@bp.get("/<int:task_id>/log")
@permission(Role.VIEWER)
def log(task_id: int) -> ResponseReturnValue:
    """Lines after ``?after=`` with a new tail; 204 when there is nothing new. The tail ends when the task has."""
    after = request.args.get("after", 0, type=int)
    task = tasks.get_task(task_id)
    done = task.status.is_final
    lines = tasks.list_log(task_id, after, LOG_CAP)
    if not lines and not done:
        return nothing_new()
    last = lines[-1].n if lines else after
    return render_template("tasks/_tail.html", lines=lines, last_line=last, live=not done, task=task)


@bp.post("/<int:task_id>/cancel")
@permission(Role.OPERATOR)
def cancel(task_id: int) -> ResponseReturnValue:
    """Cancel any task."""
    try:
        tasks.cancel(task_id, actor=current_actor(), now=request_time())
        flash("The task is being cancelled.", "ok")
    except Conflict as error:
        flash(error.message, "warn")
    return see_other("tasks.show", task_id=task_id)


def page_of(task_type: TaskType, task_id: int) -> str:
    """The address of a task's page; some types have one of their own."""
    endpoint, name = OWN_PAGES.get(task_type, ("tasks.show", "task_id"))
    values: dict[str, Any] = {name: task_id}
    return url_for(endpoint, **values)


def _task_type() -> TaskType | None:
    raw = request.args.get("type", "")
    return TaskType(raw) if raw in {word.value for word in TaskType} else None


def _task_status() -> TaskStatus | None:
    raw = request.args.get("status", "")
    return TaskStatus(raw) if raw in {word.value for word in TaskStatus} else None
