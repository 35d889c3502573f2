"""What the restore wizard offers for one restore point: targets, instances, and sensible first values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from webapp.core.errors import HoldfastError
from webapp.core.restore_plans import RestoreOptions
from webapp.core.status import InstanceKind, RestoreTarget
from webapp.services.archives import find_manifest
from webapp.services.connection_tests import list_found_databases
from webapp.services.instances import list_instances
from webapp.services.restore_rules import (
    has_filestore,
    is_odoo_archive,
    new_database_name,
    new_directory_name,
    refusal_of,
    restore_root,
    targets_at,
    targets_of,
)
from webapp.store.db import db
from webapp.store.models import Archive, Instance


@dataclass(frozen=True, slots=True)
class TargetInstance:
    """An instance that can be a target. ``databases`` are those that Holdfast has seen there, sorted; perhaps not all."""

    id: int
    name: str
    kind: InstanceKind
    targets: tuple[RestoreTarget, ...]
    databases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RestoreChoices:
    """What can be chosen for an archive.

    Attributes:
        refusal: Why it cannot be restored at all, "" when it can.
        targets: What can be made of it, the usual first.
        instances: Possible targets, its own instance first, then by name.
        new_database: A name for a copy.
        replace_database: The database it was taken from.
        directory: A new name below ``directory_root``.
        tables: Tables in it as far as they are known ("public.res_partner"), sorted.
    """

    archive_id: int
    source_instance_id: int | None
    refusal: str
    is_odoo: bool
    has_filestore: bool
    targets: tuple[RestoreTarget, ...]
    instances: tuple[TargetInstance, ...]
    new_database: str
    replace_database: str
    directory: str
    directory_root: str
    tables: tuple[str, ...]

    def instances_for(self, target: RestoreTarget) -> tuple[TargetInstance, ...]:
        """Instances that can be this target."""
        return tuple(one for one in self.instances if target in one.targets)

    def default_options(
        self, target: RestoreTarget, *, instance_id: int | None = None, database: str = ""
    ) -> RestoreOptions:
        """First values of the options: a copy is made harmless and gets an identity of its own.

        A replacement of the very database that the archive was taken from is none; one of another database is.
        """
        elsewhere = instance_id is not None and (instance_id, database) != (
            self.source_instance_id,
            self.replace_database,
        )
        is_copy = self.is_odoo and (
            target in (RestoreTarget.NEW_DATABASE, RestoreTarget.ODOO)
            or (target is RestoreTarget.REPLACE and elsewhere)
        )
        return RestoreOptions(
            with_filestore=self.has_filestore,
            new_identity=is_copy,
            neutralise=is_copy,
            directory=self.directory if not target.is_database else "",
        )


def choices_for(archive: Archive, now: datetime) -> RestoreChoices:
    """What can be chosen for the archive. Asks no server anything."""
    instances = [_target_instance(one) for one in list_instances()]
    instances.sort(key=lambda one: one.id != archive.instance_id)  # stable: the others stay by name
    return RestoreChoices(
        archive_id=archive.id,
        source_instance_id=archive.instance_id,
        refusal=refusal_of(archive),
        is_odoo=is_odoo_archive(archive),
        has_filestore=has_filestore(archive),
        targets=targets_of(archive),
        instances=tuple(one for one in instances if one.targets),
        new_database=new_database_name(archive),
        replace_database=archive.database_name,
        directory=new_directory_name(archive, now),
        directory_root=restore_root(),
        tables=_tables(archive),
    )


def _target_instance(instance: Instance) -> TargetInstance:
    seen = db.session.scalars(
        sa.select(Archive.database_name).where(Archive.instance_id == instance.id).distinct()
    ).all()
    names = sorted({*seen, *instance.databases, *list_found_databases(instance.id)})
    return TargetInstance(instance.id, instance.name, instance.kind, targets_at(instance), tuple(names))


def _tables(archive: Archive) -> tuple[str, ...]:
    try:
        manifest = find_manifest(archive)
    except HoldfastError:
        return ()
    return tuple(sorted(manifest.table_rows)) if manifest is not None and manifest.table_rows else ()
