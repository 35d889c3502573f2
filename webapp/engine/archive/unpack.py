"""Unpacking a zip below a directory: nothing is ever written outside it, replaced, or reached through a link.

The archive's whole directory was checked by ``open_zip`` before the first byte lands. Each file is then made through the
descriptor of its folder, and each folder through that of its parent, so that nobody can slip a link in between.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from webapp.core.errors import ArchiveError, StoreError
from webapp.core.restore_plans import RestoreOptions
from webapp.core.status import ErrorCode
from webapp.core.text import format_size
from webapp.engine.archive.rights import Rights, rights_of
from webapp.engine.archive.zip_check import check_members
from webapp.engine.archive.zip_directory import hostile
from webapp.engine.archive.zip_reader import Member, ZipArchive, open_zip
from webapp.engine.disk import disk_error, free_bytes
from webapp.engine.durable import sync_filesystem
from webapp.engine.report import Reporter

FILESTORE = "filestore/"
DUMP = "dump.sql"
MANIFEST = "manifest.json"
# Marks of Odoo's garbage collection, empty files: made again by Odoo when it needs them.
_CHECKLIST = "filestore/checklist/"
_DIGEST_NAME = re.compile(r"(?:.*/)?[0-9a-f]{2,3}/([0-9a-f]{40})")
_RESERVE_BYTES = 64 * 1024 * 1024
_MOST_SHOWN = 1000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_IN_THE_WAY = (errno.EEXIST, errno.ENOTDIR, errno.ELOOP, errno.EISDIR)

Choose = Callable[[str], str | None]
"""Where a member of that name goes, below the directory; None leaves it out."""


@dataclass(frozen=True, slots=True)
class UnpackSummary:
    """What was written, durably.

    Attributes:
        mismatched: Files whose content does not have the SHA-1 that they are named after; they are written as they are.
        mismatched_shown: The names of the first 1,000 of them, as in the filestore ("ab/abcd…").
    """

    files: int
    size_bytes: int
    mismatched: int = 0
    mismatched_shown: tuple[str, ...] = ()


def unpack_filestore(
    archive_path: str, directory: str | int, options: RestoreOptions, reporter: Reporter, *, threads: int = 2
) -> UnpackSummary:
    """The attachments' files, "ab/abcd…", below an existing, empty directory (its path, or an open descriptor of it).

    Every file's content is compared with the SHA-1 in its name. Owner and mode are as the options ask; the directory's own
    are left alone. On any error what was written stays behind for the caller to remove.

    Raises ArchiveError for a damaged or hostile archive, StoreError from the disk, InvalidInput for impossible options,
    TaskStopped.
    """
    return _unpack(archive_path, directory, _filestore_place, _Ways(rights_of(options), reporter, threads))


def unpack_whole(
    archive_path: str, directory: str | int, options: RestoreOptions, reporter: Reporter, *, threads: int = 2
) -> UnpackSummary:
    """``dump.sql``, ``manifest.json`` and, unless the options leave it out, ``filestore/…``; else as ``unpack_filestore``."""
    choose = _whole_place if options.with_filestore else _database_place
    return _unpack(archive_path, directory, choose, _Ways(rights_of(options), reporter, threads))


def is_attachment(name: str) -> bool:
    """Whether a member of that name is a file of the filestore, not a folder or a mark of Odoo's own."""
    return name.startswith(FILESTORE) and not name.startswith(_CHECKLIST) and not name.endswith("/")


def _filestore_place(name: str) -> str | None:
    return name.removeprefix(FILESTORE) if is_attachment(name) else None


def _database_place(name: str) -> str | None:
    return name if name in (DUMP, MANIFEST) else None


def _whole_place(name: str) -> str | None:
    return _database_place(name) or (name if is_attachment(name) else None)


@dataclass(frozen=True, slots=True)
class _Ways:
    rights: Rights
    reporter: Reporter
    threads: int


