"""From the rows of a check or a restore to the engine's plan; secrets are opened here, and nowhere before."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from webapp.core.errors import Conflict, InvalidInput
from webapp.core.naming import kept_name, restoring_name
from webapp.core.plans import OdooHttpPlan, PostgresPlan
from webapp.core.restore_plans import RestoreOptions, RestorePlan, TargetIdentity
from webapp.engine.durable import make_directory
from webapp.services.archives import file_path, read_manifest
from webapp.services.instance_plans import secrets_of, source_plan
from webapp.services.restore_rules import directory_below_root, refusal_of, restore_root
from webapp.store.models import Archive, Instance, Restore, RestoreCheck


@dataclass(frozen=True, slots=True)
class Names:
    """Under which fence and names a restore works; a later attempt takes them over to find what an earlier one left."""

    fence: int
    temporary: str
    kept: str

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"fence": self.fence, "temporary": self.temporary, "kept": self.kept}


def new_names(database: str, task_id: int, fence: int, now: datetime) -> Names:
    """The names of a restore that begins now."""
    return Names(fence, restoring_name(database, task_id, fence), kept_name(database, now))


def names_of(restore: Restore) -> Names | None:
    """The names of an attempt before this one, None at the first."""
    found = restore.details.get("names")
    return Names(found["fence"], found["temporary"], found["kept"]) if found else None


def plan_of_check(check: RestoreCheck, now: datetime) -> RestorePlan:
    """What looking at the target needs. Raises Conflict, InvalidInput, NotFound, ArchiveError, VaultError."""
    require_restorable(check.archive)
    return _plan(check, new_names(check.target_database, check.id, check.fence, now))


def plan_of_restore(restore: Restore, names: Names) -> RestorePlan:
    """What restoring and settling need. Raises as ``plan_of_check``."""
    if not restore.journal:
        require_restorable(restore.archive)
    return replace(
        _plan(restore, names),
        identity=TargetIdentity.from_json(restore.identity),
        journal=dict(restore.journal),
    )


def require_restorable(archive: Archive) -> None:
    """Raises Conflict for an archive that may not be restored, or may not any more."""
    why_not = refusal_of(archive)
    if why_not:
        raise Conflict(why_not, hint="Choose another restore point.")


def _plan(row: RestoreCheck | Restore, names: Names) -> RestorePlan:
    archive = row.archive
    # The row knows best what was written: archives that changed places took their manifests with them.
    manifest = replace(read_manifest(archive), size_bytes=archive.size_bytes, sha256=archive.sha256)
    return RestorePlan(
        task_id=row.id,
        fence=names.fence,
        archive_path=file_path(archive),
        archive_format=archive.format,
        manifest=manifest,
        target=row.target,
        options=_options(row.options),
        database=row.target_database,
        temporary_name=names.temporary,
        kept_name=names.kept,
        **_reached(row.instance, row.instance_name),
    )


def _options(stored: Mapping[str, Any]) -> RestoreOptions:
    """The stored options; a directory is asked again whether it lies where restores may end, and its parent is made."""
    options = RestoreOptions.from_json(stored)
    if options.directory:
        directory_below_root(options.directory)
        os.makedirs(os.path.dirname(restore_root()), mode=0o700, exist_ok=True)
        make_directory(restore_root())
    return options


def _reached(instance: Instance | None, name: str) -> dict[str, Any]:
    if instance is None:
        if name:
            raise InvalidInput("The instance that this goes to no longer exists.")
        return {}
    if instance.deleted_at is not None:
        raise InvalidInput("The instance that this goes to was deleted.")
    plan = source_plan(instance)
    return {"odoo": plan} if isinstance(plan, OdooHttpPlan) else {"server": plan}


def server_plan(instance: Instance | None) -> PostgresPlan:
    """How to reach the PostgreSQL server of an instance. Raises InvalidInput when there is none."""
    if instance is None or instance.deleted_at is not None:
        raise InvalidInput("The instance of this database no longer exists.")
    plan = source_plan(instance)
    if isinstance(plan, OdooHttpPlan):
        raise InvalidInput(f"«{instance.name}» is not reached through PostgreSQL.")
    return plan


def secrets_in(plan: RestorePlan) -> list[str]:
    """The secrets in the plan, for the reporter to keep out of what it writes."""
    reached = plan.server or plan.odoo
    return secrets_of(reached) if reached is not None else []
