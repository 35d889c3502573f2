"""The manifest beside a snapshot: what Holdfast knows about it, kept so that it survives the database.

``docs/snapshot-format.md`` describes every field; a test compares the two.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from webapp.core.json_fields import (
    Rule,
    is_count,
    is_digest,
    is_list_of_text,
    is_list_of_warnings,
    is_map_of_text,
    is_number,
    is_optional_count,
    is_text,
    is_time,
    is_verification,
    require_fields,
)

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
    values = require_fields(data, (FORMAT, VERSION), _RULES, whose="snapshot")
    for name, value in values.items():
        values[name] = tuple(value) if isinstance(value, list) else value
    return SnapshotManifest(**values)


_RULES_OF_TYPES: dict[str, Rule] = {
    "int": is_count,
    "int | None": is_optional_count,
    "str": is_text,
    "float": is_number,
    "tuple[str, ...]": is_list_of_text,
    "Mapping[str, str]": is_map_of_text,
    "tuple[Mapping[str, str], ...]": is_list_of_warnings,
    "Mapping[str, Any] | None": is_verification,
}
_RULES: dict[str, Rule] = {item.name: _RULES_OF_TYPES[str(item.type)] for item in fields(SnapshotManifest)} | {
    "digest": lambda value: value in ("xxh128", "md5"),
    "list_sha256": is_digest,
    "started_at": is_time,
    "completed_at": is_time,
}
