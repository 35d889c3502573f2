"""Real archives of real databases, and plans to restore them; a journal that remembers, and strikes when told."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.support.postgres import PostgresServer
from tests.support.postgres_backups import backup_plan
from tests.support.restore_pieces import Shelved
from webapp.core.manifest import parse_manifest
from webapp.core.plans import PostgresPlan
from webapp.core.restore_plans import RestoreOptions, RestorePlan, TargetIdentity
from webapp.core.status import RestoreTarget
from webapp.engine import backup
from webapp.engine.pgconnect import open_access
from webapp.engine.report import Reporter, SilentReporter
from webapp.engine.restore.content import content_hashes
from webapp.engine.restore.databases import identity_of, restore_session
from webapp.engine.shelf import open_shelf
from webapp.engine.sources.postgres import PostgresSource


class Struck(BaseException):
    """The test ended the restore here, as a kill does: nothing of ours catches it."""


@dataclass
class Journal:
    """Remembers the entries as a database would; strikes at a step, before or after it was written down."""

    strike_at: str = ""
    before: bool = False
    entries: list[Mapping[str, Any]] = field(default_factory=list)

    def __call__(self, entry: Mapping[str, Any]) -> None:
        """Write down, durably as far as a test goes."""
        strikes = entry["step"] == self.strike_at
        if not (strikes and self.before):
            self.entries.append(json.loads(json.dumps(dict(entry))))
        if strikes:
            raise Struck(self.strike_at)

    @property
    def last(self) -> Mapping[str, Any]:
        """What whoever comes after finds."""
        return self.entries[-1] if self.entries else {}

    @property
    def steps(self) -> list[str]:
        """The steps, in order."""
        return [entry["step"] for entry in self.entries]


def take_archive(
    source: PostgresPlan, database: str, directory: Path, *, reporter: Reporter | None = None, **changes: Any
) -> Shelved:
    """Back the database up for real, into a store below the directory."""
    store = directory / "store"
    open_shelf(str(store), create=True)
    plan = backup_plan(source, database, store_directory=str(store), reserve_bytes=0, **changes)
    done = backup.run(plan, PostgresSource(source), reporter or SilentReporter())
    assert not done.quarantined, done.report
    return Shelved(str(store / done.relative_path), parse_manifest(json.loads(json.dumps(dict(done.manifest)))))


def new_plan(shelved: Shelved, server: PostgresPlan, database: str, **changes: Any) -> RestorePlan:
    """Restore to a new database."""
    return _plan(shelved, RestoreTarget.NEW_DATABASE, server, database, **changes)


def replace_plan(shelved: Shelved, server: PostgresPlan, database: str, **changes: Any) -> RestorePlan:
    """Replace a database, whose identity is asked now, as the check does."""
    changes.setdefault("identity", identity(server, database))
    return _plan(shelved, RestoreTarget.REPLACE, server, database, kept_name=f"{database}__before", **changes)


def _plan(shelved: Shelved, target: RestoreTarget, server: PostgresPlan, database: str, **changes: Any) -> RestorePlan:
    return shelved.plan(
        target, server=server, database=database, temporary_name=f"{database}__restoring_418_1", **changes
    )


def identity(server: PostgresPlan, database: str) -> TargetIdentity:
    """Server and database as they are now."""
    reporter = SilentReporter()
    with (
        open_access(server, reporter) as access,
        restore_session(access, server.maintenance_database, reporter) as connection,
    ):
        return identity_of(connection, access.place, database)


def with_journal(plan: RestorePlan, journal: Journal) -> RestorePlan:
    """The plan as whoever settles gets it."""
    return replace(plan, journal=journal.last)


def hashes(server: PostgresServer, database: str, *, sequences: bool = True) -> dict[str, str]:
    """Content of a database that nobody writes to."""
    with server.connect(database) as connection, connection.transaction():
        return content_hashes(connection, SilentReporter(), sequences=sequences)


def databases(server: PostgresServer) -> set[str]:
    """Every database but the server's own."""
    return {name for (name,) in server.rows("SELECT datname FROM pg_database WHERE datname !~ '^(template|postgres)'")}


def files_below(directory: Path) -> dict[str, bytes]:
    """Every file with its content."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def in_child_until_killed(work: Callable[[], None]) -> int:
    """Do it in a forked child; its exit code, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


OPTIONS = RestoreOptions()
