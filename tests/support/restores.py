"""Restores for tests: an archive that lies in the store, and an engine that does what a test says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.support.factories import make_archive, make_job, make_run
from webapp.core.errors import HoldfastError
from webapp.core.manifest import Manifest
from webapp.core.reports import Check, CheckState
from webapp.core.restore_plans import RestorePlan, RestoreResult, TargetFacts, TargetIdentity, TargetReport
from webapp.core.status import (
    ArchiveFormat,
    Content,
    ErrorCode,
    RestoreOutcome,
    RestoreTarget,
    TaskStatus,
    VerificationStatus,
)
from webapp.engine.report import Reporter
from webapp.services.restore_runs import RestoreEngine
from webapp.services.wiring import wired
from webapp.store.db import db, writing
from webapp.store.models import Archive, Instance, Run

CONTENT = b"what a restore would read"
IDENTITY = TargetIdentity("7300000000000000001", 16384)


def lay_down_archive(instance: Instance, now: datetime, *, run: Run | None = None, **values: Any) -> Archive:
    """A stored archive of the instance's database "acme", its file and side-car really there."""
    if run is None:
        run = make_run(make_job(instance, now), now, status=TaskStatus.COMPLETED, completed_at=now)
    folder = f"{instance.id}-{instance.slug}/20261122-023004_acme_r{run.id}f1"
    digest = hashlib.sha256(CONTENT).hexdigest()
    row = {"relative_path": f"{folder}/acme.zip", "size_bytes": len(CONTENT), "sha256": digest, "odoo_version": "18.0"}
    archive = make_archive(run, now, **(row | values))
    directory = wired().archive_directory / folder
    directory.mkdir(parents=True)
    (directory / "acme.zip").write_bytes(CONTENT)
    (directory / "manifest.json").write_text(json.dumps(_manifest(archive, digest).as_json()))
    return archive


def _manifest(archive: Archive, digest: str) -> Manifest:
    return Manifest(
        run_id=archive.run_id or 0,
        fence=1,
        attempt=1,
        job_id=archive.job_id,
        instance_id=archive.instance_id or 0,
        instance_name=archive.instance_name,
        database=archive.database_name,
        is_odoo=True,
        has_filestore=archive.content is Content.DATABASE_AND_FILESTORE,
        content=archive.content,
        archive_format=ArchiveFormat.ZIP,
        file_name="acme.zip",
        size_bytes=len(CONTENT),
        sha256=digest,
        started_at=archive.taken_at.isoformat(),
        snapshot_at=archive.taken_at.isoformat(),
        holdfast_version="0.1.0",
        table_rows={"public.res_partner": 3, "public.res_users": 2},
    )


@dataclass
class ScriptedEngine:
    """A restore engine without a target: it remembers its plans, and answers what it was told to.

    ``during`` is called with the plan and the journal where a real one would change the target.
    """

    exists: bool = True
    refuses: str = ""
    during: Callable[[RestorePlan, Callable[[Mapping[str, Any]], None]], None] | None = None
    settled: RestoreOutcome | HoldfastError = RestoreOutcome.UNTOUCHED
    looked: list[RestorePlan] = field(default_factory=list)
    ran: list[RestorePlan] = field(default_factory=list)
    settled_plans: list[RestorePlan] = field(default_factory=list)

    def doors(self) -> RestoreEngine:
        """As the services call it."""
        return RestoreEngine(self.look, self.run, self.settle)

    def look(self, plan: RestorePlan, reporter: Reporter) -> TargetReport:
        """The target is there unless ``exists`` is false."""
        self.looked.append(plan)
        check = Check("target", "Target", CheckState.PASSED, "It can be reached.")
        if self.refuses:
            check = Check("target", "Target", CheckState.FAILED, self.refuses, code=ErrorCode.TARGET_EXISTS)
        identity = TargetIdentity(IDENTITY.system_identifier, IDENTITY.database_oid if self.exists else None)
        return TargetReport((check,), TargetFacts(identity, ("odoo from 10.0.0.4 (3)",), database_bytes=5000))

    def run(self, plan: RestorePlan, journal: Callable[[Mapping[str, Any]], None], reporter: Reporter) -> RestoreResult:
        """Replace, or create."""
        self.ran.append(plan)
        if self.during is not None:
            self.during(plan, journal)
        return self._result(plan)

    def settle(self, plan: RestorePlan, reporter: Reporter) -> RestoreResult:
        """What the test says that the target is."""
        self.settled_plans.append(plan)
        if isinstance(self.settled, HoldfastError):
            raise self.settled
        if self.settled is RestoreOutcome.UNTOUCHED:
            return RestoreResult(self.settled)
        return self._result(plan)

    def _result(self, plan: RestorePlan) -> RestoreResult:
        if plan.target is not RestoreTarget.REPLACE:
            return RestoreResult(RestoreOutcome.CREATED, tables=2, rows=5, message="Restored.")
        return RestoreResult(
            RestoreOutcome.REPLACED,
            kept_name=plan.kept_name,
            kept_identity=IDENTITY,
            kept_filestore="/srv/filestore/" + plan.kept_name,
            message="Replaced.",
        )


def finish_safety_run(run_id: int, instance: Instance, now: datetime) -> None:
    """The safety backup ended well, and its archive is there."""
    lay_down_archive(instance, now, run=db.session.get_one(Run, run_id))
    with writing() as session:
        stored = session.get_one(Run, run_id)
        stored.status, stored.completed_at = TaskStatus.COMPLETED, now
        stored.verification_status = VerificationStatus.PASSED
