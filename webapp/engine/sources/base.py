"""The promise that every source keeps; tests/contracts/ holds all members to it."""

from __future__ import annotations

from typing import Protocol

from webapp.core.plans import BackupPlan
from webapp.core.reports import Check, SourceFacts
from webapp.engine.report import Reporter


class Sink(Protocol):
    """Where archive bytes go, once, front to back: counted and digested on the way to disk."""

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Take all of ``data`` (never a part); raises StoreError(disk_full) when the disk or the reserve is exhausted."""

    def tell(self) -> int:
        """Bytes taken so far."""


class Source(Protocol):
    """One way to read one instance. Built from a source plan; building it does no I/O."""

    def list_databases(self) -> list[str]:
        """Names of the databases that could be backed up, sorted. Raises SourceError."""

    def probe(self, database: str | None, reporter: Reporter) -> list[Check]:
        """Every check of *Test connection* in order; a failure of one never raises, later ones become skipped.

        Never changes anything at the source; never posts a guessed password.
        """

    def write_archive(self, plan: BackupPlan, sink: Sink, reporter: Reporter) -> SourceFacts:
        """Write one complete archive in ``plan.format`` to the sink.

        Raises SourceError or ArchiveError for anything less than a whole archive, StoreError from the sink, TaskStopped.
        """
