"""The JSON API: start background work (202) and follow it. Same sessions, permissions and services as the pages."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Blueprint, abort, request, url_for
from flask.typing import ResponseReturnValue

from webapp.core.status import Role, TaskStatus, TaskType, VerificationLevel
from webapp.services import archives, connection_tests, host_pages, run_pages, runs, snapshots, tasks
from webapp.services.run_pages import RunFilter
from webapp.services.snapshots import SnapshotFilter
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


@bp.get("/hosts")
@permission(Role.VIEWER)
def host_list() -> ResponseReturnValue:
    """All hosts by name, with their state, newest snapshot and the room left for the next."""
    return {"hosts": [_host(row) for row in host_pages.list_host_rows(request_time())]}


@bp.get("/snapshots")
@permission(Role.VIEWER)
def snapshot_list() -> ResponseReturnValue:
    """``?instance_id= &job_id= &gone=1 &limit=50``; newest first."""
    wanted = SnapshotFilter(
        instance_id=request.args.get("instance_id", type=int),
        job_id=request.args.get("job_id", type=int),
        with_gone=request.args.get("gone") == "1",
        limit=_limit(),
    )
    found, total = snapshots.list_snapshots(wanted)
    return {"snapshots": [_snapshot(record) for record in found], "total": total}


@bp.get("/runs")
@permission(Role.VIEWER)
def run_list() -> ResponseReturnValue:
    """``?instance_id= &job_id= &status= &limit=50``; newest first, each as a task. An unknown status is 400."""
    status = request.args.get("status", "")
    if status and status not in tuple(TaskStatus):
        abort(400, f"status must be one of {', '.join(TaskStatus)}.")
    wanted = RunFilter(
        instance_id=request.args.get("instance_id", type=int),
        job_id=request.args.get("job_id", type=int),
        status=TaskStatus(status) if status else None,
        limit=_limit(),
    )
    found, total = run_pages.list_runs(wanted)
    return {"runs": [shape(run) for run in found], "total": total}


def _limit() -> int:
    return max(1, min(500, request.args.get("limit", 50, type=int)))


def _host(row: Any) -> dict[str, Any]:
    return {
        "id": row.instance.id,
        "name": row.instance.name,
        "address": row.instance.ssh_host,
        "port": row.instance.ssh_port,
        "user": row.instance.ssh_user,
        "paths": row.host.paths,
        "directory": row.host.directory,
        "backup_root": row.root.root,
        "free_bytes": row.root.free_bytes,
        "problem": row.root.problem or row.fleet.problem,
        "state": row.fleet.state.value,
        "host_key": row.pinned.fingerprint if row.pinned else None,
        "reachable": row.test.status in (TaskStatus.COMPLETED, TaskStatus.COMPLETED_WITH_WARNINGS)
        if row.test is not None and row.test.status.is_final
        else None,
        "snapshots": row.fleet.stored_count,
        "newest_snapshot": _snapshot(row.newest) if row.newest is not None else None,
        "next_run_at": _time(row.fleet.next_at),
    }


def _snapshot(record: Any) -> dict[str, Any]:
    archive = record.archive
    return {
        "id": archive.id,
        "instance_id": archive.instance_id,
        "host": archive.instance_name,
        "run_id": archive.run_id,
        "job_id": archive.job_id,
        "taken_at": _time(archive.taken_at),
        "state": archive.state.value,
        "verification_status": archive.verification_status.value,
        "origin": archive.origin.value,
        "path": f"{record.root}/{record.directory}/{record.name}",
        "layout": record.layout.value,
        "base_id": record.base_id,
        "base_name": record.base_name or None,
        **{name: getattr(record, name) for name in _SNAPSHOT_NUMBERS},
        "read_at": _time(record.read_at),
        "compared_at": _time(record.compared_at),
    }


_SNAPSHOT_NUMBERS = (
    *("file_count", "directory_count", "other_count", "total_bytes", "new_files", "new_bytes", "gone_files"),
    *("transferred_bytes", "transfer_seconds", "vanished", "unreadable"),
)
