"""`make bench`: our backup beside Odoo's own algorithm, dump + tar, and plain copies, on the same data in one run.

Sizes: ``BENCH_DB_MB`` (plain dump, default 1000) and ``BENCH_FILES_MB`` (filestore, default 1500). The ratios go to
``bench/results/backup.json``.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bench.measure import Measured, measure, middle
from bench.ways import Workload, as_dump_and_tar, as_odoo_does, as_plain_copy, as_we_do
from tests.support.odoo_database import build_odoo_database
from tests.support.postgres import PostgresServer, running_server
from webapp.core.status import VerificationLevel

RESULTS = Path(__file__).parent / "results" / "backup.json"
BYTES_PER_ROW = 1000
MEDIAN_FILE = 28_000
MEAN_FILE = 75_000


def main() -> None:
    """Build, measure, compare, write."""
    db_mb, files_mb = int(os.environ.get("BENCH_DB_MB", "1000")), int(os.environ.get("BENCH_FILES_MB", "1500"))
    rounds = int(os.environ.get("BENCH_ROUNDS", "3"))
    place = Path(tempfile.mkdtemp(prefix="holdfast-bench-", dir=os.environ.get("BENCH_DIR")))
    try:
        with running_server(settings={"shared_buffers": "512MB", "max_wal_size": "4GB"}) as server:
            half = build(server, place, "half", db_mb // 2, files_mb // 2)
            whole = build(server, place, "whole", db_mb, files_mb)
            results = measure_all(half, whole, place, rounds)
    finally:
        for path in sorted(place.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        place.rmdir()
    write(results, data={"database_mb": db_mb, "filestore_mb": files_mb, "rounds": rounds})


def build(server: PostgresServer, place: Path, name: str, db_mb: int, files_mb: int) -> Workload:
    """An Odoo-shaped database of the size, with its filestore."""
    print(f"building {name}: {db_mb} MB database, {files_mb} MB filestore …", flush=True)
    rows, files = db_mb * 1_000_000 // BYTES_PER_ROW, files_mb * 1_000_000 // MEAN_FILE
    database = build_odoo_database(
        server, name, place / "filestore", rows=rows, files=files, median_file_bytes=MEDIAN_FILE
    )
    server.execute("VACUUM ANALYZE", name)
    return Workload(server, database)


def measure_all(half: Workload, whole: Workload, place: Path, rounds: int) -> dict[str, Measured]:
    """The short ways ``rounds`` times in turn, ours also on half of the data; the page cache is warm for all."""
    none, complete = VerificationLevel.NONE, VerificationLevel.COMPLETE
    short: dict[str, tuple[str, Callable[[Path], None]]] = {
        "copy": ("plain copy", lambda d: as_plain_copy(whole, d)),
        "ours": ("ours, not verified", lambda d: as_we_do(whole, d, none)),
        "ours_verified": ("ours, verified", lambda d: as_we_do(whole, d, complete)),
        "ours_half": ("ours, half the data", lambda d: as_we_do(half, d, complete)),
    }
    measure("warm-up", lambda d: as_plain_copy(whole, d), place)
    found: dict[str, list[Measured]] = {key: [] for key in short}
    for _ in range(rounds):
        for key, (name, work) in short.items():
            found[key].append(measure(name, work, place))
    return {
        **{key: middle(measured) for key, measured in found.items()},
        "dump_tar": measure("pg_dump -Fc, tar.gz", lambda d: as_dump_and_tar(whole, d), place),
        "odoo": measure("Odoo's algorithm", lambda d: as_odoo_does(whole, d), place),
    }


def ratios(found: dict[str, Measured]) -> dict[str, float]:
    """What counts: ours beside each other way."""
    ours, verified, odoo = found["ours"], found["ours_verified"], found["odoo"]
    return {
        "wall_vs_odoo": ours.wall_s / odoo.wall_s,
        "cpu_vs_odoo": ours.cpu_s / odoo.cpu_s,
        "wall_verified_vs_odoo": verified.wall_s / odoo.wall_s,
        "cpu_verified_vs_odoo": verified.cpu_s / odoo.cpu_s,
        "temp_disk_vs_odoo": verified.temp_disk_mb / odoo.temp_disk_mb,
        "bytes_vs_odoo": ours.result_mb / odoo.result_mb,
        "wall_vs_dump_tar": ours.wall_s / found["dump_tar"].wall_s,
        "wall_vs_copy": ours.wall_s / found["copy"].wall_s,
        "wall_verified_vs_copy": verified.wall_s / found["copy"].wall_s,
        "peak_rss_mb": max(ours.peak_rss_mb, verified.peak_rss_mb),
        "peak_rss_whole_vs_half": verified.peak_rss_mb / found["ours_half"].peak_rss_mb,
    }


def write(found: dict[str, Measured], *, data: dict[str, int]) -> None:
    """Print the ratios and keep them."""
    rounded = {key: round(value, 4) for key, value in ratios(found).items()}
    print(json.dumps(rounded, indent=2))
    RESULTS.parent.mkdir(exist_ok=True)
    document = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version()},
        "data": data,
        "ratios": rounded,
        "ways": {key: value.as_json() for key, value in found.items()},
    }
    RESULTS.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
