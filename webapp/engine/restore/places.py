"""The place of a restored filestore: unpacked beside it, looked at, then moved there in one short step.

``Place`` is the promise, for this machine and for one behind SSH. A directory is known by its inode number: that stays the
same whatever it is called, so that after a kill one can tell which of two directories lies at a path.
"""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from webapp.core.errors import SourceError, StoreError
from webapp.core.plans import FilestorePlan
from webapp.core.restore_plans import RestoreOptions
from webapp.core.status import ErrorCode
from webapp.engine.archive.rights import rights_of
from webapp.engine.archive.unpack import unpack_filestore
from webapp.engine.durable import sync_directory
from webapp.engine.report import Reporter
from webapp.engine.sources.filestore import candidates, unreadable_directory

_FOLDER = re.compile(r"[0-9a-f]{2,3}")
_BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Paths:
    """Absolute paths, all in one directory: the place itself, where it is made ready, where what was there goes."""

    final: str
    temporary: str
    kept: str

    @property
    def parent(self) -> str:
        """The directory that holds them."""
        return posixpath.dirname(self.final)


class Place(Protocol):
    """Where one machine keeps filestores. Every method may be repeated; all raise HoldfastError."""

    def inode(self, path: str, reporter: Reporter) -> int | None:
        """Of the directory at that path, None when nothing is there."""

    def is_filestore(self, path: str, reporter: Reporter) -> bool:
        """Whether the directory itself holds a filestore's folders (ab/, cd/ …)."""

    def unpack(self, archive_path: str, path: str, options: RestoreOptions, reporter: Reporter) -> None:
        """Make the directory and unpack an archive's filestore into it, durably."""

    def digests(self, path: str, reporter: Reporter) -> Iterator[tuple[str, str]]:
        """Name ("ab/abcd…") and SHA-1 of every file below, read back from the disk."""

    def exchange(self, paths: Paths, new_inode: int, reporter: Reporter) -> None:
        """The directory ``new_inode`` lies at ``paths.final``; what was there lies at ``paths.kept``, durably.

        Where ``paths.kept`` is "", nothing may be there.
        """

    def remove(self, path: str, reporter: Reporter) -> None:
        """Delete it with everything in it; nothing there is fine."""

    def free_bytes(self, path: str, reporter: Reporter) -> int | None:
        """Free space where ``path`` lies, or would lie."""

    def why_not_writable(self, path: str, reporter: Reporter) -> str:
        """Why no directory can be made in ``path``, or ""."""


def paths_of(plan: FilestorePlan, database: str, temporary_name: str, kept_name: str, *, itself: bool) -> Paths:
    """Where a database's files go.

    ``itself``: the instance's path is one database's filestore, not the directory of all; another's then lies beside it.
    """
    final = candidates(plan, database)[0].path
    if itself and "{database}" not in plan.path:
        base = plan.path.rstrip("/")
        final = base if posixpath.basename(base) == database else f"{posixpath.dirname(base)}/{database}"
    parent = posixpath.dirname(final)
    for name in (temporary_name, kept_name):
        if "/" in name or name in (".", ".."):
            raise unreadable_directory(final, f"{name!r} cannot be the name of a directory")
    return Paths(final, f"{parent}/{temporary_name}", f"{parent}/{kept_name}" if kept_name else "")


def in_the_way(path: str) -> SourceError:
    """Something lies where nothing should."""
    return SourceError(
        f"There is a directory {path} already.",
        hint="It may be left from a database dropped outside Odoo. Move it away, or choose another name.",
        code=ErrorCode.TARGET_EXISTS,
        permanent=True,
    )


@dataclass(frozen=True, slots=True)
class LocalPlace:
    """Directories of this machine. See Place."""

    threads: int = 2

    def inode(self, path: str, reporter: Reporter) -> int | None:
        """See Place."""
        try:
            return os.lstat(path).st_ino
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _refused(error, path) from error

    def is_filestore(self, path: str, reporter: Reporter) -> bool:
        """See Place."""
        try:
            with os.scandir(path) as entries:
                return any(_FOLDER.fullmatch(entry.name) and entry.is_dir() for entry in entries)
        except OSError:
            return False

    def unpack(self, archive_path: str, path: str, options: RestoreOptions, reporter: Reporter) -> None:
        """See Place."""
        try:
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            os.mkdir(path, 0o700)
        except FileExistsError:
            raise in_the_way(path) from None
        except OSError as error:
            raise _refused(error, path) from error
        unpack_filestore(archive_path, path, options, reporter, threads=self.threads)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                rights_of(options).give_folder(descriptor)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            sync_directory(os.path.dirname(path))
        except OSError as error:
            raise _refused(error, path) from error

    def digests(self, path: str, reporter: Reporter) -> Iterator[tuple[str, str]]:
        """See Place."""
        for directory, _, names in os.walk(path):
            for name in names:
                full = os.path.join(directory, name)
                yield os.path.relpath(full, path), _sha1(full, reporter)

    def exchange(self, paths: Paths, new_inode: int, reporter: Reporter) -> None:
        """See Place."""
        found = self.inode(paths.final, reporter)
        if found == new_inode:
            return
        try:
            if found is not None:
                if not paths.kept:
                    raise in_the_way(paths.final)
                _rename(paths.final, paths.kept)
            _rename(paths.temporary, paths.final)
            sync_directory(paths.parent)
        except OSError as error:
            raise _refused(error, paths.final) from error

    def remove(self, path: str, reporter: Reporter) -> None:
        """See Place."""
        try:
            shutil.rmtree(path)
            sync_directory(os.path.dirname(path))
        except FileNotFoundError:
            return
        except OSError as error:
            raise _refused(error, path) from error

    def free_bytes(self, path: str, reporter: Reporter) -> int | None:
        """See Place."""
        try:
            facts = os.statvfs(_nearest(path))
        except OSError:
            return None
        return facts.f_bavail * facts.f_frsize

    def why_not_writable(self, path: str, reporter: Reporter) -> str:
        """See Place."""
        nearest = _nearest(path)
        if not os.path.isdir(nearest):
            return f"{nearest} is not a directory"
        return "" if os.access(nearest, os.W_OK | os.X_OK) else f"{nearest} is not writable for this user"


def _rename(old: str, new: str) -> None:
    # rename(2) would replace an empty directory; there must be none.
    if os.path.lexists(new):
        raise FileExistsError(errno.EEXIST, f"{new} is in the way")
    os.rename(old, new)


def _nearest(path: str) -> str:
    """The path itself or the nearest directory above that is there."""
    while path != "/" and not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


def _sha1(path: str, reporter: Reporter) -> str:
    digest = hashlib.sha1(usedforsecurity=False)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(descriptor, "rb", buffering=0) as file:
            while block := file.read(_BLOCK_BYTES):
                reporter.check()
                digest.update(block)
    except OSError as error:
        raise _refused(error, path) from error
    return digest.hexdigest()


def _refused(error: OSError, path: str) -> StoreError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return StoreError(
        f"The filestore at {path} could not be put in place: {error.strerror or error}.",
        hint="Free space there." if full else "Check the path, and that Holdfast's user may write there.",
        code=ErrorCode.DISK_FULL if full else ErrorCode.RESTORE_FAILED,
    )
