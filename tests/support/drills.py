"""Drills in tests: archives made by our own source or written by hand, with the manifest that belongs to them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.archives import MOMENT, MemorySink
from tests.support.odoo_database import OdooDatabase
from tests.support.odoo_zip import manifest_json
from tests.support.postgres import PostgresServer
from tests.support.postgres_backups import back_up
from webapp.core.manifest import Manifest
from webapp.core.reports import Check, SourceFacts
from webapp.core.restore_plans import DrillPlan, DrillReport
from webapp.core.status import ArchiveFormat, Content
from webapp.engine.archive.zip_writer import ZipWriter
from webapp.engine.drill.cluster import ADMIN, Cluster, create_database, new_name, open_cluster
from webapp.engine.drill.dump_head import read_head
from webapp.engine.drill.dump_reader import DumpReader
from webapp.engine.drill.load import Loader, LoadReport
from webapp.engine.drill.programs import find_servers
from webapp.engine.report import SilentReporter

HEAD = (
    "--\n-- PostgreSQL database dump\n--\n\n\\restrict Zk3v0examp1e\n\n-- Dumped from database version 15.18\n"
    "-- Dumped by pg_dump version 15.18\n\nSET statement_timeout = 0;\nSET client_encoding = 'UTF8';\n"
    "SET standard_conforming_strings = on;\nSELECT pg_catalog.set_config('search_path', '', false);\n\n"
)
TAIL = "\n--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict Zk3v0examp1e\n\n"


def manifest_of(path: Path, facts: SourceFacts, **changes: Any) -> Manifest:
    """The side-car that a backup of these facts has."""
    data = path.read_bytes()
    made = Manifest(
        run_id=1,
        fence=1,
        attempt=1,
        job_id=None,
        instance_id=1,
        instance_name="Acme",
        database="prod",
        is_odoo=facts.attachment_count is not None,
        has_filestore=facts.attachment_count is not None,
        content=Content.DATABASE_AND_FILESTORE,
        archive_format=ArchiveFormat.ZIP,
        file_name=path.name,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        started_at=facts.snapshot_at,
        snapshot_at=facts.snapshot_at,
        holdfast_version="0.1.0",
        dump_bytes=facts.dump_bytes,
        attachment_count=facts.attachment_count,
        missing_attachments=facts.missing_attachments,
        missing_attachment_count=facts.missing_attachment_count,
        table_rows=facts.table_rows,
        versions=facts.versions,
    )
    return replace(made, **changes)


def plan_of(path: Path, manifest: Manifest, directory: Path, **changes: Any) -> DrillPlan:
    """A drill of the archive, with clusters in ``directory``."""
    made = DrillPlan(
        task_id=7,
        fence=1,
        archive_path=str(path),
        archive_format=manifest.archive_format,
        manifest=manifest,
        directory=str(directory),
        taken_at=manifest.snapshot_at,
        reserve_bytes=0,
    )
    return replace(made, **changes)


def backed_up(
    server: PostgresServer, database: OdooDatabase, path: Path, *, archive_format: ArchiveFormat = ArchiveFormat.ZIP
) -> Manifest:
    """Back the database up to ``path`` as a run does, a zip with its filestore if it has one; its manifest."""
    with_files = archive_format is ArchiveFormat.ZIP and bool(database.names)
    content = Content.DATABASE_AND_FILESTORE if with_files else Content.DATABASE
    source = server.plan(database.filestore if with_files else None)
    backup = back_up(source, database.name, path, format=archive_format, content=content)
    return manifest_of(
        path, backup.facts, archive_format=archive_format, has_filestore=with_files, database=database.name
    )


def written_zip(path: Path, dump: str, *, files: Mapping[str, bytes] | None = None, odoo: bool = False) -> Manifest:
    """A zip with this dump (between the head and tail of every dump), and the manifest of an untold number of rows."""
    sink = MemorySink()
    with ZipWriter(sink, modified_at=MOMENT, reporter=SilentReporter()) as writer:
        writer.add_stream("dump.sql", [(HEAD + dump + TAIL).encode()])
        writer.add_bytes("manifest.json", manifest_json("prod"))
        for name, content in (files or {}).items():
            writer.add_bytes(f"filestore/{name}", content)
    path.write_bytes(sink.data)
    facts = SourceFacts(snapshot_at=datetime(2026, 11, 22, 2, 30, tzinfo=UTC).isoformat())
    return manifest_of(path, facts, is_odoo=odoo, has_filestore=odoo)


@contextmanager
def scratch_cluster(directory: Path) -> Iterator[Cluster]:
    """A cluster for many loads, of the newest PostgreSQL that is here."""
    newest = max(find_servers(), key=lambda server: server.major)
    reporter = SilentReporter()
    with open_cluster(
        newest, str(directory), new_name(1, 1), database="prod", reserve_bytes=0, reporter=reporter
    ) as cluster:
        yield cluster


def empty_database(cluster: Cluster) -> None:
    """Its database, made anew."""
    with cluster.connect(ADMIN, database="template1") as session:
        session.execute("DROP DATABASE IF EXISTS prod WITH (FORCE)")
    create_database(cluster, "UTF8")


def load_dump(cluster: Cluster, dump: str) -> LoadReport:
    """Load this, between the head and tail of every dump, as a drill does."""
    data = (HEAD + dump + TAIL).encode()
    reader = DumpReader(data[start : start + 500] for start in range(0, len(data), 500))
    return Loader(cluster, read_head(reader), reader, jobs=2, reporter=SilentReporter()).load()


def answers(report: DrillReport) -> dict[str, Check]:
    """The checks by their keys."""
    return {check.key: check for check in report.checks}