def _unpack(archive_path: str, directory: str | int, choose: Choose, ways: _Ways) -> UnpackSummary:
    with open_zip(archive_path) as archive, _opened(directory) as root:
        _require_room(archive, root, choose)
        landing = _Landing(root, ways.rights, choose)
        check_members(
            archive,
            landing.take,
            threads=ways.threads,
            reporter=ways.reporter,
            wanted=lambda member: choose(member.name) is not None,
        )
        try:
            sync_filesystem(root)
        except OSError as error:
            raise disk_error(error, "make the unpacked files durable") from error
    shown = tuple(sorted(landing.mismatched_shown))
    return UnpackSummary(landing.files, landing.size_bytes, landing.mismatched, shown)


@contextmanager
def _opened(directory: str | int) -> Iterator[int]:
    """A descriptor of the directory, ours to close where a path was given."""
    if isinstance(directory, int):
        yield directory
        return
    try:
        descriptor = os.open(directory, _FOLDER)
    except OSError as error:
        raise disk_error(error, f"open the directory {directory}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _require_room(archive: ZipArchive, root: int, choose: Choose) -> None:
    """What the members claim is the most that will be written: the reader ends any that holds more."""
    needed = sum(member.size for member in archive.members() if choose(member.name) is not None)
    free = free_bytes(root)
    if free < needed + _RESERVE_BYTES:
        raise StoreError(
            f"The archive unpacks to {format_size(needed)}; where it should go only {format_size(free)} are free.",
            hint="Free space there, or choose another directory.",
            code=ErrorCode.DISK_FULL,
        )


@dataclass(slots=True)
class _Landing:
    """Writes members on the threads that unpack them."""

    root: int
    rights: Rights
    choose: Choose
    files: int = 0
    size_bytes: int = 0
    mismatched: int = 0
    mismatched_shown: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, member: Member, chunks: Iterator[bytes]) -> None:
        path = self.choose(member.name)
        if path is None:
            return
        try:
            size, sha1 = self._write(path, chunks)
        except OSError as error:
            raise _refused(error, member.name) from error
        promised = _DIGEST_NAME.fullmatch(path)
        with self._lock:
            self.files += 1
            self.size_bytes += size
            if promised and promised[1] != sha1:
                self.mismatched += 1
                if len(self.mismatched_shown) < _MOST_SHOWN:
                    self.mismatched_shown.append(path.removeprefix(FILESTORE))

    def _write(self, path: str, chunks: Iterator[bytes]) -> tuple[int, str]:
        digest = hashlib.sha1(usedforsecurity=False)
        size = 0
        folder, _, name = path.rpartition("/")
        with self._folder(folder) as parent:
            descriptor = os.open(name, _NEW_FILE, 0o600, dir_fd=parent)
            try:
                for chunk in chunks:
                    digest.update(chunk)
                    size += len(chunk)
                    view = memoryview(chunk)
                    while view:
                        view = view[os.write(descriptor, view) :]
                self.rights.give_file(descriptor)
            finally:
                os.close(descriptor)
        return size, digest.hexdigest()

    @contextmanager
    def _folder(self, path: str) -> Iterator[int]:
        """A descriptor of a folder below the root, made where it is missing; no component may be a link."""
        descriptor = self.root
        try:
            for part in path.split("/") if path else ():
                inner = self._step(descriptor, part)
                if descriptor != self.root:
                    os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            if descriptor != self.root:
                os.close(descriptor)

    def _step(self, parent: int, name: str) -> int:
        try:
            return os.open(name, _FOLDER, dir_fd=parent)
        except FileNotFoundError:
            pass
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:  # Another thread was faster.
            return os.open(name, _FOLDER, dir_fd=parent)
        descriptor = os.open(name, _FOLDER, dir_fd=parent)
        try:
            self.rights.give_folder(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def _refused(error: OSError, name: str) -> ArchiveError | StoreError:
    """What stands in the way was put there by the archive itself, or by somebody else while we wrote."""
    if error.errno in _IN_THE_WAY:
        return hostile(f"The member {name[:200]!r} would land where something else lies already.")
    return disk_error(error, f"write {name[:200]}")
