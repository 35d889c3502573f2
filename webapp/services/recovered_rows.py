"""Rows of archives that the catalogue does not know: made from their side-cars, never over anything that is there."""

from __future__ import annotations

import re
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.core.manifest import Manifest
from webapp.core.naming import unique_slug
from webapp.core.reports import Check
from webapp.core.status import (
    ArchiveOrigin,
    ArchiveState,
    DatabaseSelection,
    ErrorCode,
    InstanceKind,
    TaskStatus,
    TaskType,
    VerificationLevel,
    VerificationStatus,
)
from webapp.engine.listing import Found
from webapp.services.archives import moment_of
from webapp.services.tasks import add
from webapp.store.db import db, writing
from webapp.store.models import Archive, Instance, Run, Task

TRIGGERED_BY = "recover"
PAUSED_BECAUSE = "Recovered from its archives. Enter its address and passwords, then resume."
_INSTANCE_DIRECTORY = re.compile(r"(\d{1,18})-(.+)")


@dataclass(slots=True)
class Adopted:
    """What was added; ``known`` archives were in the catalogue already."""

    archives: int = 0
    known: int = 0
    instances: list[str] = field(default_factory=list)


def known_paths() -> set[str]:
    """Relative paths of all archives in the catalogue, whatever their state."""
    return set(db.session.scalars(sa.select(Archive.relative_path)))


def adopt(found: Sequence[Found], now: datetime) -> Adopted:
    """Add rows for the archives that have none, in one transaction; safe to repeat."""
    result = Adopted()
    by_directory: dict[str, list[Found]] = defaultdict(list)
    for one in found:
        by_directory[one.instance_directory].append(one)
    with writing() as session:
        known = known_paths()
        for directory, archives in by_directory.items():
            new = [one for one in archives if one.relative_path not in known]
            result.known += len(archives) - len(new)
            if new:
                _adopt_directory(session, directory, new, result, now)
        _move_sequences(session)
    return result


def _adopt_directory(session: Session, directory: str, new: Sequence[Found], result: Adopted, now: datetime) -> None:
    manifests = [one.manifest for one in new if one.manifest is not None]
    instance = None
    if not all(_is_upload(manifest) for manifest in manifests):
        instance = _find_instance(session, directory)
        if instance is None:
            instance = _placeholder(session, directory, manifests, now)
            result.instances.append(instance.name)
    for one in new:
        if one.manifest is not None:
            _add(session, _case(one, one.manifest, now), instance)
            result.archives += 1


def _is_upload(manifest: Manifest) -> bool:
    return manifest.labels.get("origin") == "upload"


def _find_instance(session: Session, directory: str) -> Instance | None:
    """The instance whose folder it is, or the one that its archives were given to before."""
    match = _INSTANCE_DIRECTORY.fullmatch(directory)
    if match:
        instance = session.get(Instance, int(match[1]))
        if instance is not None and instance.slug == match[2]:
            return instance
    pattern = directory.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "/%"
    mine = sa.or_(
        Archive.relative_path.like(pattern, escape="\\"),
        Archive.relative_path.like(f"quarantine/{pattern}", escape="\\"),
    )
    return session.scalars(sa.select(Instance).join(Archive).where(mine).limit(1)).first()


def _placeholder(session: Session, directory: str, manifests: Sequence[Manifest], now: datetime) -> Instance:
    """An instance with everything but how to reach it; paused. It keeps its number, and so its folder, where that is free."""
    match = _INSTANCE_DIRECTORY.fullmatch(directory)
    newest = max(manifests, key=lambda manifest: moment_of(manifest.started_at, now))
    taken = set(session.scalars(sa.select(Instance.slug)))
    wanted = match[2] if match else directory
    number = int(match[1]) if match and session.get(Instance, int(match[1])) is None else None
    databases = sorted({manifest.database for manifest in manifests})
    instance = Instance(
        id=number,
        uid=str(uuid.uuid4()),
        name=newest.instance_name[:128] or directory[:128],
        slug=wanted if wanted not in taken and len(wanted) <= 64 else unique_slug(newest.instance_name, taken),
        kind=_kind(newest),
        notes="Recovered from the side-cars of its archives.",
        database_selection=DatabaseSelection.SINGLE if len(databases) == 1 else DatabaseSelection.SELECTED,
        databases=databases,
        paused_at=now,
        paused_by=TRIGGERED_BY,
        pause_reason=PAUSED_BECAUSE,
        odoo_version=newest.versions.get("odoo", "")[:32],
        postgresql_version=newest.versions.get("postgresql", "")[:32],
        created_at=now,
        updated_at=now,
    )
    session.add(instance)
    session.flush()
    return instance


def _kind(manifest: Manifest) -> InstanceKind:
    if not manifest.is_odoo:
        return InstanceKind.POSTGRES
    # Only a database that was dumped by us had its rows counted.
    return InstanceKind.ODOO_HTTP if manifest.table_rows is None else InstanceKind.ODOO_POSTGRES


