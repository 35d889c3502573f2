"""What a restore may be: the wish that a form, the shell or the API gives, and the one place where it is checked."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from webapp.core.errors import Conflict, InvalidInput, NotFound
from webapp.core.naming import MAX_DATABASE_BYTES, check_database_name, safe_database_name
from webapp.core.restore_plans import RestoreOptions
from webapp.core.status import (
    ArchiveFormat,
    ArchiveState,
    Content,
    FilestoreKind,
    InstanceKind,
    RestoreTarget,
    VerificationStatus,
)
from webapp.services.wiring import wired
from webapp.store.db import db
from webapp.store.models import Archive, Instance

MOST_PARALLEL_JOBS = 16
MOST_KEEP_DAYS = 3650
SYSTEM_DATABASES = frozenset({"postgres", "template0", "template1"})
DATABASE_TARGETS = (RestoreTarget.NEW_DATABASE, RestoreTarget.REPLACE, RestoreTarget.ODOO)
DIRECTORY_TARGETS = (RestoreTarget.FILESTORE, RestoreTarget.ATTACHMENT, RestoreTarget.TABLE, RestoreTarget.DIRECTORY)
POSTGRES_KINDS = (InstanceKind.ODOO_POSTGRES, InstanceKind.POSTGRES)
_ATTACHMENT = re.compile(r"[0-9a-f]{2}/[0-9a-f]{40}")
_FILE_OWNER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,31})?")
_FILE_MODE = re.compile(r"0?[0-7]{3}")
_DIRECTORY_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,120}")


@dataclass(frozen=True, slots=True)
class RestoreWish:
    """What a person asks for, not yet checked.

    Attributes:
        instance_id: Where a database goes; None for what ends in a directory of the worker's machine.
        database: Name that the database gets (or has, when it is replaced); "" for targets without one.
        options: ``directory`` may be a plain name (it is made below the restore directory), or an absolute path below it.
    """

    archive_id: int
    target: RestoreTarget
    instance_id: int | None = None
    database: str = ""
    options: RestoreOptions = field(default_factory=RestoreOptions)


@dataclass(frozen=True, slots=True)
class CheckedWish:
    """A wish that is possible as far as the rows can tell; the target itself is looked at by a worker."""

    archive: Archive
    instance: Instance | None
    target: RestoreTarget
    database: str
    options: RestoreOptions


def check_wish(wish: RestoreWish, now: datetime) -> CheckedWish:
    """The wish with everything settled that was left open.

    Raises:
        NotFound: no such restore point, or instance.
        Conflict: the restore point cannot be restored.
        InvalidInput: with the field that cannot be used.
    """
    archive = db.session.get(Archive, wish.archive_id, populate_existing=True)
    if archive is None:
        raise NotFound(f"There is no restore point {wish.archive_id}.")
    why_not = refusal_of(archive)
    if why_not:
        raise Conflict(why_not, hint="Choose another restore point.")
    if wish.target not in targets_of(archive):
        raise InvalidInput("This restore point does not hold what that target needs.", field="target")
    instance = _instance(wish)
    options = _options(wish, archive, now)
    return CheckedWish(archive, instance, wish.target, _database(wish, instance, options), options)


def refusal_of(archive: Archive) -> str:
    """Why an archive cannot be restored, "" when it can. Snapshots have a way of their own (snapshot_restores.py)."""
    if archive.format is ArchiveFormat.SNAPSHOT:
        return f"Restore point {archive.id} is a snapshot of a host: choose the files of it on its own page."
    if archive.state is not ArchiveState.STORED:
        return f"Restore point {archive.id} cannot be restored: it is {archive.state.value}."
    if archive.verification_status is VerificationStatus.FAILED:
        return f"Restore point {archive.id} cannot be restored: it failed its verification."
    return ""


def is_odoo_archive(archive: Archive) -> bool:
    """Whether an Odoo wrote what it holds, as far as the catalogue knows."""
    if archive.odoo_version or archive.content is Content.DATABASE_AND_FILESTORE:
        return True
    return archive.instance is not None and archive.instance.kind is not InstanceKind.POSTGRES


def has_filestore(archive: Archive) -> bool:
    """Whether it holds attachments."""
    return archive.content is Content.DATABASE_AND_FILESTORE and archive.format is ArchiveFormat.ZIP


def targets_of(archive: Archive) -> tuple[RestoreTarget, ...]:
    """What can be made of it, the usual first."""
    if archive.format is ArchiveFormat.SNAPSHOT:
        return ()
    found = [RestoreTarget.NEW_DATABASE, RestoreTarget.REPLACE]
    if is_odoo_archive(archive):
        found.append(RestoreTarget.ODOO)
    if has_filestore(archive):
        found += [RestoreTarget.FILESTORE, RestoreTarget.ATTACHMENT]
    return (*found, RestoreTarget.TABLE, RestoreTarget.DIRECTORY)


def targets_at(instance: Instance) -> tuple[RestoreTarget, ...]:
    """What can be restored to an instance."""
    if instance.kind is InstanceKind.HOST:
        return ()
    if instance.kind is InstanceKind.ODOO_HTTP:
        return (RestoreTarget.ODOO,)
    found = (RestoreTarget.NEW_DATABASE, RestoreTarget.REPLACE)
    if instance.kind is InstanceKind.ODOO_POSTGRES and instance.filestore_kind is not FilestoreKind.NONE:
        return (*found, RestoreTarget.FILESTORE)
    return found


def new_database_name(archive: Archive) -> str:
    """A name for a copy that says whose and from when: acme_20261122."""
    suffix = f"_{archive.taken_at.astimezone(UTC):%Y%m%d}"
    kept = archive.database_name.encode()[: MAX_DATABASE_BYTES - len(suffix)].decode(errors="ignore")
    return kept + suffix


def new_directory_name(archive: Archive, now: datetime) -> str:
    """A name for a directory below the restore directory that nothing has yet."""
    return f"{safe_database_name(archive.database_name)}_{archive.id}_{now.astimezone(UTC):%Y%m%d-%H%M%S}"


def restore_root() -> str:
    """The directory below which restores to this machine end, resolved."""
    return os.path.realpath(wired().restore_directory or wired().data_directory / "restored")


def directory_below_root(wanted: str) -> str:
    """The absolute path of a directory right below the restore directory. Raises InvalidInput for any other."""
    root = restore_root()
    name = wanted.strip()
    if os.path.isabs(name):
        parent, name = os.path.split(name.rstrip("/"))
        if os.path.realpath(parent) != root:
            raise InvalidInput(
                "Restores end below the restore directory only.", field="directory", hint=f"That is {root}."
            )
    if not _DIRECTORY_NAME.fullmatch(name):
        raise InvalidInput(
            "A directory's name has letters, digits, dots, dashes and underscores, and no slash.", field="directory"
        )
    path = os.path.join(root, name)
    if os.path.islink(path):
        raise InvalidInput(f"{name} is a link.", field="directory", hint="Choose another name.")
    return path


def _instance(wish: RestoreWish) -> Instance | None:
    if wish.instance_id is None:
        if wish.target in DATABASE_TARGETS:
            raise InvalidInput("Choose the instance that the database goes to.", field="instance_id")
        return None
    found = db.session.get(Instance, wish.instance_id, populate_existing=True)
    if found is None or found.deleted_at is not None:
        raise NotFound(f"There is no instance {wish.instance_id}.")
    if wish.target not in targets_at(found):
        raise InvalidInput(f"«{found.name}» cannot be the target of that.", field="instance_id")
    return found


def _database(wish: RestoreWish, instance: Instance | None, options: RestoreOptions) -> str:
    if instance is None:
        return ""
    try:
        name = check_database_name(wish.database)
    except InvalidInput as error:
        raise InvalidInput(error.message, field="database", hint=error.hint) from None
    if name in SYSTEM_DATABASES or name == instance.pg_maintenance_database:
        raise InvalidInput(f"«{name}» belongs to the server itself.", field="database", hint="Choose another name.")
    has_files = wish.target is RestoreTarget.FILESTORE or options.with_filestore
    if has_files and ("/" in name or name.startswith(".")):
        raise InvalidInput(
            "The filestore lies in a directory of the database's name, so it has no slash and begins with no dot.",
            field="database",
        )
    return name


def _options(wish: RestoreWish, archive: Archive, now: datetime) -> RestoreOptions:
    given = wish.options
    is_database, is_odoo = wish.target in DATABASE_TARGETS, is_odoo_archive(archive)
    if (given.neutralise or given.new_identity) and not (is_database and is_odoo):
        field_name = "neutralise" if given.neutralise else "new_identity"
        raise InvalidInput("Only a database of Odoo can be made a copy.", field=field_name)
    _check_numbers(given)
    _check_words(given, wish.target)
    directory = ""
    if wish.target in DIRECTORY_TARGETS and wish.instance_id is None:
        directory = directory_below_root(given.directory or new_directory_name(archive, now))
    return replace(
        given,
        with_filestore=given.with_filestore and (has_filestore(archive) or not is_database),
        piece=given.piece.strip(),
        directory=directory,
    )


def _check_numbers(given: RestoreOptions) -> None:
    for name, low, high in (("jobs", 1, MOST_PARALLEL_JOBS), ("keep_days", 0, MOST_KEEP_DAYS)):
        if not low <= getattr(given, name) <= high:
            raise InvalidInput(f"Choose a number from {low} to {high}.", field=name)


def _check_words(given: RestoreOptions, target: RestoreTarget) -> None:
    piece = given.piece.strip()
    if target is RestoreTarget.ATTACHMENT and not _ATTACHMENT.fullmatch(piece):
        raise InvalidInput("An attachment's name looks like ab/ab0123… (2 and 40 hex digits).", field="piece")
    if target is RestoreTarget.TABLE and (not piece or "\0" in piece or len(piece) > 200):
        raise InvalidInput("Name the table with its schema: public.res_partner.", field="piece")
    if given.owner:
        try:
            check_database_name(given.owner)
        except InvalidInput:
            raise InvalidInput("No role can have that name.", field="owner") from None
    if given.file_owner and not _FILE_OWNER.fullmatch(given.file_owner):
        raise InvalidInput("Write the owner of files as user:group.", field="file_owner")
    if given.file_mode and not _FILE_MODE.fullmatch(given.file_mode):
        raise InvalidInput("Write the mode of files as three octal digits: 640.", field="file_mode")
