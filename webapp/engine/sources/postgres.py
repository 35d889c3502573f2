"""PostgresSource: pg_dump and, for Odoo, the filestore, of one moment, in one stream.

The order is the point. (1) Odoo's vacuum is held off, (2) the snapshot is taken, (3) pg_dump writes that snapshot while its
rows are counted, (4) the files it refers to are packed. Odoo writes a file before it commits the row, so every file that the
snapshot knows is there by (4), and (1) keeps it there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from webapp.core.errors import SourceError
from webapp.core.plans import BackupPlan, PostgresPlan
from webapp.core.reports import Check, SourceFacts
from webapp.core.status import ArchiveFormat, Content, ErrorCode
from webapp.engine.archive.zip_writer import ZipWriter
from webapp.engine.pgconnect import Access, open_access, session
from webapp.engine.pgdump import dump
from webapp.engine.pgsnapshot import Snapshot, counting, open_snapshot
from webapp.engine.pgtools import PgTools, choose, version_text
from webapp.engine.report import Reporter, SilentReporter
from webapp.engine.sources.base import Sink
from webapp.engine.sources.filestore import Filestore, Tally, needs_filestore
from webapp.engine.sources.filestores import filestore_of
from webapp.engine.sources.odoo_manifest import odoo_manifest, odoo_series, plain_manifest
from webapp.engine.sources.postgres_probe import probe

_DATABASES = """
SELECT datname FROM pg_database
WHERE datallowconn AND NOT datistemplate AND datname <> 'postgres' AND has_database_privilege(oid, 'CONNECT')
ORDER BY datname
"""


class PostgresSource:
    """A PostgreSQL server, with the filestore of its Odoo databases where there is one. See the promise in base.Source."""

    def __init__(self, plan: PostgresPlan, *, tools: Sequence[PgTools] | None = None) -> None:
        self._plan = plan
        self._tools = tools

    def list_databases(self) -> list[str]:
        """See Source. Templates and PostgreSQL's own maintenance database are left out."""
        reporter = SilentReporter()
        with (
            open_access(self._plan, reporter) as access,
            session(access, self._plan.maintenance_database, reporter) as connection,
        ):
            return sorted(row[0] for row in connection.execute(_DATABASES))

    def probe(self, database: str | None, reporter: Reporter) -> list[Check]:
        """See Source."""
        return probe(self._plan, database, reporter, tools=self._tools)

    def write_archive(self, plan: BackupPlan, sink: Sink, reporter: Reporter) -> SourceFacts:
        """See Source."""
        if plan.format is ArchiveFormat.CUSTOM and plan.content is not Content.DATABASE:
            raise SourceError(
                "The custom format holds a database only, not a filestore.",
                hint="Choose format zip, or content database only.",
                code=ErrorCode.INVALID_CONFIGURATION,
                permanent=True,
            )
        reporter.step("connect", "Connect and check")
        with_files = plan.content is Content.DATABASE_AND_FILESTORE
        with (
            open_access(self._plan, reporter) as access,
            open_snapshot(
                access, plan.database, guard=with_files and self._plan.is_odoo, reporter=reporter
            ) as snapshot,
        ):
            return self._begin(plan, access, snapshot).write(sink, reporter)

    def _begin(self, plan: BackupPlan, access: Access, snapshot: Snapshot) -> _Writing:
        tools = choose(snapshot.server_version_num, self._tools)
        odoo = snapshot.is_odoo and self._plan.is_odoo
        filestore = None
        if plan.content is Content.DATABASE_AND_FILESTORE and self._plan.is_odoo:
            if not odoo:
                raise SourceError(
                    f"Database {plan.database[:63]!r} is not one of Odoo's: it has no ir_module_module or ir_attachment.",
                    hint="Leave it out of the job, or choose content database only.",
                    code=ErrorCode.INVALID_CONFIGURATION,
                    permanent=True,
                )
            if needs_filestore(self._plan.filestore):
                filestore = filestore_of(self._plan.filestore, plan.database)
        return _Writing(plan, access, snapshot, tools, odoo, filestore)


