"""The shelf: the archive store on disk, where an archive appears whole or not at all.

    <store>/.holdfast-store                          a sentinel with the store's id: an empty mount point has none
    <store>/.tmp/<run>-<fence>/                      where a run works
    <store>/<instance>/<archive directory>/          an archive and its manifest.json
    <store>/quarantine/<instance>/<archive directory>/   the same for one that failed its verification
    <store>/self/<copy>/                             copies of Holdfast's own database (self_backup.py)
    <store>/.trash/                                  what is being deleted

Everything lies on one file system, so that a rename is the moment an archive comes into being.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from webapp.core.errors import ArchiveError, NotFound, StoreError
from webapp.core.manifest import FILE_NAME, Manifest, parse_manifest
from webapp.core.naming import ParsedName, parse_archive_directory_name
from webapp.core.plans import BackupPlan
from webapp.core.status import ErrorCode
from webapp.engine.disk import disk_error, free_bytes
from webapp.engine.durable import make_directory, sync_directory, sync_file, write_durably
from webapp.engine.marker import Marker

SENTINEL = ".holdfast-store"
TEMPORARY = ".tmp"
TRASH = ".trash"
QUARANTINE = "quarantine"
SELF_BACKUPS = "self"
RESERVED = (QUARANTINE, SELF_BACKUPS)
_MARKER = Marker(SENTINEL, "holdfast-store", "archive store")
_MANIFEST_BYTES = 64 * 1024 * 1024
INSTANCE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,120}")
_WORKPLACE = re.compile(r"(\d{1,18})-(\d{1,18})")


@dataclass(frozen=True, slots=True)
class Workplace:
    """A run's directory below ``.tmp``; ``directory`` is absolute."""

    run_id: int
    fence: int
    instance_directory: str
    directory: str

    def path(self, name: str) -> str:
        """Where a file of that name lies."""
        return os.path.join(self.directory, name)


@dataclass(frozen=True, slots=True)
class Placed:
    """An archive that stands on the shelf. ``relative_path`` is the archive file's, below the store, with "/".

    ``manifest`` is None when the side-car is missing or unreadable, and then ``relative_path`` is the directory's.
    ``manifest_sha256`` is the digest of the side-car's file.
    """

    relative_path: str
    run_id: int
    fence: int
    quarantined: bool
    manifest: Manifest | None
    size_bytes: int
    manifest_sha256: str = ""


def open_shelf(store_directory: str, *, create: bool = False) -> Shelf:
    """The shelf at a directory that carries our sentinel.

    Raises StoreError(store_unavailable) when it does not, as an unmounted disk does: nothing may then be concluded about
    the archives. ``create`` makes directory and sentinel where they are missing; only whoever sets up a store says so.
    """
    root = os.path.realpath(store_directory)
    try:
        if create:
            os.makedirs(root, mode=0o700, exist_ok=True)
        store_id = _MARKER.read(root)
        if store_id is None and create:
            store_id = _MARKER.write(root)
        if store_id is None:
            raise _MARKER.missing(store_directory)
        make_directory(os.path.join(root, TEMPORARY))
    except OSError as error:
        raise disk_error(error, f"open the archive store at {store_directory}") from error
    return Shelf(root, store_id)


