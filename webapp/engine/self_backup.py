"""Copies of Holdfast's own database in the archive store, with its keys sealed: what is left when the machine is lost.

    <store>/self/20261122-011500_s31f1/holdfast.sqlite     the database (holdfast.dump: PostgreSQL's custom format)
    <store>/self/20261122-011500_s31f1/keys.sealed         the vault's keys, when a passphrase is set
    <store>/self/20261122-011500_s31f1/manifest.json       what it is, with digests

A copy appears whole or not at all, as archives do. It holds sealed secrets, never the key that opens them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from webapp.core.errors import ArchiveError, StoreError
from webapp.core.plans import PostgresPlan
from webapp.core.status import ArchiveFormat, ErrorCode
from webapp.engine.archive.digest import DigestingFile, file_digest
from webapp.engine.disk import disk_error
from webapp.engine.durable import make_directory, sync_directory, sync_file, write_durably
from webapp.engine.evidence import gather_evidence
from webapp.engine.expectation import Expectation
from webapp.engine.pgconnect import open_access, session
from webapp.engine.pgerrors import dump_failure
from webapp.engine.pgtools import choose
from webapp.engine.process import ProcessFailed, stream
from webapp.engine.report import Reporter, SilentReporter
from webapp.engine.shelf import SELF_BACKUPS

FORMAT = "holdfast-self-backup"
VERSION = 1
MANIFEST = "manifest.json"
KEYS = "keys.sealed"
SQLITE_NAME = "holdfast.sqlite"
DUMP_NAME = "holdfast.dump"
_DIRECTORY = re.compile(r"\d{8}-\d{6}_s\d{1,18}f\d{1,18}")
_WORKPLACE = re.compile(r"\.new-\d{1,18}-\d{1,18}")
_MANIFEST_BYTES = 1024 * 1024
_LOCK_SECONDS = 30


@dataclass(frozen=True, slots=True)
class SelfBackupPlan:
    """One copy.

    Attributes:
        store_directory: Root of the archive store, which must carry its sentinel (the caller looked).
        name: The directory's name (``self_backup_name``).
        sqlite_path: The database file, or "" when ``server`` and ``database`` say where it is.
        revision: The migration that the database is at.
        key_id: Tells which vault key belongs to it, without telling the key.
        sealed_keys: What goes into ``keys.sealed``; "" for none.
    """

    store_directory: str
    task_id: int
    fence: int
    name: str
    taken_at: str
    revision: str
    holdfast_version: str
    key_id: str
    sqlite_path: str = ""
    server: PostgresPlan | None = None
    database: str = ""
    sealed_keys: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfManifest:
    """``manifest.json`` of a self-backup. ``keys_sha256`` is "" when there is no ``keys.sealed``."""

    taken_at: str
    holdfast_version: str
    revision: str
    kind: str
    file_name: str
    size_bytes: int
    sha256: str
    key_id: str
    keys_sha256: str = ""
    rows: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SelfCopy:
    """A self-backup as it lies on disk; ``directory`` is absolute, ``name`` its own name."""

    directory: str
    name: str
    manifest: SelfManifest

    @property
    def database_path(self) -> str:
        """The copy of the database."""
        return os.path.join(self.directory, self.manifest.file_name)

    def sealed_keys(self) -> str:
        """The content of ``keys.sealed``, "" when there is none. Raises ArchiveError when it is not as written."""
        if not self.manifest.keys_sha256:
            return ""
        path = os.path.join(self.directory, KEYS)
        if _digest(path)[1] != self.manifest.keys_sha256:
            raise ArchiveError(f"{path} is not as it was written.", code=ErrorCode.CORRUPT)
        with open(path, encoding="utf-8") as file:
            return file.read()


def self_backup_name(stamp: str, task_id: int, fence: int) -> str:
    """E.g. "20261122-011500_s31f1"; ``stamp`` is UTC, so names sort by age."""
    return f"{stamp}_s{task_id}f{fence}"


def write_self_backup(plan: SelfBackupPlan, reporter: Reporter) -> SelfCopy:
    """Copy, prove the copy by opening it, put it in its place. Raises StoreError, SourceError, ArchiveError, TaskStopped."""
    base = os.path.join(plan.store_directory, SELF_BACKUPS)
    work = os.path.join(base, f".new-{plan.task_id}-{plan.fence}")
    try:
        make_directory(base)
        _clear_workplaces(base)
        os.mkdir(work, 0o700)
        manifest = _written(plan, work, reporter)
        reporter.check()
        target = os.path.join(base, plan.name)
        os.rename(work, target)
        sync_directory(base)
    except OSError as error:
        raise disk_error(error, "write the self-backup") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return SelfCopy(target, plan.name, manifest)


def _written(plan: SelfBackupPlan, work: str, reporter: Reporter) -> SelfManifest:
    reporter.step("copy", "Copy", "The database as it is now")
    name = SQLITE_NAME if plan.sqlite_path else DUMP_NAME
    path = os.path.join(work, name)
    if plan.sqlite_path:
        _copy_sqlite(plan.sqlite_path, path)
    else:
        _dump(plan, path, reporter)
    reporter.step("verify", "Verify", "The copy is opened and read")
    rows = count_sqlite_rows(path) if plan.sqlite_path else _count_dumped_rows(path, plan.database, reporter)
    sync_file(path)
    size, digest = _digest(path)
    if plan.sealed_keys:
        write_durably(os.path.join(work, KEYS), plan.sealed_keys.encode())
    manifest = SelfManifest(
        taken_at=plan.taken_at,
        holdfast_version=plan.holdfast_version,
        revision=plan.revision,
        kind="sqlite" if plan.sqlite_path else "postgresql",
        file_name=name,
        size_bytes=size,
        sha256=digest,
        key_id=plan.key_id,
        keys_sha256=_digest(os.path.join(work, KEYS))[1] if plan.sealed_keys else "",
        rows=rows,
    )
    text = json.dumps({"format": FORMAT, "version": VERSION, **asdict(manifest)}, indent=1)
    write_durably(os.path.join(work, MANIFEST), text.encode())
    return manifest


def _copy_sqlite(source_path: str, target_path: str) -> None:
    """SQLite's online backup in one step: it waits for no writer, and none waits for it (WAL)."""
    os.close(os.open(target_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    try:
        with (
            contextlib.closing(sqlite3.connect(source_path, timeout=_LOCK_SECONDS)) as source,
            contextlib.closing(sqlite3.connect(target_path)) as target,
        ):
            source.backup(target)
            # The copy is one file: without this, opening it would want a journal beside it.
            target.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise StoreError(f"Holdfast's own database could not be copied: {error}.") from error


def count_sqlite_rows(path: str) -> dict[str, int]:
    """Rows per table of a whole SQLite database. Raises ArchiveError for one that is damaged or has no tables."""
    uri = f"file:{path.replace('%', '%25').replace('?', '%3f').replace('#', '%23')}?mode=ro&immutable=1"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as copy:
            found = copy.execute("PRAGMA integrity_check").fetchall()
            if found != [("ok",)]:
                raise _damaged(f"SQLite finds it damaged: {found[0][0]}")
            names = [name for (name,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            quoted = {name: name.replace('"', '""') for name in names if not name.startswith("sqlite_")}
            rows = {n: copy.execute(f'SELECT count(*) FROM "{q}"').fetchone()[0] for n, q in quoted.items()}  # noqa: S608
    except sqlite3.Error as error:
        raise _damaged(str(error)) from error
    if not rows.get("alembic_version"):
        raise _damaged("it holds no tables of Holdfast")
    return rows


def _damaged(why: str) -> ArchiveError:
    return ArchiveError(f"The copy of Holdfast's database cannot be used: {why}.", code=ErrorCode.CORRUPT)


def _dump(plan: SelfBackupPlan, path: str, reporter: Reporter) -> None:
    assert plan.server is not None  # one of the two is set
    with open_access(plan.server, reporter) as access:
        with session(access, plan.database, reporter) as connection:
            tools = choose(connection.info.server_version)
        argv = [tools.program("pg_dump"), "--no-password", "--no-owner", "--no-privileges", "--format=custom"]
        try:
            with (
                DigestingFile(path) as sink,
                stream(argv, env=access.environment(plan.database), reporter=reporter) as chunks,
            ):
                for chunk in chunks:
                    sink.write(chunk)
        except ProcessFailed as error:
            raise dump_failure(error, plan.database) from error


def _count_dumped_rows(path: str, database: str, reporter: Reporter) -> dict[str, int]:
    wanted = Expectation(
        archive_format=ArchiveFormat.CUSTOM, database=database, is_odoo=False, has_filestore=False, own_snapshot=True
    )
    evidence = gather_evidence(path, wanted, look_inside=True, from_disk=False, threads=1, reporter=reporter)
    if evidence.damage is not None:
        raise evidence.damage
    dump = evidence.dump
    if dump is None or not dump.complete or not dump.rows.get("public.alembic_version"):
        raise _damaged("its end, or a table of Holdfast, is missing")
    return {name.removeprefix("public."): count for name, count in dump.rows.items()}


def list_self_backups(store_directory: str) -> list[SelfCopy]:
    """All copies that have a manifest, the newest first; their content is not read."""
    base = os.path.join(store_directory, SELF_BACKUPS)
    try:
        names = sorted((name for name in os.listdir(base) if _DIRECTORY.fullmatch(name)), reverse=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise disk_error(error, "list the self-backups") from error
    found = (read_self_backup(os.path.join(base, name)) for name in names)
    return [copy for copy in found if copy is not None]


def read_self_backup(directory: str) -> SelfCopy | None:
    """The copy in a directory, None when that holds none whose manifest can be read."""
    known = {item.name for item in fields(SelfManifest)}
    try:
        with open(os.path.join(directory, MANIFEST), encoding="utf-8") as file:
            data: Any = json.loads(file.read(_MANIFEST_BYTES))
        if data["format"] != FORMAT or data["version"] != VERSION or "/" in data["file_name"]:
            return None
        manifest = SelfManifest(**{key: value for key, value in data.items() if key in known})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return SelfCopy(directory, os.path.basename(directory), manifest)


def prove_self_backup(copy: SelfCopy, reporter: Reporter) -> None:
    """The copy is what was written, and opens. Raises ArchiveError, StoreError."""
    size, digest = _digest(copy.database_path)
    if (size, digest) != (copy.manifest.size_bytes, copy.manifest.sha256):
        raise _damaged("it is not as it was written")
    if copy.manifest.kind == "sqlite":
        rows = count_sqlite_rows(copy.database_path)
    else:
        rows = _count_dumped_rows(copy.database_path, "holdfast", reporter)
    if rows != dict(copy.manifest.rows):
        raise _damaged("its tables do not have the rows that were counted")
    copy.sealed_keys()


def drop_old_self_backups(store_directory: str, keep: int) -> list[str]:
    """Keep the newest ``keep`` (at least one); returns the names of those deleted."""
    doomed = list_self_backups(store_directory)[max(1, keep) :]
    try:
        for copy in doomed:
            shutil.rmtree(copy.directory)
    except OSError as error:
        raise disk_error(error, "delete an old self-backup") from error
    return [copy.name for copy in doomed]


def _clear_workplaces(base: str) -> None:
    """What a killed worker left; at most one self-backup is at work at a time."""
    for name in os.listdir(base):
        if _WORKPLACE.fullmatch(name):
            shutil.rmtree(os.path.join(base, name), ignore_errors=True)


def _digest(path: str) -> tuple[int, str]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return file_digest(descriptor, SilentReporter())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise disk_error(error, "read the self-backup") from error
