"""One backup of a source in memory, for tests; as a program (``python -m … STORE``) it can be killed at any system call."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from tests.support.archives import odoo_rows, odoo_zip
from webapp.core.plans import NO_SECRET, BackupPlan, FilestorePlan, PostgresPlan
from webapp.core.reports import Check, SourceFacts
from webapp.core.status import ArchiveFormat, Content, FilestoreKind
from webapp.engine import backup
from webapp.engine.report import Reporter, SilentReporter
from webapp.engine.sources.base import Sink

FILES = (b"one" * 500, b"two", bytes(range(256)) * 40)
STARTED = datetime(2026, 11, 22, 2, 30, 4, tzinfo=UTC)
FACTS = SourceFacts(snapshot_at=STARTED.isoformat(), table_rows=odoo_rows(FILES), attachment_count=3)


@dataclasses.dataclass
class MemorySource:
    """A Source that gives ``data``, then does ``afterwards``."""

    data: bytes = b""
    facts: SourceFacts = FACTS
    afterwards: Callable[[], None] = lambda: None

    def list_databases(self) -> list[str]:
        """One."""
        return ["prod"]

    def probe(self, database: str | None, reporter: Reporter) -> list[Check]:
        """Nothing to ask."""
        return []

    def write_archive(self, plan: BackupPlan, sink: Sink, reporter: Reporter) -> SourceFacts:
        """The bytes, in pieces."""
        reporter.step("dump", "Dump")
        data = self.data or odoo_zip(FILES)
        for start in range(0, len(data), 4096):
            reporter.check()
            sink.write(data[start : start + 4096])
        self.afterwards()
        return self.facts


def plan(store: str, **changes: object) -> BackupPlan:
    """A plan for run 418 of database prod with its filestore."""
    filestore = FilestorePlan(FilestoreKind.LOCAL, "/srv/filestore")
    made = BackupPlan(
        run_id=418,
        fence=1,
        attempt=1,
        instance_id=7,
        instance_name="acme",
        instance_directory="7-acme",
        job_id=3,
        database="prod",
        content=Content.DATABASE_AND_FILESTORE,
        format=ArchiveFormat.ZIP,
        source=PostgresPlan("db.example", 5432, "holdfast", NO_SECRET, filestore=filestore),
        store_directory=store,
        started_at=STARTED,
        reserve_bytes=0,
        labels={"job": "Nightly"},
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


if __name__ == "__main__":
    backup.run(plan(sys.argv[1]), MemorySource(), SilentReporter())