@dataclass(frozen=True, slots=True)
class _Writing:
    """One archive in the making."""

    plan: BackupPlan
    access: Access
    snapshot: Snapshot
    tools: PgTools
    odoo: bool
    filestore: Filestore | None

    def write(self, sink: Sink, reporter: Reporter) -> SourceFacts:
        files, file_bytes = self._require_filestore(reporter)
        facts = self._first_facts(files, reporter)
        if self.plan.format is ArchiveFormat.CUSTOM:
            return self._write_custom(facts, sink, reporter)
        tally = Tally()
        with ZipWriter(
            sink,
            threads=self.plan.compression_threads,
            modified_at=self.plan.started_at,
            reporter=reporter,
            on_result=tally.take,
        ) as writer:
            facts = self._write_dump(facts, writer, reporter)
            writer.add_bytes("manifest.json", self._manifest())
            if files and self.filestore is not None:
                reporter.step("filestore", "Copy filestore")
                names = self._reported(tally.usable(self.snapshot.stored_names()), tally, file_bytes, reporter)
                self.filestore.copy(names, writer, tally, reporter)
                writer.drain()
        return self._with_files(facts, tally, reporter)

    def _require_filestore(self, reporter: Reporter) -> tuple[int, int]:
        """How many files of how many bytes are to be packed; an unusable filestore is said before hours of dumping."""
        if not self.odoo:
            return 0, 0
        files, file_bytes = self.snapshot.attachment_totals()
        if files and self.plan.content is Content.DATABASE_AND_FILESTORE:
            if self.filestore is None:
                raise SourceError(
                    f"Database {self.plan.database[:63]!r} refers to {files} files, and the instance has no filestore set.",
                    hint="Set the filestore's path in the instance, or choose content database only.",
                    code=ErrorCode.FILESTORE_UNREADABLE,
                    permanent=True,
                )
            reporter.log(f"Filestore: {self.filestore.locate(reporter)}")
        return files, file_bytes

    def _first_facts(self, files: int, reporter: Reporter) -> SourceFacts:
        versions = {"postgresql": version_text(self.snapshot.server_version_num), "pg_dump": self.tools.version}
        if self.odoo and (series := odoo_series(self.snapshot.installed_modules())):
            versions["odoo"] = series
        reporter.log(", ".join(f"{name} {version}" for name, version in versions.items()))
        warnings: tuple[tuple[ErrorCode, str], ...] = ()
        if self.snapshot.guard_refusal and self.filestore is not None:
            sentence = (
                "Odoo's vacuum could not be held off while the files are copied"
                f" ({self.snapshot.guard_refusal}); the role needs the right to INSERT into ir_attachment."
            )
            reporter.warn(ErrorCode.FILESTORE_UNLOCKED, sentence)
            warnings = ((ErrorCode.FILESTORE_UNLOCKED, sentence),)
        return SourceFacts(
            snapshot_at=self.snapshot.taken_at,
            attachment_count=files if self.odoo else None,
            versions=versions,
            warnings=warnings,
        )

    def _write_dump(self, facts: SourceFacts, writer: ZipWriter, reporter: Reporter) -> SourceFacts:
        reporter.step("dump", "Dump database")
        with counting(self.snapshot, reporter) as counts:
            with dump(self.snapshot, self.tools, ArchiveFormat.ZIP, reporter) as chunks:
                result = writer.add_stream("dump.sql", _counted(chunks, reporter))
            return replace(facts, table_rows=counts.result(), dump_bytes=result.size)

    def _write_custom(self, facts: SourceFacts, sink: Sink, reporter: Reporter) -> SourceFacts:
        reporter.step("dump", "Dump database")
        with counting(self.snapshot, reporter) as counts:
            with dump(self.snapshot, self.tools, ArchiveFormat.CUSTOM, reporter) as chunks:
                for chunk in _counted(chunks, reporter):
                    sink.write(chunk)
            return replace(facts, table_rows=counts.result())

    def _manifest(self) -> bytes:
        version = self.snapshot.server_version_num
        if not self.odoo:
            return plain_manifest(self.plan.database, version)
        return odoo_manifest(self.plan.database, version, self.snapshot.installed_modules())

    @staticmethod
    def _reported(names: Iterator[str], tally: Tally, total: int, reporter: Reporter) -> Iterator[str]:
        for name in names:
            yield name
            done = tally.packed_bytes
            reporter.progress(done, total if 0 < done <= total else None, "bytes", f"{tally.packed} files")

    def _with_files(self, facts: SourceFacts, tally: Tally, reporter: Reporter) -> SourceFacts:
        expected = tally.asked - tally.foreign
        if expected and not tally.packed:
            raise SourceError(
                f"None of the {expected} files that database {self.plan.database[:63]!r} refers to is in the filestore.",
                hint="The path leads to another database's filestore, or the disk is not mounted.",
                code=ErrorCode.FILESTORE_UNREADABLE,
                permanent=True,
            )
        for sentence in tally.sentences():
            reporter.warn(ErrorCode.ATTACHMENTS_MISSING, sentence)
        changes: dict[str, Any] = tally.facts(facts)
        return replace(facts, **changes)


def _counted(chunks: Iterator[bytes], reporter: Reporter) -> Iterator[bytes]:
    """The same chunks; progress in bytes, of an unknown total: a database's size on disk says little about its dump's."""
    done = 0
    for chunk in chunks:
        done += len(chunk)
        yield chunk
        reporter.progress(done)
