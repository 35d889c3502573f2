"""A new file or directory that is there whole or not at all: made beside its place, synced, then given its name.

The journal knows the temporary name before it exists, and the inode before it gets its final name: whoever comes after a
kill can tell what is ours from what is somebody else's.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from webapp.core.errors import StoreError
from webapp.core.restore_plans import RestorePlan
from webapp.core.status import ErrorCode, RestoreOutcome
from webapp.engine.disk import disk_error
from webapp.engine.durable import sync_directory
from webapp.engine.restore.journal import Journal, is_anothers

_IN_THE_WAY = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR)


@dataclass(frozen=True, slots=True)
class Landing:
    """One thing that comes into being.

    Attributes:
        temporary: Absolute path of what is being made.
        final: Where it will be; it must not exist, or be an empty directory when a directory lands.
        made_directory: The final's directory, when it was made for it; "" when it was there.
        inode: Of what was made, once it is whole.
    """

    temporary: str
    final: str
    made_directory: str = ""
    inode: int | None = None

    def as_json(self) -> dict[str, Any]:
        """For the journal."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Landing | None:
        """The inverse; None for the journal of an attempt that came to nothing yet."""
        if not data:
            return None
        return cls(**{key: data[key] for key in ("temporary", "final", "made_directory", "inode")})


def temporary_path(plan: RestorePlan, directory: str, name: str) -> str:
    """Where it is made: hidden, on the same file system, and no other attempt's."""
    return os.path.join(directory, f".{name[:150]}.restoring_{int(plan.task_id)}_{int(plan.fence)}")


@contextmanager
def landing_directory(plan: RestorePlan, final: str, journal: Journal) -> Iterator[str]:
    """The path of a new, empty directory to fill while inside; on the way out it becomes ``final``, after an error nothing.

    What is inside must be durable when the block ends. Raises StoreError.
    """
    parent, name = os.path.split(final)
    landing = Landing(temporary_path(plan, parent, name), final)
    journal(landing.as_json())
    try:
        with _disk_errors(f"make {final}"):
            os.mkdir(landing.temporary, 0o750)
        yield landing.temporary
        with _disk_errors(f"make {final}"):
            sync_directory(landing.temporary)
            landing = replace(landing, inode=os.lstat(landing.temporary).st_ino)
            journal(landing.as_json())
            os.rename(landing.temporary, final)
            sync_directory(parent)
    except BaseException as error:
        if not is_anothers(error):
            undo(landing)
        raise


@contextmanager
def landing_file(plan: RestorePlan, final: str, journal: Journal) -> Iterator[int]:
    """A descriptor of a new file to write while inside; on the way out it becomes ``final``, after an error nothing.

    The directory is made where it is missing. A file that is there already is never replaced. Raises StoreError.
    """
    directory, name = os.path.split(final)
    made = "" if os.path.isdir(directory) else directory
    landing = Landing(temporary_path(plan, directory, name), final, made)
    journal(landing.as_json())
    try:
        with _disk_errors(f"make {final}"):
            if made:
                os.mkdir(made, 0o750)
                sync_directory(os.path.dirname(made))
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(landing.temporary, flags, 0o600)
        try:
            yield descriptor
            with _disk_errors(f"make {final}"):
                os.fsync(descriptor)
                landing = replace(landing, inode=os.fstat(descriptor).st_ino)
        finally:
            os.close(descriptor)
        journal(landing.as_json())
        with _disk_errors(f"make {final}"):
            os.link(landing.temporary, final, follow_symlinks=False)  # Unlike a rename it replaces nothing.
            os.unlink(landing.temporary)
            sync_directory(directory)
    except BaseException as error:
        if not is_anothers(error):
            undo(landing)
        raise


def undo(landing: Landing) -> None:
    """Nothing is left of it. Raises StoreError."""
    with _disk_errors(f"remove what was made of {landing.final}"):
        if _is_ours(landing, landing.final):
            _remove(landing.final)
        _remove(landing.temporary)
        if landing.made_directory:
            with suppress(OSError):  # Somebody may have put something into it.
                os.rmdir(landing.made_directory)


def settle_landing(landing: Landing) -> RestoreOutcome:
    """After a kill: what has its final name is whole and stays; of anything else nothing is left. Idempotent."""
    with _disk_errors(f"look at {landing.final}"):
        if _is_ours(landing, landing.final):
            _remove(landing.temporary)
            sync_directory(os.path.dirname(landing.final))
            return RestoreOutcome.CREATED
    undo(landing)
    return RestoreOutcome.UNTOUCHED


def _is_ours(landing: Landing, path: str) -> bool:
    try:
        return landing.inode is not None and os.lstat(path).st_ino == landing.inode
    except (FileNotFoundError, NotADirectoryError):
        return False


def _remove(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISDIR(mode):
        shutil.rmtree(path)
    else:
        os.unlink(path)


@contextmanager
def _disk_errors(action: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _IN_THE_WAY:
            raise _occupied(action) from error
        raise disk_error(error, action) from error


def _occupied(action: str) -> StoreError:
    return StoreError(
        f"Could not {action}: something of that name is there already.",
        hint="Nothing is ever overwritten. Choose another directory.",
        code=ErrorCode.TARGET_EXISTS,
        permanent=True,
    )
