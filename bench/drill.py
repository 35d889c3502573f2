"""`make bench-drill`: a whole restore drill of an Odoo zip beside bare loads of the same database into default clusters.

The drill is everything: its cluster made and removed, every byte of the archive read and digested, every statement loaded,
every table counted, every attachment compared. The others only load, into a cluster with PostgreSQL's default settings that is
there already: ``psql < dump.sql`` from a plain file, and ``pg_restore -j2`` of a custom dump.

Sizes: ``BENCH_DB_MB`` (plain dump, default 1000), ``BENCH_FILES_MB`` (filestore, default 300), ``BENCH_ROUNDS`` (default 3; the
medians count). The ratios go to ``bench/results/drill.json``.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from tests.support.drills import backed_up, plan_of
from tests.support.odoo_database import build_odoo_database
from tests.support.postgres import PostgresServer, running_server, server_directories
from webapp.core.manifest import Manifest
from webapp.core.restore_plans import DrillReport
from webapp.core.status import ArchiveFormat
from webapp.engine.drill.cage import Strength
from webapp.engine.drill.run import run
from webapp.engine.memory import keep_memory_small
from webapp.engine.report import SilentReporter

RESULTS = Path(__file__).parent / "results" / "drill.json"
BYTES_PER_ROW = 1000
MEDIAN_FILE = 28_000
MEAN_FILE = 75_000
# What a new cluster has where nobody changed anything (tests/support/postgres.py changes these).
DEFAULTS = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "wal_level": "replica",
    "max_wal_senders": "10",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
}
# Odoo 18 makes these on the same columns (mail.message, res.partner, ir.attachment); a restore builds them all.
INDEXES = """
CREATE INDEX mail_message_date_index ON mail_message (date);
CREATE INDEX mail_message_author_id_index ON mail_message (author_id);
CREATE INDEX mail_message_message_id_index ON mail_message (message_id);
CREATE INDEX mail_message_model_res_id_id_idx ON mail_message (model, res_id, id);
CREATE INDEX res_partner_name_index ON res_partner (name);
CREATE INDEX res_partner_parent_id_index ON res_partner (parent_id);
CREATE INDEX res_partner_email_index ON res_partner USING gin (email gin_trgm_ops);
CREATE INDEX ir_attachment_checksum_index ON ir_attachment (checksum);
CREATE INDEX ir_attachment_res_idx ON ir_attachment (res_model, res_id);
"""


@dataclass(frozen=True, slots=True)
class Workload:
    """The same database three times."""

    archive: Path
    manifest: Manifest
    dump: Path
    custom: Path


def main() -> None:
    """Build, measure, compare, write."""
    db_mb, files_mb = int(os.environ.get("BENCH_DB_MB", "1000")), int(os.environ.get("BENCH_FILES_MB", "300"))
    rounds = int(os.environ.get("BENCH_ROUNDS", "3"))
    keep_memory_small()
    place = Path(tempfile.mkdtemp(prefix="holdfast-bench-", dir=os.environ.get("BENCH_DIR")))
    place.chmod(0o755)
    try:
        work = build(place, db_mb, files_mb)
        with running_server(settings=DEFAULTS) as server:
            times, report = measure(work, server, place, rounds)
    finally:
        shutil.rmtree(place)
    write(times, report, data={"database_mb": db_mb, "filestore_mb": files_mb, "rounds": rounds})


def build(place: Path, db_mb: int, files_mb: int) -> Workload:
    """An Odoo-shaped database as Holdfast's zip, as a plain dump and as a custom dump."""
    print(f"building {db_mb} MB database, {files_mb} MB filestore …", flush=True)
    rows, files = db_mb * 1_000_000 // BYTES_PER_ROW, files_mb * 1_000_000 // MEAN_FILE
    work = Workload(place / "prod.zip", None, place / "dump.sql", place / "prod.dump")  # type: ignore[arg-type]
    with running_server() as server:
        database = build_odoo_database(
            server, "prod", place / "filestore", rows=rows, files=files, median_file_bytes=MEDIAN_FILE
        )
        server.execute(INDEXES, "prod")
        manifest = backed_up(server, database, work.archive)
        backed_up(server, database, work.custom, archive_format=ArchiveFormat.CUSTOM)
    with zipfile.ZipFile(work.archive) as archive:
        archive.extract("dump.sql", place)
    for path in (work.dump, work.custom):
        path.chmod(0o644)
    return Workload(work.archive, manifest, work.dump, work.custom)


def measure(
    work: Workload, server: PostgresServer, place: Path, rounds: int
) -> tuple[dict[str, list[float]], DrillReport]:
    """Each way ``rounds`` times, in turn; the page cache is warm for all."""
    times: dict[str, list[float]] = {"drill": [], "psql_default": [], "pg_restore_j2": []}
    report = None
    for number in range(rounds):
        server.create_database("plain")
        times["psql_default"].append(timed("psql < dump.sql", lambda: load_plain(server, work)))
        server.drop_database("plain")
        server.create_database("custom")
        times["pg_restore_j2"].append(timed("pg_restore -j2", lambda: load_custom(server, work)))
        server.drop_database("custom")
        server.execute("CHECKPOINT")
        began = time.monotonic()
        plan = plan_of(work.archive, work.manifest, place / "drills", fence=number)
        report = run(plan, SilentReporter())
        times["drill"].append(time.monotonic() - began)
        assert report.passed, [check for check in report.checks if check.state.value == "failed"]
        print(f"{'drill':<20} {times['drill'][-1]:7.1f} s  {report.facts}", flush=True)
    assert report is not None
    return times, report


def load_plain(server: PostgresServer, work: Workload) -> None:
    """As anybody would."""
    with work.dump.open("rb") as dump:
        subprocess.run(
            [server.binaries / "psql", "-X", "-q"],
            stdin=dump,
            stdout=subprocess.DEVNULL,
            env=server.environment("plain"),
            check=True,
        )


def load_custom(server: PostgresServer, work: Workload) -> None:
    """With two jobs."""
    argv = [server.binaries / "pg_restore", "-j2", "-d", "custom", work.custom]
    subprocess.run(argv, env=server.environment("custom"), check=True)


def timed(name: str, action: Callable[[], None]) -> float:
    """Seconds."""
    began = time.monotonic()
    action()
    seconds = time.monotonic() - began
    print(f"{name:<20} {seconds:7.1f} s", flush=True)
    return seconds


def write(times: dict[str, list[float]], report: DrillReport, *, data: dict[str, int]) -> None:
    """Print the ratios and keep them."""
    middle = {name: median(values) for name, values in times.items()}
    ratios = {
        "drill_vs_psql_default": round(middle["drill"] / middle["psql_default"], 4),
        "drill_vs_pg_restore_j2": round(middle["drill"] / middle["pg_restore_j2"], 4),
    }
    print(json.dumps(ratios, indent=2))
    RESULTS.parent.mkdir(exist_ok=True)
    document = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version()},
        "data": data,
        "postgresql": report.facts["server"],
        "cage": report.facts["cage"] == Strength.FULL,
        "ratios": ratios,
        "seconds": {name: [round(value, 2) for value in values] for name, values in times.items()},
        "drill": {"load_seconds": round(report.load_seconds, 2), **report.facts},
    }
    RESULTS.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    assert server_directories(), "no PostgreSQL server was found"
    main()
