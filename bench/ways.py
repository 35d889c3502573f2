"""Ways to back up the same database and filestore: Odoo's own algorithm re-enacted, dump and tar, plain copies, and ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import zipfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from tests.support.odoo_database import OdooDatabase
from tests.support.postgres import PostgresServer
from webapp.core.plans import BackupPlan
from webapp.core.status import ArchiveFormat, Content, VerificationLevel
from webapp.engine import backup
from webapp.engine.memory import keep_memory_small
from webapp.engine.report import SilentReporter
from webapp.engine.shelf import open_shelf
from webapp.engine.sources.registry import build_source


@dataclass(frozen=True, slots=True)
class Workload:
    """What is backed up."""

    server: PostgresServer
    database: OdooDatabase

    def program(self, name: str) -> str:
        """A PostgreSQL client program of the server's own version."""
        return str(self.server.binaries / name)

    @property
    def environment(self) -> dict[str, str]:
        """Environment for client programs."""
        return {**os.environ, **self.server.environment(self.database.name)}


def as_odoo_does(work: Workload, directory: Path) -> None:
    """Copy the filestore, dump beside it, zip all with level 6 on one thread into a temporary file, send it."""
    with tempfile.TemporaryDirectory(dir=directory) as name:
        temporary = Path(name)
        shutil.copytree(work.database.filestore, temporary / "filestore")
        (temporary / "manifest.json").write_text(json.dumps({"odoo_dump": "1", "db_name": work.database.name}))
        dump = temporary / "dump.sql"
        command = [work.program("pg_dump"), "--no-owner", f"--file={dump}"]
        subprocess.run(command, env=work.environment, check=True)
        with tempfile.TemporaryFile(dir=directory) as spool:
            _zip_tree(temporary, spool)
            spool.seek(0)
            with (directory / "backup.zip").open("wb") as out:
                shutil.copyfileobj(spool, out, 65536)


def _zip_tree(root: Path, spool: object) -> None:
    with zipfile.ZipFile(spool, "w", compression=zipfile.ZIP_DEFLATED, allowZip64=True) as archive:  # type: ignore[call-overload]
        for path in sorted(root.rglob("*"), key=lambda p: (p.name != "dump.sql", str(p))):
            if path.is_file():
                archive.write(path, path.relative_to(root))


def as_dump_and_tar(work: Workload, directory: Path) -> None:
    """pg_dump's custom format, and a tar.gz of the filestore."""
    command = [work.program("pg_dump"), "-Fc", f"--file={directory / 'db.dump'}"]
    subprocess.run(command, env=work.environment, check=True)
    store = work.database.filestore
    subprocess.run(["tar", "-C", str(store.parent), "-czf", str(directory / "files.tar.gz"), store.name], check=True)


def as_plain_copy(work: Workload, directory: Path) -> None:
    """The limit: the dump written as it comes and the files copied, nothing packed, nothing proved; synced as we sync."""
    with (directory / "dump.sql").open("wb") as out:
        subprocess.run([work.program("pg_dump"), "--no-owner"], env=work.environment, stdout=out, check=True)
    subprocess.run(["cp", "-r", str(work.database.filestore), str(directory / "filestore")], check=True)
    subprocess.run(["sync", "-f", str(directory)], check=True)


def as_we_do(work: Workload, directory: Path, level: VerificationLevel) -> None:
    """Our engine, whole, as a worker sets it up: snapshot, dump, files, digest, verification, fsync, manifest, rename."""
    keep_memory_small()
    open_shelf(str(directory / "store"), create=True)
    plan = our_plan(work, directory / "store", level)
    result = backup.run(plan, build_source(plan.source), SilentReporter())
    if result.quarantined or (result.report is not None and not result.report.passed):
        raise RuntimeError(f"our own archive failed its verification: {result.report}")


def our_plan(work: Workload, store: Path, level: VerificationLevel) -> BackupPlan:
    """The plan of our backup."""
    source = replace(work.server.plan(work.database.filestore.parent), is_odoo=True)
    return BackupPlan(
        run_id=1,
        fence=1,
        attempt=1,
        instance_id=1,
        instance_name="bench",
        instance_directory="1-bench",
        job_id=None,
        database=work.database.name,
        content=Content.DATABASE_AND_FILESTORE,
        format=ArchiveFormat.ZIP,
        source=source,
        store_directory=str(store),
        started_at=datetime.now(UTC),
        verification=level,
    )
