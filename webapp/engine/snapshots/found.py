"""What lies on disk: snapshots found by looking, for discovery and for whoever has lost the database. Only reads."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from webapp.core.errors import ArchiveError, StoreError
from webapp.core.snapshot_manifest import FILE_NAME, LIST_NAME, SnapshotManifest, parse_snapshot_manifest
from webapp.core.snapshot_plans import FoundSnapshot, SnapshotPlace
from webapp.core.status import ErrorCode, SnapshotLayout
from webapp.engine.disk import disk_error
from webapp.engine.snapshots.places import DATA, directory_names, host_path, open_root, require_place

_MANIFEST_BYTES = 64 * 1024 * 1024
# 20261122T021500Z, 2026-11-22T02:15:00+01:00, 2026-11-22_02-15-00, 2026-11-22, also within a longer name.
_TIME = re.compile(
    r"(?<!\d)(\d{4})-?(\d\d)-?(\d\d)(?:[T_ .-]?(\d\d)[:.-]?(\d\d)(?:[:.-]?(\d\d))?(?:\.\d+)?(Z|[+-]\d\d:?\d\d)?)?(?!\d)"
)

_OWN_NAME = re.compile(r"\d{8}T\d{6}Z")


def list_found(root: str, directory: str) -> list[FoundSnapshot]:
    """Every snapshot below ``<root>/<directory>``, the oldest first: ours, and trees whose name holds a time (plain).

    A plain one may lie one level deeper (scheduled/2026-11-22T02:15:00); its name is then both parts. A time without a zone is
    taken for UTC. A marker is not asked for: a root that another tool made has none. Raises StoreError when the directory
    cannot be read.
    """
    parent = host_path(root, directory)
    if not os.path.isdir(parent):
        raise StoreError(f"There is no directory {parent}.", code=ErrorCode.STORE_UNAVAILABLE)
    found = []
    for name in _visible(parent):
        if (snapshot := _look(SnapshotPlace(root, directory, name))) is not None:
            found.append(snapshot)
            continue
        for inner in _visible(os.path.join(parent, name)):
            if (snapshot := _look_plain(SnapshotPlace(root, directory, f"{name}/{inner}"))) is not None:
                found.append(snapshot)
    return sorted(found, key=lambda each: (each.taken_at, each.place.name))


def find_promoted(root: str, directory: str, run_id: int, fence: int) -> FoundSnapshot | None:
    """The snapshot that exactly this run and fence promoted, or None. Raises StoreError when the root is away."""
    open_root(root)
    for name in reversed(_visible(host_path(root, directory))):
        snapshot = _look(SnapshotPlace(root, directory, name))
        manifest = snapshot.manifest if snapshot is not None else None
        if manifest is not None and (manifest.run_id, manifest.fence) == (run_id, fence):
            return snapshot
    return None


def exists(place: SnapshotPlace) -> bool:
    """Whether the snapshot's tree is there. Raises StoreError when its root is away, so that False means missing.

    A plain one that is there needs no marker: it may lie below a root that another tool made and Holdfast never wrote to.
    """
    path = require_place(place)
    if place.layout is SnapshotLayout.PLAIN and _is_directory(path):
        return True
    open_root(place.root)
    return _is_directory(place.tree)


def read_manifest(place: SnapshotPlace) -> tuple[SnapshotManifest | None, str, str]:
    """(manifest, SHA-256 of its file, what is wrong with it or ""). (None, "", …) when there is none. Raises StoreError."""
    try:
        text = _read_plain_file(os.path.join(place.path, FILE_NAME))
    except FileNotFoundError:
        return None, "", "it has no manifest"
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            return None, "", "its manifest is no plain file"
        raise disk_error(error, f"read the manifest of {place.path}") from error
    digest = hashlib.sha256(text).hexdigest()
    try:
        data: Any = json.loads(text)
        return parse_snapshot_manifest(data), digest, ""
    except ArchiveError as error:
        return None, digest, error.message.rstrip(".")
    except (ValueError, RecursionError):
        return None, digest, "its manifest cannot be read"


def _read_plain_file(path: str) -> bytes:
    """What is in the file, as far as a manifest may go. Raises OSError, also EISDIR for what is no file."""
    # O_NONBLOCK: a fifo in its place must not hold us.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(_MANIFEST_BYTES)
    finally:
        os.close(descriptor)


def time_in_name(name: str) -> datetime | None:
    """The UTC time that a snapshot's name says, None when it says none."""
    for match in _TIME.finditer(name):
        year, month, day, hour, minute, second, zone = match.groups()
        try:
            moment = datetime(
                int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=_zone(zone)
            )
            return moment.astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    return None


def _zone(text: str | None) -> timezone:
    if text is None or text == "Z":
        return UTC
    digits = text[1:].replace(":", "")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)


def _visible(path: str) -> list[str]:
    return [name for name in directory_names(path) if not name.startswith(".")]


def _look(place: SnapshotPlace) -> FoundSnapshot | None:
    """Ours when it has a part of ours, else a plain one when its name holds a time, else None."""
    data = os.path.isdir(os.path.join(place.path, DATA))
    parts = any(os.path.lexists(os.path.join(place.path, name)) for name in (FILE_NAME, LIST_NAME))
    if not parts and not (data and _OWN_NAME.fullmatch(place.name)):
        return _look_plain(place)
    manifest, digest, problem = read_manifest(place)
    if not data:
        problem = "it has no tree"
    problem = f"{place.path} cannot be taken in: {problem}." if problem else ""
    if manifest is None:
        moment = time_in_name(place.name) or datetime.fromtimestamp(0, UTC)
        return FoundSnapshot(place, moment, None, digest, problem)
    return FoundSnapshot(place, datetime.fromisoformat(manifest.started_at).astimezone(UTC), manifest, digest, problem)


def _look_plain(place: SnapshotPlace) -> FoundSnapshot | None:
    moment = time_in_name(place.name.rpartition("/")[2])
    if moment is None:
        return None
    return FoundSnapshot(SnapshotPlace(place.root, place.directory, place.name, SnapshotLayout.PLAIN), moment)


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise disk_error(error, f"look at {path}") from error
