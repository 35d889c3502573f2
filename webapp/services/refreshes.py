"""Refreshes: a slot of a refresh job becomes a Restore of production's newest restore point over its copy, once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Self
from urllib.parse import urlsplit

import sqlalchemy as sa

from webapp.core.errors import Conflict
from webapp.core.restore_plans import RestoreOptions
from webapp.core.status import ArchiveState, RestoreTarget, VerificationStatus
from webapp.services.restore_rules import has_filestore, targets_at
from webapp.services.restore_tasks import SAFETY, NewRestore, add_restore
from webapp.services.tasks import find_active
from webapp.store.db import db
from webapp.store.models import Archive, Instance, Job, Restore, Run, Slot


@dataclass(frozen=True, slots=True)
class RefreshOrder:
    """What a refresh job restores where: ``Job.refresh`` as a value.

    Attributes:
        keep_days: How long the copy before stays under another name; 0: it is removed at once.
        safety_backup: The copy is backed up before it is replaced; the job's own retention then applies to that.
    """

    source_instance_id: int
    database: str
    target_instance_id: int
    target_database: str
    neutralise: bool = True
    new_identity: bool = True
    with_filestore: bool = True
    safety_backup: bool = True
    owner: str = ""
    keep_days: int = 0

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse; unknown fields are ignored."""
        known = {item.name for item in fields(cls)}
        return cls(**{key: value for key, value in data.items() if key in known})


def add_refresh(job: Job, *, triggered_by: str, now: datetime, slot: Slot | None = None) -> Restore:
    """A pending Restore in the session of the caller's ``writing()``.

    The worker looks at the target first: what is there is replaced, what is not is made. Raises Conflict when there is
    nothing to restore from, or the copy would be production itself.
    """
    order = RefreshOrder.from_json(job.refresh)
    source, target = (
        _get_live(number, what)
        for number, what in ((order.source_instance_id, "source"), (order.target_instance_id, "target"))
    )
    if is_same_database(source, order.database, target, order.target_database):
        raise Conflict("A refresh never replaces the database that it restores from.", hint="Name another target.")
    archive = find_newest_point(source.id, order.database)
    if archive is None:
        raise Conflict(
            f"There is no verified restore point of {source.name} / {order.database} to refresh from.",
            hint="Run its backup job, and look whether it is verified.",
        )
    wanted = NewRestore(
        archive_id=archive.id,
        target=RestoreTarget.REPLACE,
        instance_id=target.id,
        instance_name=target.name,
        database=order.target_database,
        options=RestoreOptions(
            with_filestore=order.with_filestore and has_filestore(archive) and _keeps_files(target),
            new_identity=order.new_identity,
            neutralise=order.neutralise,
            owner=order.owner,
            keep_days=order.keep_days,
        ),
        triggered_by=triggered_by,
        job_id=job.id,
        slot_id=slot.id if slot is not None else None,
        safety_backup=order.safety_backup,
        remove_kept_at_once=order.keep_days == 0,
    )
    return add_restore(wanted, now=now)


def find_newest_point(instance_id: int, database: str) -> Archive | None:
    """The newest stored and verified archive of the database, safety backups left out.

    What a safety backup holds is what somebody wanted to be rid of.
    """
    made_for_safety = sa.select(Run.id).where(Run.triggered_by.startswith(SAFETY))
    query = (
        sa.select(Archive)
        .where(
            Archive.instance_id == instance_id,
            Archive.database_name == database,
            Archive.state == ArchiveState.STORED,
            Archive.verification_status == VerificationStatus.PASSED,
            sa.or_(Archive.run_id.is_(None), Archive.run_id.not_in(made_for_safety)),
        )
        .order_by(Archive.taken_at.desc())
        .limit(1)
    )
    return db.session.scalar(query)


def find_active_refresh(job_id: int) -> Restore | None:
    """The job's restore that waits or runs, or None."""
    return find_active(Restore, Restore.job_id == job_id)


def is_same_database(source: Instance, database: str, target: Instance, target_database: str) -> bool:
    """Whether both are one database: on one instance, or on two that are reached at one address."""
    if database != target_database:
        return False
    return source.id == target.id or bool(_addresses(source) & _addresses(target))


def _keeps_files(target: Instance) -> bool:
    """Whether it has a place for attachments; without one the database comes alone, and the restore warns of it."""
    return RestoreTarget.FILESTORE in targets_at(target)


def _addresses(instance: Instance) -> set[str]:
    found = {instance.ssh_host, urlsplit(instance.url).hostname or ""}
    if not instance.pg_through_ssh:
        found.add(instance.pg_host)
    return {address.lower() for address in found if address}


def _get_live(instance_id: int, what: str) -> Instance:
    found = db.session.get(Instance, instance_id)
    if found is None or found.deleted_at is not None:
        raise Conflict(f"The refresh's {what} instance was deleted.", hint="Change or delete the refresh job.")
    return found
