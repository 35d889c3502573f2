"""Recovery: the catalogue rebuilt after everything but the archives was lost; nothing that is there is ever replaced.

1. Put a self-backup back (when one is given): only into an empty catalogue, after the copy was proved.
2. Bring the database to this version's form.
3. Adopt what the side-cars tell and the catalogue does not know. Safe to repeat.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from webapp.core.actors import SHELL
from webapp.core.errors import Conflict, InvalidInput, StoreError
from webapp.core.plans import NO_SECRET, Secret
from webapp.engine.listing import DirectoryListing, Found, Listing
from webapp.engine.report import SilentReporter
from webapp.engine.self_backup import SelfCopy, list_self_backups, prove_self_backup, read_self_backup
from webapp.engine.self_restore import put_back_postgres, put_back_sqlite, put_keys_back
from webapp.engine.shelf import open_shelf
from webapp.services import audit
from webapp.services.health import SCHEDULER_IS_SILENT_AFTER
from webapp.services.recovered_rows import adopt, known_paths
from webapp.services.self_backups import database_place
from webapp.services.wiring import wired
from webapp.store.db import db, release, writing
from webapp.store.migrate import found_revision, upgrade
from webapp.store.models import Archive, Beat, Instance, User
from webapp.vault import open_keys

NEWEST = "newest"


@dataclass(frozen=True, slots=True)
class RecoveryWish:
    """What is asked for.

    Attributes:
        archives: The directory that holds them.
        self_backup: "" for none, "newest", a copy's name in the store, or its directory's path.
        keys_given: The vault's keys come from the environment, so that ``vault.key`` does not count.
    """

    archives: str
    self_backup: str = ""
    passphrase: Secret = NO_SECRET
    keys_given: bool = False


@dataclass(frozen=True, slots=True)
class Trouble:
    """A directory that was not adopted, and why."""

    directory: str
    why: str


@dataclass(slots=True)
class RecoveryReport:
    """What was found, and with ``applied`` what was done.

    Attributes:
        archives: To be added, or added; ``known`` were in the catalogue already.
        instances: Names of placeholders that were made.
        damaged: Archives whose side-car or file is not right; left alone.
        unknown: Directories that are no archives; left alone.
        self_backups: Copies in the store, the newest first; ``put_back`` is the one that was taken.
        keys: What became of the vault's keys, in a sentence; "" without a self-backup.
    """

    archives: int = 0
    known: int = 0
    applied: bool = False
    instances: list[str] = field(default_factory=list)
    damaged: list[Trouble] = field(default_factory=list)
    unknown: list[Trouble] = field(default_factory=list)
    self_backups: list[str] = field(default_factory=list)
    put_back: str = ""
    keys: str = ""


def look(wish: RecoveryWish) -> RecoveryReport:
    """What ``recover`` would do; changes nothing. Raises StoreError, Conflict, InvalidInput, VaultError."""
    root = _archives_root(wish.archives)
    report = _surveyed(wish, DirectoryListing(root))
    report.self_backups = [copy.name for copy in list_self_backups(root)]
    if wish.self_backup:
        copy = _chosen(wish.self_backup, root)
        _require_empty()
        prove_self_backup(copy, SilentReporter())
        report.put_back, report.keys = copy.name, _keys_of(copy, wish, apply=False)
    return report


def recover(wish: RecoveryWish, *, now: datetime) -> RecoveryReport:
    """Do it. Raises as ``look`` does; until the self-backup's database is in its place nothing has changed."""
    _require_nobody(now)
    report = look(wish)
    root = _archives_root(wish.archives)
    if wish.self_backup:
        copy = _chosen(wish.self_backup, root)
        release()
        report.keys = _keys_of(copy, wish, apply=True)
        _put_back(copy)
    upgrade()
    open_shelf(root, create=True)
    _use_archives(root)
    found, report.damaged, report.unknown = sort_out(DirectoryListing(root))
    adopted = adopt(found, now)
    report.archives, report.known, report.instances = adopted.archives, adopted.known, adopted.instances
    report.applied = True
    with writing():
        details = {"archives": adopted.archives, "instances": len(adopted.instances), "self_backup": report.put_back}
        audit.record(SHELL, "catalogue.recovered", subject_kind="settings", details=details, now=now)
    release()
    return report


def sort_out(listing: Listing) -> tuple[list[Found], list[Trouble], list[Trouble]]:
    """What a place holds: archives to adopt, damaged ones, and what is none."""
    good: list[Found] = []
    damaged: list[Trouble] = []
    unknown: list[Trouble] = []
    for found in listing.entries():
        if not found.problem:
            good.append(found)
        else:
            (damaged if found.known_kind else unknown).append(Trouble(found.directory, found.problem))
    return good, damaged, unknown


