"""What the engine answers: facts about an archive, checks with their evidence, results of a backup."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from webapp.core.errors import ArchiveError, HoldfastError
from webapp.core.status import ErrorCode, VerificationLevel


class CheckState(StrEnum):
    """Outcome of one check."""

    PASSED = "passed"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"

    @property
    def log_level(self) -> str:
        """The level of a log line that tells of it."""
        return _LOG_LEVELS[self]


_LOG_LEVELS = {
    CheckState.PASSED: "good",
    CheckState.WARNING: "warning",
    CheckState.FAILED: "error",
    CheckState.SKIPPED: "info",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One question asked and its evidence.

    Attributes:
        key: Stable word, e.g. "archive_digest", "attachments", "dns".
        title: What was asked, in words ("Filestore complete").
        state: The answer.
        detail: The evidence in a sentence.
        value: A short number or word for the right-hand column.
        hint: What to do about it when it failed or warned.
        code: Error code when it failed or warned.
        level: The verification level the check belongs to, or None (connection checks).
    """

    key: str
    title: str
    state: CheckState
    detail: str = ""
    value: str = ""
    hint: str = ""
    code: ErrorCode | None = None
    level: VerificationLevel | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "key": self.key,
            "title": self.title,
            "state": self.state.value,
            "detail": self.detail,
            "value": self.value,
            "hint": self.hint,
            "code": self.code.value if self.code else None,
            "level": self.level.value if self.level else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Check:
        """The inverse of ``as_json``."""
        return cls(
            key=data["key"],
            title=data["title"],
            state=CheckState(data["state"]),
            detail=data.get("detail", ""),
            value=data.get("value", ""),
            hint=data.get("hint", ""),
            code=ErrorCode(data["code"]) if data.get("code") else None,
            level=VerificationLevel(data["level"]) if data.get("level") else None,
        )


def find_failure(checks: Iterable[Check], *, code: ErrorCode) -> HoldfastError | None:
    """The first check that failed, as an error that no second attempt mends; None when none did.

    ``code`` is for a check that has none of its own.
    """
    failed = next((check for check in checks if check.state is CheckState.FAILED), None)
    if failed is None:
        return None
    message = f"{failed.title}: {failed.detail or 'failed'}"
    return HoldfastError(message, hint=failed.hint, code=failed.code or code, permanent=True)


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """All checks of one verification, in the order they were made.

    ``level`` is the level asked for. The report passes when no check failed; then ``reached`` equals ``level``.
    ``fingerprint`` is ``core.sentinel.Fingerprint.as_json()`` of what was read, empty when nothing was looked into.
    """

    level: VerificationLevel
    checks: tuple[Check, ...]
    fingerprint: Mapping[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> tuple[Check, ...]:
        """Checks that failed."""
        return tuple(c for c in self.checks if c.state is CheckState.FAILED)

    @property
    def warnings(self) -> tuple[Check, ...]:
        """Checks that warn."""
        return tuple(c for c in self.checks if c.state is CheckState.WARNING)

    @property
    def passed(self) -> bool:
        """Whether at least one check was made and none failed."""
        return bool(self.checks) and not self.failed

    def error(self, what: str = "Verification failed", *, hint: str = "") -> ArchiveError | None:
        """``what`` and the first check that failed, as an error that no second attempt mends; None when it passed.

        ``hint`` is for a check that has none of its own.
        """
        if self.passed:
            return None
        first = self.failed[0] if self.checks else Check("none", "Checks", CheckState.FAILED, "None was made.")
        message = f"{what}: {first.title}: {first.detail}"
        return ArchiveError(message, hint=first.hint or hint, code=first.code or ErrorCode.CORRUPT, permanent=True)


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What the source said about what it gave, written into the manifests.

    Attributes:
        snapshot_at: ISO 8601 UTC time of the database snapshot (HTTP: when the request was sent).
        table_rows: Rows per "schema.table" counted in the same snapshot; None when the source cannot tell (HTTP).
        attachment_count: Distinct attachment files the snapshot refers to; None when unknown.
        missing_attachments: Names ("ab/abcd…") that the snapshot refers to and the filestore did not have; at most 1,000.
        missing_attachment_count: How many of those there are in all.
        mismatched_attachments: Names whose file at the source does not have the SHA-1 that it is named after; at most 1,000.
        mismatched_attachment_count: How many of those there are in all.
        dump_bytes: Size of the plain dump; 0 when unknown.
        filestore_bytes: Size of the files packed; 0 when unknown.
        versions: "postgresql", "pg_dump", "odoo" … → version.
        warnings: (code, sentence) pairs.
    """

    snapshot_at: str
    table_rows: Mapping[str, int] | None = None
    attachment_count: int | None = None
    missing_attachments: tuple[str, ...] = ()
    missing_attachment_count: int = 0
    mismatched_attachments: tuple[str, ...] = ()
    mismatched_attachment_count: int = 0
    dump_bytes: int = 0
    filestore_bytes: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[tuple[ErrorCode, str], ...] = ()


@dataclass(frozen=True, slots=True)
class BackupResult:
    """A finished archive as it lies on disk, durable, before the database knows of it.

    Attributes:
        relative_path: Of the archive file, below the store directory, with "/".
        manifest: The side-car manifest as written (see docs/archive-format.md).
        report: The verification, None when level is none.
        quarantined: True when it failed verification and was put apart.
        manifest_sha256: Digest of the side-car's file, to be kept apart from it.
    """

    relative_path: str
    size_bytes: int
    sha256: str
    manifest: Mapping[str, Any]
    report: VerificationReport | None
    quarantined: bool
    facts: SourceFacts
    manifest_sha256: str = ""
