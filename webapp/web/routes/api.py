"""The JSON API: start background work (202) and follow it. Same sessions, permissions and services as the pages."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Blueprint, abort, request, url_for
from flask.typing import ResponseReturnValue

from webapp.core.status import Role, TaskStatus, TaskType, VerificationLevel
from webapp.services import archives, connection_tests, run_pages, runs, tasks
from webapp.services.tasks import TaskFilter
from webapp.web.access import current_actor, permission, request_time

bp = Blueprint("api", __name__, url_prefix="/api/v1")

STATUS = "/admin/background-tasks"


def _time(value: datetime | None) -> str | None:
    return value.isoformat() if value is not None else None


def accepted(task: Any) -> dict[str, Any]:
    """The body of a 202 in the standard shape; ``job_id`` is the task's id, the name that API clients know."""
    return {
        "job_id": task.id,
        "task_type": task.type.value,
        "status": task.status.value,
        "message": "Task queued successfully",
        "status_url": url_for("api.task", task_id=task.id),
    }


def shape(task: Any) -> dict[str, Any]:
    """One task as JSON."""
    return {
        "id": task.id,
        "task_type": task.type.value,
        "status": task.status.value,
        "outcome": run_pages.outcome_of(task).word,
        "title": task.title,
        "progress_percent": task.progress_percent,
        "progress_message": task.progress_message,
        "created_at": _time(task.created_at),
        "started_at": _time(task.started_at),
        "completed_at": _time(task.completed_at),
        "triggered_by": task.triggered_by,
        "error_code": task.error_code.value if task.error_code else None,
        "error_message": task.error_message,
        "hint": task.hint,
        "warnings": task.warnings,
        "queue_task_id": task.queue_task_id,
        "attempt": task.attempt,
        "instance_id": task.instance_id,
        "details": {**task.details, **run_pages.details_of(task)},
    }


@bp.get(STATUS)
@permission(Role.VIEWER)
def task_list() -> ResponseReturnValue:
    """``?task_type= &status= &limit=50``; newest first. An unknown word is 400."""
    kind, status = request.args.get("task_type", ""), request.args.get("status", "")
    limit = request.args.get("limit", 50, type=int)
    if kind and kind not in {word.value for word in TaskType}:
        abort(400, f"task_type must be one of {', '.join(TaskType)}.")
    if status and status not in {word.value for word in TaskStatus}:
        abort(400, f"status must be one of {', '.join(TaskStatus)}.")
    wanted = TaskFilter(
        type=TaskType(kind) if kind else None,
        status=TaskStatus(status) if status else None,
        limit=max(1, min(500, limit)),
    )
    found, total = tasks.list_tasks(wanted)
    return {"tasks": [shape(task) for task in found], "total": total}


@bp.get(f"{STATUS}/<int:task_id>")
@permission(Role.VIEWER)
def task(task_id: int) -> ResponseReturnValue:
    """One task."""
    return shape(tasks.get_task(task_id))


@bp.post(f"{STATUS}/<int:task_id>/cancel")
@permission(Role.OPERATOR)
def cancel(task_id: int) -> ResponseReturnValue:
    """Cancel at any phase; 409 when it has already ended."""
    return shape(tasks.cancel(task_id, actor=current_actor(), now=request_time())), 202


@bp.post("/jobs/<int:job_id>/run")
@permission(Role.OPERATOR)
def run_job(job_id: int) -> ResponseReturnValue:
    """Run now. With several databases, ``tasks`` lists one answer for each."""
    started = runs.request_job(job_id, actor=current_actor(), now=request_time())
    return {**accepted(started[0]), "tasks": [accepted(task) for task in started]}, 202


@bp.post("/instances/<int:instance_id>/test-connection")
@permission(Role.OPERATOR)
def test_connection(instance_id: int) -> ResponseReturnValue:
    """Test the connection."""
    return accepted(
        connection_tests.request_connection_test(instance_id, actor=current_actor(), now=request_time())
    ), 202


@bp.post("/runs/<int:run_id>/retry")
@permission(Role.OPERATOR)
def retry_run(run_id: int) -> ResponseReturnValue:
    """Another run of the same job and database."""
    return accepted(runs.request_retry(run_id, actor=current_actor(), now=request_time())), 202


@bp.post("/restore-points/<int:archive_id>/verify")
@permission(Role.OPERATOR)
def verify_archive(archive_id: int) -> ResponseReturnValue:
    """Prove a restore point again."""
    level = VerificationLevel.COMPLETE
    return accepted(
        archives.request_verification(archive_id, level=level, actor=current_actor(), now=request_time())
    ), 202