def _surveyed(wish: RecoveryWish, listing: Listing) -> RecoveryReport:
    found, damaged, unknown = sort_out(listing)
    known = known_paths() if found_revision() and not wish.self_backup else set()
    release()
    new = [one for one in found if one.relative_path not in known]
    return RecoveryReport(archives=len(new), known=len(found) - len(new), damaged=damaged, unknown=unknown)


# Where the archives are


def _archives_root(directory: str) -> str:
    """The directory, when it can become the archive directory of this installation."""
    root = os.path.realpath(directory)
    if not os.path.isdir(root):
        raise InvalidInput(f"{directory} is not a directory.", field="archives")
    configured = str(wired().archive_directory)
    if os.path.realpath(configured) == root or _is_free(configured):
        return root
    raise Conflict(
        f"This installation keeps its archives at {configured}.",
        hint=f"Set HOLDFAST_ARCHIVE_DIR={root} and run it again.",
    )


def _is_free(configured: str) -> bool:
    """Whether the default archive directory is not in use, so that a link may take its place."""
    place = Path(configured)
    if place.parent != Path(wired().data_directory) or place.is_symlink():
        return False
    return not place.exists() or not any(name.name not in (".holdfast-store", ".tmp") for name in place.iterdir())


def _use_archives(root: str) -> None:
    """From now on the archive directory is this one."""
    place = Path(wired().archive_directory)
    if os.path.realpath(place) == root:
        return
    if place.exists():
        for name in (".holdfast-store", ".tmp"):
            path = place / name
            path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        place.rmdir()
    place.symlink_to(root)


# Whether it may be done


def _require_nobody(now: datetime) -> None:
    """No worker, scheduler or web may work on the catalogue meanwhile."""
    if not found_revision():
        return
    try:
        last = db.session.scalar(sa.select(sa.func.max(Beat.at)))
    except SQLAlchemyError:  # tables of an older version
        last = None
    finally:
        release()
    if last is not None and now - last < SCHEDULER_IS_SILENT_AFTER:
        raise Conflict(
            "Holdfast is running.", hint="Stop it (workers and scheduler, too), wait a minute, and run it again."
        )


def _require_empty() -> None:
    if not found_revision():
        return
    counts = [db.session.scalar(sa.select(sa.func.count()).select_from(model)) for model in (User, Instance, Archive)]
    release()
    if any(counts):
        raise Conflict(
            "The catalogue is not empty; a self-backup is only put into an empty one.",
            hint="Leave --self-backup out to add what is missing, or use a new data directory.",
        )


# The self-backup


def _chosen(wanted: str, root: str) -> SelfCopy:
    copies = list_self_backups(root)
    if wanted == NEWEST and copies:
        return copies[0]
    named = next((copy for copy in copies if copy.name == wanted), None)
    if named is not None:
        return named
    path = os.path.realpath(wanted)
    found = read_self_backup(path if os.path.isdir(path) else os.path.dirname(path))
    if found is None:
        raise StoreError(f"There is no self-backup at {wanted!r}.", hint="Its directory holds a manifest.json.")
    return found


def _keys_of(copy: SelfCopy, wish: RecoveryWish, *, apply: bool) -> str:
    """Compare, and with ``apply`` put back, the vault's keys; a sentence about them."""
    if copy.manifest.key_id in wired().vault.key_ids:
        return "The vault key in use opens the stored passwords."
    sealed = copy.sealed_keys()
    if not sealed:
        return "The vault's keys are not in the self-backup: put vault.key into the data directory, or enter passwords again."
    if not wish.passphrase:
        return "The vault's keys are in the self-backup, sealed: give the passphrase with --passphrase-file."
    keys = open_keys(sealed, wish.passphrase)
    if wish.keys_given:
        return "The passphrase opens the vault's keys, but HOLDFAST_VAULT_KEYS names others: leave it unset while you recover."
    if not apply:
        return "The passphrase opens the vault's keys; they will be put into vault.key."
    put_keys_back(str(Path(wired().data_directory) / "vault.key"), keys)
    return "The vault's keys were put into vault.key."


def _put_back(copy: SelfCopy) -> None:
    place = database_place()
    mine = "sqlite" if "sqlite_path" in place else "postgresql"
    if copy.manifest.kind != mine:
        raise Conflict(
            f"The self-backup is of a {copy.manifest.kind} database, and DATABASE_URL names another kind.",
            hint="Set DATABASE_URL to a database of that kind; an SQLite copy needs none.",
        )
    release()
    db.engine.dispose()
    if mine == "sqlite":
        put_back_sqlite(copy, place["sqlite_path"])
    else:
        put_back_postgres(copy, place["server"], place["database"], SilentReporter())
    db.engine.dispose()
