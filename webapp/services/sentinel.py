"""The sentinel at work: each new archive beside its predecessors, inside the transaction that settles its run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.core.sentinel import MOST_PREDECESSORS, Finding, Fingerprint, Severity, compare
from webapp.core.status import ArchiveState, TaskStatus, VerificationStatus
from webapp.services.retention_holds import freeze_in
from webapp.store.models import Archive, Job, Run, TaskLog

logger = logging.getLogger(__name__)

_COUNTED = (
    ArchiveState.STORED,
    ArchiveState.TRASHED,
    ArchiveState.DELETING,
    ArchiveState.DELETED,
    ArchiveState.MISSING,
)


def watch(session: Session, run: Run, archive: Archive, now: datetime) -> list[dict[str, str]]:
    """Compare the archive with those before it; returns the warnings (``code``, ``message``) it added to the run.

    To be called with the archive's row in the session, after the run got its final status and before retention is asked
    for. A blow freezes the retention of the run's job (once: the first reason stays until a person lifts it). A run that
    completed then says so with warnings; one that failed keeps its own reason and gets the warnings too.
    """
    newest = Fingerprint.from_json(archive.fingerprint or {})
    if newest is None:
        return []
    told = {warning["code"] for warning in run.warnings}
    findings = [
        finding
        for finding in compare(newest, _predecessors(session, archive))
        if finding.severity is Severity.BLOW or finding.code.value not in told  # the verification said as much
    ]
    if not findings:
        return []
    blows = [finding for finding in findings if finding.severity is Severity.BLOW]
    warnings = [{"code": finding.code.value, "message": finding.text} for finding in findings]
    if blows:
        _freeze(session, run, blows[0], now)
    _warn(session, run, findings, now)
    logger.warning("run %s: the sentinel found %s", run.id, ", ".join(finding.code.value for finding in findings))
    return warnings


def _predecessors(session: Session, archive: Archive) -> list[Fingerprint]:
    """The fingerprints before this one of the same database, content and format; the oldest first."""
    query = (
        sa.select(Archive.fingerprint)
        .where(
            Archive.instance_id == archive.instance_id,
            Archive.database_name == archive.database_name,
            Archive.content == archive.content,
            Archive.format == archive.format,
            Archive.verification_status == VerificationStatus.PASSED,
            Archive.state.in_(_COUNTED),
            Archive.taken_at < archive.taken_at,
        )
        .order_by(Archive.taken_at.desc(), Archive.id.desc())
        .limit(2 * MOST_PREDECESSORS)
    )
    if archive.id is not None:
        query = query.where(Archive.id != archive.id)
    found = [Fingerprint.from_json(data) for data in session.scalars(query) if data]
    return [one for one in reversed(found[:MOST_PREDECESSORS]) if one is not None]


def _freeze(session: Session, run: Run, blow: Finding, now: datetime) -> None:
    job = session.get(Job, run.job_id) if run.job_id is not None else None
    if job is not None:
        freeze_in(job, f"{run.database_name}, {now:%Y-%m-%d %H:%M} UTC: {blow.text}", actor="sentinel", now=now)


def _warn(session: Session, run: Run, findings: Sequence[Finding], now: datetime) -> None:
    run.warnings = [*run.warnings, *({"code": one.code.value, "message": one.text} for one in findings)]
    if run.status in (TaskStatus.COMPLETED, TaskStatus.COMPLETED_WITH_WARNINGS):
        run.status = TaskStatus.COMPLETED_WITH_WARNINGS
        # A blow is said before what the backup itself warned of.
        if run.error_code is None or findings[0].severity is Severity.BLOW:
            run.error_code, run.error_message = findings[0].code, findings[0].text
            run.hint = _hint(findings[0])
    last = session.scalar(sa.select(sa.func.max(TaskLog.n)).where(TaskLog.task_id == run.id)) or 0
    for number, finding in enumerate(findings, start=last + 1):
        session.add(TaskLog(task_id=run.id, n=number, at=now, level="warning", message=finding.text))


def _hint(finding: Finding) -> str:
    if finding.severity is Severity.WARNING:
        return "Find out whether this was done on purpose."
    return "Look at the source before anything else. Until somebody lifts it on the job's page, nothing old is dropped."
