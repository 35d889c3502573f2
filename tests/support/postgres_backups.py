"""Backups of a PostgreSQL server in tests: a plan, an archive on disk, and a reporter that stops when told."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.postgres import PostgresServer
from webapp.core.errors import TaskStopped
from webapp.core.plans import BackupPlan, PostgresPlan
from webapp.core.reports import SourceFacts
from webapp.core.status import ArchiveFormat, Content
from webapp.engine.report import SilentReporter
from webapp.engine.sources.postgres import PostgresSource


class FileSink:
    """A sink on disk."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "wb")  # noqa: SIM115 - closed by close()
        self._taken = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        self._taken += len(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self._taken

    def close(self) -> None:
        self._file.close()


class StoppingReporter(SilentReporter):
    """Stops the task when told, as the worker's reporter does: the actions run on another thread."""

    def __init__(self) -> None:
        super().__init__()
        self.stopped = False
        self._actions: list[Callable[[], None]] = []

    def check(self) -> None:
        if self.stopped:
            raise TaskStopped("Cancelled.")

    @contextmanager
    def on_stop(self, action: Callable[[], None]) -> Iterator[None]:
        self._actions.append(action)
        try:
            yield
        finally:
            self._actions.remove(action)

    def stop(self) -> None:
        self.stopped = True
        threads = [threading.Thread(target=action) for action in list(self._actions)]
        for thread in threads:
            thread.start()


@dataclass(frozen=True, slots=True)
class Backup:
    """A finished archive and what the source said about it."""

    path: Path
    facts: SourceFacts
    reporter: SilentReporter

    def names(self) -> list[str]:
        with zipfile.ZipFile(self.path) as archive:
            assert archive.testzip() is None
            return archive.namelist()

    def files(self) -> set[str]:
        return {name.removeprefix("filestore/") for name in self.names() if name.startswith("filestore/")}

    def read(self, name: str) -> bytes:
        with zipfile.ZipFile(self.path) as archive:
            return archive.read(name)

    def load(self, server: PostgresServer, database: str, scratch: Path) -> None:
        """Load the dump as strictly as psql can, into a new database."""
        script = scratch / "dump.sql"
        script.write_bytes(self.read("dump.sql"))
        script.chmod(0o644)
        server.create_database(database)
        server.load(script, database)


def backup_plan(source: PostgresPlan, database: str, **changes: Any) -> BackupPlan:
    """A plan for a zip with the filestore, with changes."""
    plan = BackupPlan(
        run_id=1,
        fence=1,
        attempt=1,
        instance_id=1,
        instance_name="Acme",
        instance_directory="1-acme",
        job_id=None,
        database=database,
        content=Content.DATABASE_AND_FILESTORE,
        format=ArchiveFormat.ZIP,
        source=source,
        store_directory="/nonexistent",
        started_at=datetime(2026, 11, 20, 3, 0, tzinfo=UTC),
    )
    return replace(plan, **changes)


def back_up(
    source: PostgresPlan,
    database: str,
    path: Path,
    *,
    reporter: SilentReporter | None = None,
    tools: Any = None,
    **changes: Any,
) -> Backup:
    """Write one archive to ``path``; whatever the source raises comes through."""
    told = reporter or SilentReporter()
    sink = FileSink(path)
    try:
        facts = PostgresSource(source, tools=tools).write_archive(backup_plan(source, database, **changes), sink, told)
    finally:
        sink.close()
    return Backup(path, facts, told)
