"""Rows for tests, with everything that matters given and the rest plausible."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from webapp.core.status import (
    ArchiveFormat,
    ArchiveState,
    Content,
    DatabaseSelection,
    InstanceKind,
    TaskType,
    VerificationLevel,
    VerificationStatus,
)
from webapp.services.schedule import settle_new_job
from webapp.services.tasks import add
from webapp.store.db import db, writing
from webapp.store.models import Archive, Instance, Job, Run


def make_instance(now: datetime, name: str = "acme-prod", **values: Any) -> Instance:
    """A PostgreSQL instance with one database."""
    row = {
        "uid": str(uuid.uuid4()),
        "name": name,
        "slug": name,
        "kind": InstanceKind.POSTGRES,
        "pg_host": "127.0.0.1",
        "pg_user": "holdfast",
        "database_selection": DatabaseSelection.SINGLE,
        "databases": ["acme"],
        "created_at": now,
        "updated_at": now,
    }
    with writing() as session:
        instance = Instance(**(row | values))
        session.add(instance)
    return instance


def make_job(instance: Instance, now: datetime, **values: Any) -> Job:
    """A nightly job in UTC; its first slot is the next 02:30 after ``now``."""
    row = {
        "instance_id": instance.id,
        "name": "Nightly",
        "cron": "30 2 * * *",
        "time_zone": "UTC",
        "retries": 0,
        "cursor_at": now,
        "created_at": now,
        "updated_at": now,
    }
    with writing() as session:
        job = Job(**(row | values))
        session.add(job)
        session.flush()
        settle_new_job(job, now)
    return job


def make_run(job: Job, now: datetime, **values: Any) -> Run:
    """A pending run of the job for the database "acme"."""
    row = {
        "type": TaskType.BACKUP,
        "title": f"{job.instance.name} / acme: {job.name}",
        "triggered_by": "manual:alice",
        "instance_id": job.instance_id,
        "instance_name": job.instance.name,
        "job_id": job.id,
        "job_name": job.name,
        "database_name": "acme",
        "content": Content.DATABASE,
        "format": ArchiveFormat.ZIP,
        "verification_level": VerificationLevel.COMPLETE,
        "max_attempts": job.retries + 1,
    }
    later = {key: values.pop(key) for key in ("status", "started_at", "completed_at", "error_code") if key in values}
    with writing():
        run = Run(**(row | values))
        add(run, now=now)
        for key, value in later.items():
            setattr(run, key, value)
    return run


def make_archive(run: Run, taken_at: datetime, **values: Any) -> Archive:
    """A stored, verified archive of the run."""
    row = {
        "run_id": run.id,
        "job_id": run.job_id,
        "instance_id": run.instance_id,
        "instance_name": run.instance_name,
        "database_name": run.database_name,
        "content": run.content,
        "format": run.format,
        "relative_path": f"1-acme-prod/{run.id}/acme.zip",
        "size_bytes": 1_000_000,
        "sha256": "0" * 64,
        "taken_at": taken_at,
        "created_at": taken_at,
        "state": ArchiveState.STORED,
        "verification_status": VerificationStatus.PASSED,
        "verification_level": VerificationLevel.COMPLETE,
        "verified_at": taken_at,
    }
    with writing() as session:
        archive = Archive(**(row | values))
        session.add(archive)
    return archive


def count_rows(model: type[Any]) -> int:
    """How many rows the table has."""
    db.session.commit()
    return db.session.query(model).count()
