"""The side-car manifest: what Holdfast knows about an archive, kept beside it so that it survives the database.

``docs/archive-format.md`` describes every field; a test compares the two.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from webapp.core.json_fields import (
    Rule,
    is_count,
    is_digest,
    is_list_of_text,
    is_list_of_warnings,
    is_map_of_text,
    is_optional_count,
    is_text,
    is_time,
    is_verification,
    require_fields,
)
from webapp.core.reports import VerificationReport
from webapp.core.status import ArchiveFormat, Content

FORMAT = "holdfast-archive"
VERSION = 1
FILE_NAME = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Version 1. Times are ISO 8601 with their zone; sizes are bytes; ``table_rows`` None means not counted."""

    run_id: int
    fence: int
    attempt: int
    job_id: int | None
    instance_id: int
    instance_name: str
    database: str
    is_odoo: bool
    has_filestore: bool
    content: Content
    archive_format: ArchiveFormat
    file_name: str
    size_bytes: int
    sha256: str
    started_at: str
    snapshot_at: str
    holdfast_version: str
    dump_bytes: int = 0
    filestore_bytes: int = 0
    attachment_count: int | None = None
    missing_attachment_count: int = 0
    missing_attachments: tuple[str, ...] = ()
    mismatched_attachment_count: int = 0
    mismatched_attachments: tuple[str, ...] = ()
    table_rows: Mapping[str, int] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[Mapping[str, str], ...] = ()
    verification: Mapping[str, Any] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values, the format's own two fields first."""
        data: dict[str, Any] = {"format": FORMAT, "version": VERSION}
        for name, value in asdict(self).items():
            data[name] = list(value) if isinstance(value, tuple) else value
        data["content"] = self.content.value
        data["archive_format"] = self.archive_format.value
        return data

    def as_bytes(self) -> bytes:
        """The side-car as it is written."""
        return json.dumps(self.as_json(), indent=1, ensure_ascii=False).encode("utf-8", "replace")

    @property
    def digest(self) -> str:
        """SHA-256 of ``as_bytes``, for whoever keeps it apart from the side-car and can tell whether that was changed."""
        return hashlib.sha256(self.as_bytes()).hexdigest()

    @property
    def row_total(self) -> int | None:
        """All rows of all tables, None when they were not counted."""
        return None if self.table_rows is None else sum(self.table_rows.values())


def verification_summary(report: VerificationReport | None) -> dict[str, Any] | None:
    """What the side-car keeps of a verification."""
    if report is None:
        return None
    return {
        "level": report.level.value,
        "passed": report.passed,
        "checks": [check.as_json() for check in report.checks],
    }


def parse_manifest(data: object) -> Manifest:
    """The manifest that ``data`` (as read from JSON) holds. Raises ArchiveError for anything that is not exactly one."""
    values = require_fields(data, (FORMAT, VERSION), _RULES, whose="archive")
    for name in ("missing_attachments", "mismatched_attachments", "warnings"):
        values[name] = tuple(values[name])
    values["content"] = Content(values["content"])
    values["archive_format"] = ArchiveFormat(values["archive_format"])
    return Manifest(**values)


def _is_truth(value: object) -> bool:
    return isinstance(value, bool)


def _is_file_name(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}", value) is not None


def _is_optional_counts(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, dict) and all(isinstance(name, str) and is_count(count) for name, count in value.items())


_RULES: dict[str, Rule] = {
    "run_id": is_count,
    "fence": is_count,
    "attempt": is_count,
    "job_id": is_optional_count,
    "instance_id": is_count,
    "instance_name": is_text,
    "database": is_text,
    "is_odoo": _is_truth,
    "has_filestore": _is_truth,
    "content": lambda value: value in list(Content),
    "archive_format": lambda value: value in list(ArchiveFormat),
    "file_name": _is_file_name,
    "size_bytes": is_count,
    "sha256": is_digest,
    "started_at": is_time,
    "snapshot_at": is_time,
    "holdfast_version": is_text,
    "dump_bytes": is_count,
    "filestore_bytes": is_count,
    "attachment_count": is_optional_count,
    "missing_attachment_count": is_count,
    "missing_attachments": is_list_of_text,
    "mismatched_attachment_count": is_count,
    "mismatched_attachments": is_list_of_text,
    "table_rows": _is_optional_counts,
    "versions": is_map_of_text,
    "warnings": is_list_of_warnings,
    "verification": is_verification,
    "labels": is_map_of_text,
}
