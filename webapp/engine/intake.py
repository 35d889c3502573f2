"""Intake: an archive that somebody uploads comes into the store as one of ours does, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from webapp.core.reports import BackupResult
from webapp.engine.report import Reporter


class ByteStream(Protocol):
    """What is read: a request's body, a file."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakePlan:
    """One upload.

    Attributes:
        intake_id: A number of the caller's, from 1 on, that no other upload ever had: it makes the archive's directory
            unique, "…_r<intake_id>f0". No run has fence 0, so it is never taken for a run's.
        file_name: As the uploader named the file; a moment in it ("prod_2026-11-22_05-30-37.zip") is believed.
        instance_directory: Folder below the store, as in BackupPlan ("7-acme-prod", "uploads").
        database: Name under which it is filed; "" is the name in the archive's own manifest, else the file's.
        expected_bytes: Announced length, for the free-space check and against truncation; None when it is not known.
        expected_sha256: The digest it must have, "" when nobody knows.
        labels: Kept in the side-car; ``origin``, ``file_name`` and ``received_at`` are added.
    """

    intake_id: int
    file_name: str
    instance_id: int
    instance_name: str
    instance_directory: str
    store_directory: str
    received_at: datetime
    database: str = ""
    expected_bytes: int | None = None
    expected_sha256: str = ""
    reserve_bytes: int = 256 * 1024 * 1024
    largest_bytes: int = 4 * 1024**4
    threads: int = 2
    labels: Mapping[str, str] = field(default_factory=dict)


def take_in(stream: ByteStream, plan: IntakePlan, reporter: Reporter) -> BackupResult:
    """Receive, look, verify, and place on the shelf; in quarantine when it fails its verification.

    ``result.manifest`` has the side-car's values (database, content, format, versions, ``started_at`` = when it was taken,
    as far as the archive tells); its ``run_id`` is 0. Raises SourceError (too_large, truncated), ArchiveError
    (not_a_backup, hostile_archive …: nothing is kept), StoreError, TaskStopped; nothing is then left on the disk.
    """
    raise NotImplementedError


def clear_intakes(store_directory: str, *, older_than: datetime) -> int:
    """Delete what killed uploads left below ``.tmp`` and nobody wrote to since; returns how many that were."""
    raise NotImplementedError
