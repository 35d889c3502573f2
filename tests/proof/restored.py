"""Restores beside their source at the very snapshot of the backup, while others write to it all the time."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from tests.support.database_restores import Journal, databases, hashes, new_plan, replace_plan, take_archive
from tests.support.odoo_database import add_attachment, build_odoo_database
from tests.support.postgres import PostgresServer
from webapp.core.status import ArchiveFormat, Content
from webapp.engine.report import SilentReporter
from webapp.engine.restore.content import content_hashes, differences
from webapp.engine.restore.run import run

_NAMES = "SELECT DISTINCT store_fname FROM ir_attachment WHERE store_fname <> ''"


@dataclass
class Witness(SilentReporter):
    """Sees the source exactly as the backup does: it joins the snapshot that the backup has just exported."""

    server: PostgresServer
    database: str
    content: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        SilentReporter.__init__(self)

    def step(self, key: str, title: str, detail: str = "") -> None:
        """When the dump begins, the snapshot is there."""
        super().step(key, title, detail)
        if key != "dump":
            return
        (exported,) = os.listdir(self.server.directory / "data" / "pg_snapshots")
        with self.server.connect(self.database) as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            connection.execute(f"SET TRANSACTION SNAPSHOT '{exported}'".encode())
            # Sequences know no snapshots: pg_dump reads what they are at, which others move on meanwhile.
            self.content = content_hashes(connection, SilentReporter(), sequences=False)
            self.names = {name for (name,) in connection.execute(f"SELECT * FROM ({_NAMES}) n".encode())}


@contextmanager
def busy_writers(server: PostgresServer, database: str, filestore: Path, seed: int) -> Iterator[list[int]]:
    """Two sessions that insert, update, delete and add attachments while inside; yields how often each has."""
    done = [0, 0]
    stop = threading.Event()

    def write(number: int) -> None:
        source = random.Random(seed * 2 + number)
        with server.connect(database) as connection:
            while not stop.is_set():
                _one_change(connection, filestore, source)
                done[number] += 1

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        while not all(done):
            time.sleep(0.001)
        yield done
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _one_change(connection: psycopg.Connection[tuple[object, ...]], filestore: Path, source: random.Random) -> None:
    kind = source.randrange(4)
    if kind == 0:
        add_attachment(connection, filestore, source.randbytes(source.randint(1, 9000)), "busy")
    elif kind == 1:
        row = (f"subject {source.random()}", source.choice(("a\tb", "c\\d", "é\n🙂", None)))
        connection.execute("INSERT INTO mail_message (subject, body, message_type) VALUES (%s, %s, 'email')", row)
    elif kind == 2:
        connection.execute("UPDATE res_partner SET credit = %s WHERE id = %s", (source.random(), source.randint(1, 20)))
    else:
        connection.execute("DELETE FROM mail_message WHERE id = %s", (source.randint(1, 60),))


def restore_and_compare(source: PostgresServer, target: PostgresServer, directory: Path, number: int) -> list[str]:
    """One generated database: backed up while busy, restored in one of three ways, compared. What differs, in words."""
    random_ = random.Random(number)
    name = f"gen_{number}"
    built = build_odoo_database(
        source, name, directory / "source", rows=random_.randint(20, 120), files=random_.randint(1, 25), seed=number
    )
    way = ("new", "replace", "custom")[number % 3]
    witness = Witness(source, name)
    with busy_writers(source, name, built.filestore, number) as written:
        before = sum(written)
        shelved = take_archive(
            source.plan(directory / "source"),
            name,
            directory / f"archive-{number}",
            reporter=witness,
            format=ArchiveFormat.CUSTOM if way == "custom" else ArchiveFormat.ZIP,
            content=Content.DATABASE if way == "custom" else Content.DATABASE_AND_FILESTORE,
        )
        changes = sum(written) - before
    server = target.plan(directory / "target")
    if way == "replace":
        build_odoo_database(target, name, directory / "target", rows=5, files=2, seed=number + 1)
        run(replace_plan(shelved, server, name), Journal(), SilentReporter())
    else:
        run(new_plan(shelved, server, name, jobs=random_.randint(1, 3)), Journal(), SilentReporter())
    restored = hashes(target, name, sequences=False)
    wrong = [f"{name} ({way}): {table} differs" for table in differences(witness.content, restored)]
    wrong += [f"{name} ({way}): {table}'s sequence is behind" for table in _sequences_behind(target, name)]
    if not changes:
        wrong.append(f"{name}: nobody wrote during the backup, so it proves nothing")
    if way != "custom":
        wrong += [
            f"{name} ({way}): {line}"
            for line in _compare_files(witness.names, built.filestore, directory / "target" / name)
        ]
    for database in sorted(one for one in databases(target) if one.startswith(name)):
        target.drop_database(database)
    source.drop_database(name)
    for leftover in (directory / f"archive-{number}", *(directory / "target").glob("*")):
        shutil.rmtree(leftover)
    return wrong


def _sequences_behind(server: PostgresServer, database: str) -> list[str]:
    query = "SELECT coalesce(max(t.id), 0) > (SELECT last_value FROM {table}_id_seq) FROM {table} t"
    tables = ("ir_attachment", "mail_message", "res_partner")
    return [table for table in tables if server.rows(query.format(table=table), database) != [(False,)]]


def _compare_files(names: set[str], source: Path, restored: Path) -> list[str]:
    found = {str(path.relative_to(restored)) for path in restored.rglob("*") if path.is_file()}
    wrong = [f"{name} is missing" for name in sorted(names - found)]
    wrong += [f"{name} is there and should not" for name in sorted(found - names)]
    return wrong + [
        f"{name} differs" for name in sorted(names & found) if _sha256(source / name) != _sha256(restored / name)
    ]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
