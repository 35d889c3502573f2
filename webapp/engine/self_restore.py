"""Putting a self-backup back: the database into an empty place, the keys into their file."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Sequence

from webapp.core.errors import StoreError
from webapp.core.plans import PostgresPlan
from webapp.engine.disk import disk_error
from webapp.engine.durable import sync_directory, sync_file, write_durably
from webapp.engine.pgconnect import open_access, session
from webapp.engine.pgtools import choose
from webapp.engine.process import run
from webapp.engine.report import Reporter
from webapp.engine.self_backup import SelfCopy, count_sqlite_rows

RESTORE_SECONDS = 3600.0


def put_back_sqlite(copy: SelfCopy, target: str) -> None:
    """The copy takes the database file's place in one rename; nobody may have that open. Raises StoreError."""
    beside = f"{target}.recovered"
    try:
        shutil.copyfile(copy.database_path, beside)
        os.chmod(beside, 0o600)
        sync_file(beside)
        count_sqlite_rows(beside)
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{target}{suffix}")
        os.rename(beside, target)
        sync_directory(os.path.dirname(target))
        with contextlib.closing(sqlite3.connect(target)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
    except OSError as error:
        raise disk_error(error, "put the database back") from error


def put_back_postgres(copy: SelfCopy, server: PostgresPlan, database: str, reporter: Reporter) -> None:
    """Load the copy in one transaction, in place of the empty tables that are there. Raises SourceError, StoreError."""
    with open_access(server, reporter) as access:
        with session(access, database, reporter) as connection:
            tools = choose(connection.info.server_version)
        environment = access.environment(database)
        argv = [tools.program("pg_restore"), "--no-password", "--no-owner", "--no-privileges", "--exit-on-error"]
        # The database's name comes by the environment; an empty -d takes it from there, and any name is safe so.
        argv += ["--single-transaction", "--clean", "--if-exists", "--dbname=", copy.database_path]
        finished = run(argv, env=environment, timeout_seconds=RESTORE_SECONDS, reporter=reporter)
    if finished.returncode != 0:
        said = finished.stderr_tail.splitlines()[-1:] or ["it said nothing"]
        raise StoreError(f"The self-backup could not be loaded: {said[0]}", hint="Nothing was changed.")


def put_keys_back(path: str, keys: Sequence[str]) -> None:
    """The recovered keys come first; one that is there already stays behind them, so that it still opens what it sealed."""
    present: list[str] = []
    with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
        present = [key.strip() for key in file.read().replace("\n", ",").split(",") if key.strip()]
    wanted = [*keys, *(key for key in present if key not in keys)]
    try:
        write_durably(path, ("\n".join(wanted) + "\n").encode())
    except OSError as error:
        raise disk_error(error, "write the vault's keys") from error