class Shelf:
    """Functions on one store. Get it from ``open_shelf``; cheap to make, keeps nothing open."""

    def __init__(self, root: str, store_id: str) -> None:
        self.root = root
        self.store_id = store_id

    def free_bytes(self) -> int:
        """Bytes that may still be written."""
        return free_bytes(self.root)

    def begin(self, plan: BackupPlan) -> Workplace:
        """Make the run's own temporary directory. Raises StoreError when it exists: its fence is not ours then."""
        if not INSTANCE_NAME.fullmatch(plan.instance_directory) or plan.instance_directory in RESERVED:
            raise StoreError(f"{plan.instance_directory!r} cannot be a directory of the store.")
        directory = self._workplace(plan.run_id, plan.fence)
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            raise StoreError(f"Run {plan.run_id} works already in {directory}.", permanent=True) from None
        except OSError as error:
            raise disk_error(error, "make the run's temporary directory") from error
        return Workplace(plan.run_id, plan.fence, plan.instance_directory, directory)

    def place(self, workplace: Workplace, manifest: Manifest, directory_name: str, *, quarantined: bool) -> str:
        """Put a finished archive on the shelf; returns the archive file's relative path.

        1. sync the archive file, 2. write the side-car durably, 3. sync their directory, 4. rename it to its place,
        5. sync both parents. Before step 4 there is no archive, after it there is a whole one. The name carries run
        and fence, so that nothing that exists is ever replaced. When step 5 fails the archive is taken away again.
        """
        parents = (QUARANTINE, workplace.instance_directory) if quarantined else (workplace.instance_directory,)
        relative = "/".join((*parents, directory_name))
        target = os.path.join(self.root, *parents, directory_name)
        try:
            sync_file(workplace.path(manifest.file_name))
            write_durably(workplace.path(FILE_NAME), manifest.as_bytes())
            sync_directory(workplace.directory)
            parent = self.root
            for part in parents:
                parent = os.path.join(parent, part)
                make_directory(parent)
            if os.path.lexists(target):
                raise StoreError(f"An archive named {directory_name} is on the shelf already.", permanent=True)
            os.rename(workplace.directory, target)
        except OSError as error:
            raise disk_error(error, "put the archive on the shelf") from error
        try:
            sync_directory(parent)
            sync_directory(os.path.join(self.root, TEMPORARY))
        except OSError as error:
            self.remove(relative)
            raise disk_error(error, "make the archive's place durable") from error
        return f"{relative}/{manifest.file_name}"

    def discard(self, workplace: Workplace) -> None:
        """Leave nothing of a run that did not end well; nothing to do when its archive was placed."""
        self.clear_workplace(workplace.run_id, workplace.fence)

    def clear_workplace(self, run_id: int, fence: int) -> bool:
        """Delete a dead run's temporary directory; False when there is none."""
        directory = self._workplace(run_id, fence)
        try:
            shutil.rmtree(directory)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise disk_error(error, "delete the run's temporary directory") from error
        return True

    def list_workplaces(self) -> list[tuple[int, int]]:
        """(run_id, fence) of every temporary directory, sorted."""
        names = (_WORKPLACE.fullmatch(name) for name in self._names(TEMPORARY))
        return sorted((int(match[1]), int(match[2])) for match in names if match)

    def list_placed(self) -> Iterator[Placed]:
        """Every archive on the shelf, quarantined ones last; order by instance and name."""
        for quarantined, base in ((False, ""), (True, QUARANTINE)):
            for instance in self._names(base):
                if not INSTANCE_NAME.fullmatch(instance) or (not base and instance in RESERVED):
                    continue
                folder = f"{base}/{instance}" if base else instance
                for name in self._names(folder):
                    placed = self._placed(f"{folder}/{name}", name, quarantined)
                    if placed is not None:
                        yield placed

    def list_directories(self) -> Iterator[tuple[str, ParsedName]]:
        """Every archive directory's relative path and what its name says; no side-car is read, so this is cheap."""
        for base in ("", QUARANTINE):
            for instance in self._names(base):
                if not INSTANCE_NAME.fullmatch(instance) or (not base and instance in RESERVED):
                    continue
                folder = f"{base}/{instance}" if base else instance
                for name in self._names(folder):
                    if (parsed := parse_archive_directory_name(name)) is not None:
                        yield f"{folder}/{name}", parsed

    def find_placed(self, run_id: int, fence: int) -> Placed | None:
        """The archive of exactly that run and fence, or None; its content is not read."""
        for quarantined, base in ((False, ""), (True, QUARANTINE)):
            for instance in self._names(base):
                folder = f"{base}/{instance}" if base else instance
                for name in self._names(folder) if INSTANCE_NAME.fullmatch(instance) else ():
                    parsed = parse_archive_directory_name(name)
                    if parsed is not None and (parsed.run_id, parsed.fence) == (run_id, fence):
                        return self._placed(f"{folder}/{name}", name, quarantined)
        return None

    def resolve(self, relative_path: str) -> str:
        """Absolute path of something on the shelf. Raises StoreError for a path that leads elsewhere, NotFound."""
        path = self.root
        for part in _parts(relative_path):
            path = os.path.join(path, part)
            try:
                if os.path.islink(path):
                    raise StoreError(f"{relative_path!r} leads through a link; the store holds none.")
                os.lstat(path)
            except FileNotFoundError:
                raise NotFound(
                    f"{relative_path} is not in the archive store.", code=ErrorCode.ARCHIVE_MISSING
                ) from None
            except OSError as error:
                raise disk_error(error, f"look at {relative_path}") from error
        return path

    def exists(self, relative_path: str) -> bool:
        """Whether it is there. Raises StoreError when the store itself is not, so that False means missing."""
        try:
            present = _MARKER.read(self.root) == self.store_id
        except OSError as error:
            raise disk_error(error, "look for the archive store") from error
        if not present:
            raise StoreError("The archive store went away.", code=ErrorCode.STORE_UNAVAILABLE)
        try:
            self.resolve(relative_path)
        except NotFound:
            return False
        return True

    def remove(self, relative_path: str) -> bool:
        """Delete one archive (given by its directory, or its file) for good; False when it was not there.

        It disappears in one rename into the trash, then its files are unlinked; what a crash leaves there is emptied
        by the next removal or by ``empty_trash``.
        """
        try:
            path = self.resolve(relative_path)
        except NotFound:
            return False
        directory = path if os.path.isdir(path) else os.path.dirname(path)
        name = os.path.basename(directory)
        if parse_archive_directory_name(name) is None or directory == self.root:
            raise StoreError(f"{relative_path!r} is not an archive of this store; it is not deleted.", permanent=True)
        trash = os.path.join(self.root, TRASH)
        try:
            make_directory(trash)
            os.rename(directory, os.path.join(trash, f"{name}.{uuid.uuid4().hex[:8]}"))
            sync_directory(os.path.dirname(directory))
        except OSError as error:
            raise disk_error(error, f"delete {relative_path}") from error
        self.empty_trash()
        return True

    def empty_trash(self) -> int:
        """Delete what lies in the trash for good; returns how many archives that were."""
        count = 0
        for name in self._names(TRASH):
            try:
                shutil.rmtree(os.path.join(self.root, TRASH, name))
            except FileNotFoundError:
                continue  # Another process empties it too.
            except OSError as error:
                raise disk_error(error, "empty the store's trash") from error
            count += 1
        return count

    def _workplace(self, run_id: int, fence: int) -> str:
        return os.path.join(self.root, TEMPORARY, f"{int(run_id)}-{int(fence)}")

    def _names(self, folder: str) -> list[str]:
        path = os.path.join(self.root, folder)
        try:
            with os.scandir(path) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        except (FileNotFoundError, NotADirectoryError):
            if not folder:
                raise StoreError("The archive store went away.", code=ErrorCode.STORE_UNAVAILABLE) from None
            return []
        except OSError as error:
            raise disk_error(error, f"list {path}") from error

    def _placed(self, relative: str, name: str, quarantined: bool) -> Placed | None:
        parsed = parse_archive_directory_name(name)
        if parsed is None:
            return None
        manifest, digest = read_side_car_with_digest(os.path.join(self.root, relative))
        size = 0
        if manifest is not None:
            relative = f"{relative}/{manifest.file_name}"
            size = _size(os.path.join(self.root, relative))
        return Placed(relative, parsed.run_id, parsed.fence, quarantined, manifest, size, digest)


def read_side_car(directory: str, sha256: str = "") -> Manifest | None:
    """The manifest in an archive's directory, None when it is missing or not a manifest. Raises StoreError.

    ``sha256``: what its file must be; None for one that was changed since. "" when nobody knows.
    """
    manifest, digest = read_side_car_with_digest(directory)
    return manifest if sha256 in ("", digest) else None


def read_side_car_with_digest(directory: str) -> tuple[Manifest | None, str]:
    """The same, with the SHA-256 of the file; (None, "") when there is no manifest that can be read."""
    try:
        descriptor = os.open(os.path.join(directory, FILE_NAME), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            text = file.read(_MANIFEST_BYTES)
        data: Any = json.loads(text)
        return parse_manifest(data), hashlib.sha256(text).hexdigest()
    except FileNotFoundError:
        return None, ""
    except (ValueError, RecursionError, ArchiveError):
        return None, ""
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None, ""
        raise disk_error(error, "read an archive's manifest") from error


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def _parts(relative_path: str) -> list[str]:
    parts = relative_path.split("/")
    if any(part in ("", ".", "..") or "\0" in part or "\\" in part for part in parts):
        raise StoreError(f"{relative_path!r} is not a path in the archive store.", permanent=True)
    return parts