@dataclass(frozen=True, slots=True)
class _Case:
    """One archive to adopt, and what its side-car says of its verification."""

    found: Found
    manifest: Manifest
    now: datetime
    checks: tuple[Check, ...]
    level: VerificationLevel

    @property
    def status(self) -> VerificationStatus:
        """As it was when the archive was stored."""
        if not self.checks:
            return VerificationStatus.NOT_RUN
        good = bool((self.manifest.verification or {}).get("passed"))
        return VerificationStatus.PASSED if good else VerificationStatus.FAILED

    @property
    def started_at(self) -> datetime:
        """Never in the future: a clock that was ahead must not choose what retention takes for new."""
        return min(moment_of(self.manifest.started_at, self.now), self.now)

    @property
    def taken_at(self) -> datetime:
        """Likewise."""
        return min(moment_of(self.manifest.snapshot_at, self.started_at), self.now)


def _case(found: Found, manifest: Manifest, now: datetime) -> _Case:
    proof = manifest.verification or {}
    try:
        checks = tuple(Check.from_json(item) for item in proof.get("checks", ()))
        level = VerificationLevel(proof.get("level", VerificationLevel.NONE))
    except (KeyError, ValueError):  # somebody wrote into it: then nothing is known to be verified
        checks, level = (), VerificationLevel.NONE
    return _Case(found, manifest, now, checks, level)


def _add(session: Session, case: _Case, instance: Instance | None) -> None:
    manifest = case.manifest
    passed = case.status is VerificationStatus.PASSED
    session.add(
        Archive(
            run_id=_run_id(session, case, instance),
            instance_id=instance.id if instance is not None else None,
            instance_name=manifest.instance_name[:128],
            database_name=manifest.database[:63],
            content=manifest.content,
            format=manifest.archive_format,
            origin=ArchiveOrigin.UPLOAD if _is_upload(manifest) else ArchiveOrigin.RECOVERED,
            relative_path=case.found.relative_path,
            size_bytes=manifest.size_bytes,
            sha256=manifest.sha256,
            manifest_sha256=case.found.manifest_sha256,
            taken_at=case.taken_at,
            created_at=case.now,
            state=ArchiveState.QUARANTINED if case.found.quarantined else ArchiveState.STORED,
            verification_status=case.status,
            verification_level=case.level if passed else VerificationLevel.NONE,
            verified_at=case.taken_at if case.checks else None,
            report=[check.as_json() for check in case.checks],
            row_total=manifest.row_total,
            table_count=len(manifest.table_rows) if manifest.table_rows is not None else None,
            attachment_count=manifest.attachment_count,
            odoo_version=manifest.versions.get("odoo", "")[:32],
            postgresql_version=manifest.versions.get("postgresql", "")[:32],
        )
    )


def _run_id(session: Session, case: _Case, instance: Instance | None) -> int | None:
    """The run that made it: the one we know, or one made anew under its number, so that later runs get higher ones."""
    manifest = case.manifest
    if instance is None or not manifest.run_id:
        return None
    task = session.get(Task, manifest.run_id)
    if task is None:
        return _new_run(session, case, instance).id
    if not isinstance(task, Run) or not _is_of(session, task, case, instance):
        return None
    if not task.status.is_final:  # the self-backup was taken before it ended
        _settle(task, case)
    return task.id


def _is_of(session: Session, run: Run, case: _Case, instance: Instance) -> bool:
    return (
        (run.instance_id, run.database_name) == (instance.id, case.manifest.database)
        and run.created_at <= case.started_at
        and session.scalar(sa.select(Archive.id).where(Archive.run_id == run.id)) is None
    )


def _new_run(session: Session, case: _Case, instance: Instance) -> Run:
    manifest = case.manifest
    run = Run(
        id=manifest.run_id,
        type=TaskType.BACKUP,
        title=f"{instance.name} / {manifest.database}"[:200],
        triggered_by=TRIGGERED_BY,
        instance_id=instance.id,
        instance_name=instance.name,
        job_name=manifest.labels.get("job", "")[:128],
        database_name=manifest.database[:63],
        content=manifest.content,
        format=manifest.archive_format,
        verification_level=case.level,
        attempt=manifest.attempt,
    )
    add(run, now=case.started_at)
    run.started_at = case.started_at
    _settle(run, case)
    session.flush()
    return run


def _settle(run: Run, case: _Case) -> None:
    run.completed_at = max(case.taken_at, run.started_at or case.started_at)
    run.size_bytes, run.fence = case.manifest.size_bytes, max(case.manifest.fence, run.fence or 0)
    run.lease_until, run.not_before, run.progress_message = None, None, ""
    run.verification_status = case.status
    run.status, run.error_code, run.error_message, run.hint = TaskStatus.COMPLETED, None, "", ""
    if case.found.quarantined:
        run.status, run.error_code = TaskStatus.FAILED, ErrorCode.CORRUPT
        run.error_message = "Recovered from quarantine: it failed its verification."


def _move_sequences(session: Session) -> None:
    """PostgreSQL counts on from where we inserted numbers ourselves; SQLite does so by itself."""
    if db.engine.dialect.name != "postgresql":
        return
    session.flush()
    for table in ("instance", "task"):
        highest = f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), GREATEST(max(id), 1)) FROM {table}"  # noqa: S608
        session.execute(sa.text(highest))
