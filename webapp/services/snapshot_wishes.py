"""What a restore of a snapshot's files may be: the wish that a form, the shell or the API gives, and where it is checked."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, replace

from webapp.core.errors import InvalidInput, NotFound
from webapp.core.path_text import path_bytes
from webapp.core.status import InstanceKind, SnapshotTarget
from webapp.services.restore_rules import directory_below_root
from webapp.services.snapshot_comparisons import live_host
from webapp.services.snapshot_places import get_stored
from webapp.store.db import db
from webapp.store.models import Archive, Instance

MOST_PATHS = 500
LONGEST_PATH_BYTES = 4096
LONGEST_TARGET = 1024


@dataclass(frozen=True, slots=True)
class FileRestoreWish:
    """What a person asks for.

    Attributes:
        paths: Absolute paths inside the snapshot; () is all of it.
        target_path: Absolute; files land at it + their path in the snapshot ("/" puts them back where they were). For a
            directory of this machine also a plain name: it is made below the restore directory.
        target_instance_id: The host, where the target is another one.
        delete_others: Also remove what the snapshot has not, below the chosen directories.
    """

    archive_id: int
    paths: tuple[str, ...]
    target: SnapshotTarget
    target_path: str
    target_instance_id: int | None = None
    delete_others: bool = False


def check_wish(wish: FileRestoreWish) -> FileRestoreWish:
    """The wish as it can be carried out, as far as the rows can tell. Raises NotFound, InvalidInput (field), Conflict."""
    archive = get_stored(wish.archive_id).archive
    host = target_host(wish, archive)
    if len(wish.paths) > MOST_PATHS:
        raise InvalidInput(f"Choose at most {MOST_PATHS} files and folders.", field="paths")
    paths = tuple(dict.fromkeys(_inside(path) for path in wish.paths))
    paths = () if "/" in paths else paths
    if wish.delete_others and not paths:
        raise InvalidInput(
            "Removing what the snapshot has not needs chosen folders: at the top it would remove what was left out on purpose.",
            field="delete_others",
            hint="Choose the folders that shall be as they were.",
        )
    return replace(
        wish,
        paths=paths,
        target_path=_target_path(wish),
        target_instance_id=host.id if host is not None else None,
    )


def target_host(wish: FileRestoreWish, archive: Archive) -> Instance | None:
    """The host that files go to; None for a directory of this machine. Raises NotFound, InvalidInput, Conflict."""
    if wish.target is SnapshotTarget.DIRECTORY:
        return None
    if wish.target is SnapshotTarget.HOST:
        return live_host(archive)
    if wish.target_instance_id is None:
        raise InvalidInput("Choose the host that the files go to.", field="target_instance_id")
    host = db.session.get(Instance, wish.target_instance_id, populate_existing=True)
    if host is None or host.deleted_at is not None:
        raise NotFound(f"There is no instance {wish.target_instance_id}.")
    if host.kind is not InstanceKind.HOST:
        raise InvalidInput(f"«{host.name}» is no host.", field="target_instance_id")
    return host


def _inside(path: str) -> str:
    """A path inside the snapshot, in its shortest form."""
    if not path.startswith("/") or not _is_plain(path):
        raise InvalidInput("Paths in a snapshot are absolute, as on the host: /etc/hosts.", field="paths")
    return "/" + posixpath.normpath(path).lstrip("/")


def _target_path(wish: FileRestoreWish) -> str:
    path = wish.target_path.strip()
    if wish.target is SnapshotTarget.DIRECTORY:
        try:
            return directory_below_root(path)
        except InvalidInput as error:
            raise InvalidInput(error.message, field="target_path", hint=error.hint) from None
    if not path.startswith("/") or not _is_plain(path) or len(path) > LONGEST_TARGET or not path.isprintable():
        raise InvalidInput("Write the target as an absolute path of printable characters.", field="target_path")
    return "/" + posixpath.normpath(path).lstrip("/")


def _is_plain(path: str) -> bool:
    """No way up, no NUL, not longer than a system takes."""
    return "\0" not in path and ".." not in path.split("/") and len(path_bytes(path)) <= LONGEST_PATH_BYTES
