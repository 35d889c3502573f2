"""`make bench-drill`: a whole restore drill of an Odoo zip beside bare loads of the same database into default clusters.

The drill is everything: its cluster made and removed, every byte of the archive read and digested, every statement loaded,
every table counted, every attachment compared. The others only load, into a cluster with PostgreSQL's default settings that is
there already: ``psql < dump.sql`` from a plain file, and ``pg_restore -j2`` of a custom dump.

Sizes: ``BENCH_DB_MB`` (plain dump, default 1000), ``BENCH_FILES_MB`` (filestore, default 300), ``BENCH_ROUNDS`` (default 5; the
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
# The messages are seven tenths of the database; the rest are journal items, which have many keys and indexes in every Odoo.
MESSAGES = 0.7
BYTES_PER_LINE = 230
# Columns, keys and indexes as in Odoo 18 (mail.message, res.partner, ir.attachment, account.move.line).
MORE = """
DROP TABLE x_access_log; -- partitioned, as no table of Odoo's is
CREATE TABLE account_move_line (id serial PRIMARY KEY, move_id integer NOT NULL, journal_id integer, company_id integer,
    sequence integer, account_id integer, currency_id integer, partner_id integer, product_id integer, reconcile_id integer,
    create_uid integer, write_uid integer, move_name varchar, parent_state varchar, ref varchar, name varchar,
    display_type varchar NOT NULL, date date, date_maturity date, analytic_distribution jsonb, debit numeric, credit numeric,
    balance numeric, amount_currency numeric, quantity numeric, price_unit double precision, create_date timestamp,
    write_date timestamp);
INSERT INTO account_move_line SELECT n, n / 3 + 1, 1 + n % 9, 1, 10, 1 + n::bigint * 7919 % 800, 1, 1 + n * 31 % {partners},
    CASE WHEN n % 2 = 0 THEN n % 5000 END, CASE WHEN n % 4 = 0 THEN n / 4 END, 1 + n % 3, 1 + n % 3,
    'INV/2026/' || lpad((n / 3)::text, 6, '0'), 'posted', 'S' || lpad((n * 17 % 99991)::text, 5, '0'),
    'Order line ' || md5(n::text), 'product', date '2026-01-01' + n % 300, date '2026-02-01' + n % 300,
    CASE WHEN n % 5 = 0 THEN jsonb_build_object((n % 40)::text, 100.0) END, n % 9973 / 10.0, 0, n % 9973 / 10.0,
    n % 9973 / 10.0, 1, n % 9973 / 10.0, now(), now() FROM generate_series(1, {lines}) AS n;
SELECT setval('account_move_line_id_seq', {lines});
ALTER TABLE account_move_line ADD FOREIGN KEY (partner_id) REFERENCES res_partner ON DELETE RESTRICT,
    ADD FOREIGN KEY (company_id) REFERENCES res_company ON DELETE SET NULL,
    ADD FOREIGN KEY (create_uid) REFERENCES res_users ON DELETE SET NULL,
    ADD FOREIGN KEY (write_uid) REFERENCES res_users ON DELETE SET NULL;
CREATE INDEX ON account_move_line (move_id); CREATE INDEX ON account_move_line (move_name);
CREATE INDEX ON account_move_line (journal_id); CREATE INDEX ON account_move_line (account_id, date);
CREATE INDEX ON account_move_line (partner_id); CREATE INDEX ON account_move_line (partner_id, ref);
CREATE INDEX ON account_move_line (date, move_name, id); CREATE INDEX ON account_move_line (date_maturity);
CREATE INDEX ON account_move_line (product_id) WHERE product_id IS NOT NULL;
CREATE INDEX ON account_move_line (reconcile_id) WHERE reconcile_id IS NOT NULL;
CREATE INDEX ON account_move_line USING gin (analytic_distribution);
CREATE INDEX ON mail_message (date); CREATE INDEX ON mail_message (author_id); CREATE INDEX ON mail_message (message_id);
CREATE INDEX ON mail_message (model, res_id, id); CREATE INDEX ON res_partner (name); CREATE INDEX ON res_partner (parent_id);
CREATE INDEX ON res_partner USING gin (email gin_trgm_ops); CREATE INDEX ON res_partner USING gin (name gin_trgm_ops);
CREATE INDEX ON ir_attachment (checksum); CREATE INDEX ON ir_attachment (res_model, res_id);
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
    rounds = int(os.environ.get("BENCH_ROUNDS", "5"))
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
    rows, files = int(db_mb * 1_000_000 * MESSAGES) // BYTES_PER_ROW, files_mb * 1_000_000 // MEAN_FILE
    lines = int(db_mb * 1_000_000 * (1 - MESSAGES)) // BYTES_PER_LINE
    work = Workload(place / "prod.zip", None, place / "dump.sql", place / "prod.dump")  # type: ignore[arg-type]
    with running_server() as server:
        database = build_odoo_database(
            server, "prod", place / "filestore", rows=rows, files=files, median_file_bytes=MEDIAN_FILE
        )
        server.execute(MORE.replace("{lines}", str(lines)).replace("{partners}", str(max(20, rows // 20))), "prod")
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
    """Each way ``rounds`` times, in turn; the page cache is warm for all, and what one left to write no other pays for."""
    times: dict[str, list[float]] = {"drill": [], "psql_default": [], "pg_restore_j2": []}
    report = None
    for number in range(rounds):
        server.create_database("plain")
        os.sync()
        times["psql_default"].append(timed("psql < dump.sql", lambda: load_plain(server, work)))
        server.drop_database("plain")
        server.create_database("custom")
        os.sync()
        times["pg_restore_j2"].append(timed("pg_restore -j2", lambda: load_custom(server, work)))
        server.drop_database("custom")
        server.execute("CHECKPOINT")
        os.sync()
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
