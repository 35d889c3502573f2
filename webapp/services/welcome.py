"""The first steps: five things that Holdfast checks by itself, from its own rows, so that a person may leave and come back."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from webapp.core.status import ArchiveState, TaskStatus, VerificationStatus
from webapp.services.tasks import find_newest
from webapp.store.db import db
from webapp.store.models import Archive, ConnectionTest, Instance, Job, User


@dataclass(frozen=True, slots=True)
class FirstStep:
    """One step. ``instance_id`` and ``job_id`` say where to go on; None when there is none yet."""

    key: str
    is_done: bool
    evidence: str = ""
    instance_id: int | None = None
    job_id: int | None = None


def list_first_steps() -> list[FirstStep]:
    """The five steps in order."""
    admin = db.session.scalar(sa.select(User).order_by(User.id).limit(1))
    instance = _pick_instance()
    test = _passed_test(instance)
    job = _first_job(instance)
    archive = _first_verified()
    instance_id = instance.id if instance else None
    job_id = job.id if job else None
    return [
        FirstStep("admin", admin is not None, admin.username if admin else ""),
        FirstStep("instance", instance is not None, instance.name if instance else "", instance_id),
        FirstStep("connection", test is not None, _found(test), instance_id),
        FirstStep("job", job is not None, job.name if job else "", instance_id, job_id),
        FirstStep("backup", archive is not None, archive.database_name if archive else "", instance_id, job_id),
    ]


def _pick_instance() -> Instance | None:
    """The instance that is farthest: one with a job first, then the oldest."""
    live = sa.select(Instance).where(Instance.deleted_at.is_(None))
    with_job = live.where(sa.exists().where(Job.instance_id == Instance.id, Job.deleted_at.is_(None)))
    for query in (with_job, live):
        found: Instance | None = db.session.scalar(query.order_by(Instance.id).limit(1))
        if found is not None:
            return found
    return None


def _passed_test(instance: Instance | None) -> ConnectionTest | None:
    """The newest test of the instance, when it passed."""
    if instance is None:
        return None
    newest = find_newest(ConnectionTest, ConnectionTest.instance_id == instance.id)
    passed = (TaskStatus.COMPLETED, TaskStatus.COMPLETED_WITH_WARNINGS)
    return newest if newest is not None and newest.status in passed else None


def _found(test: ConnectionTest | None) -> str:
    return ", ".join(test.databases[:5]) if test is not None else ""


def _first_job(instance: Instance | None) -> Job | None:
    if instance is None:
        return None
    return db.session.scalar(
        sa.select(Job).where(Job.instance_id == instance.id, Job.deleted_at.is_(None)).order_by(Job.id).limit(1)
    )


def _first_verified() -> Archive | None:
    return db.session.scalar(
        sa.select(Archive)
        .where(Archive.state == ArchiveState.STORED, Archive.verification_status == VerificationStatus.PASSED)
        .order_by(Archive.id)
        .limit(1)
    )
