"""The manifest beside a snapshot: what Holdfast knows about it, kept so that it survives the database.

``docs/snapshot-format.md`` describes every field; a test compares the two.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any

from webapp.core.errors import ArchiveError
from webapp.core.status import ErrorCode

FORMAT = "holdfast-snapshot"
VERSION = 1
FILE_NAME = "snapshot.json"
LIST_NAME = "files.list"


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotManifest:
    """Version 1. Times are ISO 8601 with their zone; sizes are bytes; see ``SnapshotRecord`` for the counts.

    ``base`` is the name of the snapshot that unchanged files are shared with, "" for none. ``digest`` is the kind of the digests
    in the list: "xxh128" or "md5". ``unreadable_paths`` are the first thousand that could not be read.
    """

    run_id: int
    fence: int
    attempt: int
    job_id: int | None
    instance_id: int
    instance_uid: str
    instance_name: str
    name: str
    base: str
    paths: tuple[str, ...]
    digest: str
    list_sha256: str
    list_bytes: int
    started_at: str
    completed_at: str
    holdfast_version: str
    file_count: int
    directory_count: int
    other_count: int
    total_bytes: int
    new_files: int
    new_bytes: int
    gone_files: int
    transferred_bytes: int
    transfer_seconds: float
    vanished: int = 0
    unreadable: int = 0
    unreadable_paths: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[Mapping[str, str], ...] = ()
    verification: Mapping[str, Any] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values, the format's own two fields first."""
        data: dict[str, Any] = {"format": FORMAT, "version": VERSION}
        for name, value in asdict(self).items():
            data[name] = list(value) if isinstance(value, tuple) else value
        return data

    def as_bytes(self) -> bytes:
        """The manifest as it is written; a path that is not UTF-8 keeps its bytes as escapes (surrogates)."""
        return json.dumps(self.as_json(), indent=1).encode()

    @property
    def sha256(self) -> str:
        """SHA-256 of ``as_bytes``, for whoever keeps it apart from the file."""
        return hashlib.sha256(self.as_bytes()).hexdigest()


def parse_snapshot_manifest(data: object) -> SnapshotManifest:
    """The manifest that ``data`` (as read from JSON) holds. Raises ArchiveError for anything that is not exactly one."""
    if not isinstance(data, dict):
        raise _wrong("it is not an object")
    if data.get("format") != FORMAT:
        raise _wrong("it is not one of Holdfast's")
    if data.get("version") != VERSION:
        raise _wrong(f"its version is {data.get('version')!r}, and this Holdfast reads version {VERSION}")
    known = {item.name: str(item.type) for item in fields(SnapshotManifest)}
    given = set(data) - {"format", "version"}
    if given != set(known):
        raise _wrong(f"these fields are missing or unknown: {', '.join(sorted(map(str, given ^ set(known))))}")
    values: dict[str, Any] = {}
    for name, kind in known.items():
        if not _RULES[name if name in _RULES else kind](data[name]):
            raise _wrong(f"the field {name} has no value that it may have")
        values[name] = tuple(data[name]) if kind.startswith("tuple") else data[name]
    return SnapshotManifest(**values)


def _wrong(why: str) -> ArchiveError:
    return ArchiveError(f"The snapshot's manifest cannot be used: {why}.", code=ErrorCode.CORRUPT)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_map_of_text(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for pair in value.items() for item in pair)


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _is_time(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _is_report(value: object) -> bool:
    return value is None or (isinstance(value, dict) and set(value) == {"level", "passed", "checks"})


# By the field's name where it has a rule of its own, else by its type.
_RULES: dict[str, Callable[[object], bool]] = {
    "int": _is_count,
    "int | None": lambda value: value is None or _is_count(value),
    "str": _is_text,
    "float": _is_number,
    "tuple[str, ...]": _is_texts,
    "Mapping[str, str]": _is_map_of_text,
    "tuple[Mapping[str, str], ...]": lambda value: isinstance(value, list) and all(map(_is_map_of_text, value)),
    "Mapping[str, Any] | None": _is_report,
    "digest": lambda value: value in ("xxh128", "md5"),
    "list_sha256": _is_digest,
    "started_at": _is_time,
    "completed_at": _is_time,
}
