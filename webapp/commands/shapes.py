"""The JSON shapes of the command line. Fields are added, never renamed: scripts rest on them."""

from __future__ import annotations

from typing import Any

from webapp.commands.base import moment
from webapp.services.archives import file_path
from webapp.services.restores import result_of
from webapp.services.run_pages import outcome_of
from webapp.services.users import UserRow


def user_shape(user: UserRow) -> dict[str, Any]:
    """A user."""
    return {
        "id": user.id,
        "username": user.username,
        "display_name": user.display_name,
        "role": str(user.role),
        "is_active": user.is_active,
        "created_at": moment(user.created_at),
        "last_sign_in_at": moment(user.last_sign_in_at),
    }


def instance_shape(instance: Any) -> dict[str, Any]:
    """An instance, without its secrets."""
    return {
        "id": instance.id,
        "name": instance.name,
        "kind": str(instance.kind),
        "customer": instance.customer,
        "tags": list(instance.tags),
        "url": instance.url,
        "pg_host": instance.pg_host,
        "pg_port": instance.pg_port,
        "ssh_host": instance.ssh_host,
        "ssh_port": instance.ssh_port,
        "filestore_kind": str(instance.filestore_kind),
        "database_selection": str(instance.database_selection),
        "databases": list(instance.databases),
        "paused_at": moment(instance.paused_at),
        "paused_until": moment(instance.paused_until),
        "pause_reason": instance.pause_reason,
        "odoo_version": instance.odoo_version,
        "postgresql_version": instance.postgresql_version,
    }


def job_shape(job: Any) -> dict[str, Any]:
    """A job."""
    return {
        "id": job.id,
        "name": job.name,
        "instance_id": job.instance_id,
        "instance_name": job.instance.name,
        "enabled": job.enabled,
        "cron": job.cron,
        "time_zone": job.time_zone,
        "next_slot_at": moment(job.next_slot_at),
        "content": str(job.content),
        "format": str(job.format),
        "retention_mode": str(job.retention_mode),
        "retention_value": job.retention_value,
        "retention_rules": job.retention_rules,
        "retention_frozen_at": moment(job.retention_frozen_at),
        "verification_level": str(job.verification_level),
        "paths": list(job.paths),
        "rides_with_id": job.rides_with_id,
    }


def task_shape(task: Any) -> dict[str, Any]:
    """A task of any type."""
    return {
        "id": task.id,
        "type": str(task.type),
        "title": task.title,
        "status": str(task.status),
        "outcome": outcome_of(task).word,
        "queue": str(task.queue),
        "queue_task_id": task.queue_task_id,
        "attempt": task.attempt,
        "triggered_by": task.triggered_by,
        "created_at": moment(task.created_at),
        "started_at": moment(task.started_at),
        "completed_at": moment(task.completed_at),
        "progress_percent": task.progress_percent,
        "progress_message": task.progress_message,
        "error_code": None if task.error_code is None else str(task.error_code),
        "error_message": task.error_message,
        "hint": task.hint,
        "warnings": list(task.warnings),
        "instance_id": task.instance_id,
        "instance_name": task.instance_name,
    }


def run_shape(run: Any) -> dict[str, Any]:
    """A run: a task, and what makes it a backup."""
    return {
        **task_shape(run),
        "job_id": run.job_id,
        "job_name": run.job_name,
        "database": run.database_name,
        "scheduled_at": moment(run.scheduled_at),
        "content": str(run.content),
        "format": str(run.format),
        "verification_status": str(run.verification_status),
        "size_bytes": run.size_bytes,
    }


def archive_shape(archive: Any, *, with_path: bool = False) -> dict[str, Any]:
    """An archive; with the absolute path of its file when asked for one that is there."""
    shape = {
        "id": archive.id,
        "run_id": archive.run_id,
        "job_id": archive.job_id,
        "instance_id": archive.instance_id,
        "instance_name": archive.instance_name,
        "database": archive.database_name,
        "format": str(archive.format),
        "size_bytes": archive.size_bytes,
        "sha256": archive.sha256,
        "taken_at": moment(archive.taken_at),
        "state": str(archive.state),
        "verification_status": str(archive.verification_status),
        "verification_level": str(archive.verification_level),
        "verified_at": moment(archive.verified_at),
        "drill_status": str(archive.drill_status),
        "drilled_at": moment(archive.drilled_at),
        "pinned_at": moment(archive.pinned_at),
        "pin_note": archive.pin_note,
        "trash_until": moment(archive.trash_until),
        "delete_reason": archive.delete_reason,
    }
    return {**shape, "path": file_path(archive)} if with_path else shape


def check_shape(check: Any, why_not: str) -> dict[str, Any]:
    """A restore check; ``why_not`` says why the restore cannot be started from it, "" when it can."""
    return {
        **task_shape(check),
        "archive_id": check.archive_id,
        "target": str(check.target),
        "database": check.target_database,
        "options": dict(check.options),
        "checks": list(check.checks),
        "facts": dict(check.facts),
        "startable": not why_not,
        "why_not": why_not,
    }


def restore_shape(restore: Any) -> dict[str, Any]:
    """A restore; ``target_is`` is untouched, created, replaced or unknown."""
    return {
        **task_shape(restore),
        "archive_id": restore.archive_id,
        "check_id": restore.check_id,
        "target": str(restore.target),
        "database": restore.target_database,
        "options": dict(restore.options),
        "target_is": str(restore.outcome),
        "checks": list(restore.checks),
        "safety_run_id": restore.safety_run_id,
        "result": result_of(restore),
    }


def kept_shape(kept: Any) -> dict[str, Any]:
    """A database kept from before a replacement."""
    return {
        "id": kept.id,
        "restore_id": kept.restore_id,
        "instance_id": kept.instance_id,
        "instance_name": kept.instance_name,
        "database": kept.database_name,
        "kept_name": kept.kept_name,
        "filestore_path": kept.filestore_path,
        "size_bytes": kept.size_bytes,
        "created_at": moment(kept.created_at),
        "remove_after": moment(kept.remove_after),
        "removed_at": moment(kept.removed_at),
        "removed_by": kept.removed_by,
        "remove_error": kept.remove_error,
    }
