"""`make bench-hosts`: our snapshots beside plain ``rsync --link-dest`` through the same sshd, and pruning beside ``rm -rf``.

Both ways read the same host as its root, with a key limited by ``rrsync -ro``, and take turns in who begins. The plain way is
synced afterwards as ours is; its time without that is kept as well. Each way starts with a disk at rest and a source that is in
the page cache. ``BENCH_FILES`` (default 100,000), ``BENCH_MB`` (default 2,000), ``BENCH_ROUNDS`` (default 3; the medians count).
As everywhere, a connection test came before the first snapshot. The ratios go to ``bench/results/hosts.json``.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from bench.host_ways import (
    Timed,
    as_we_do,
    build_source,
    change_source,
    our_place,
    plainly,
    plainly_and_safely,
    remove_ours,
    remove_plainly,
    takes_secluded,
    timed,
)
from tests.support.sshd import SshServer, only_reads, running_sshd
from webapp.engine.memory import keep_memory_small

RESULTS = Path(__file__).parent / "results" / "hosts.json"
SMALL_SHARE = 10


@dataclass
class Bench:
    """One host, one disk, and what was measured."""

    server: SshServer
    place: Path
    files: int
    secluded: bool = True
    times: dict[str, list[Timed]] = field(default_factory=dict)

    @property
    def source(self) -> Path:
        """What the host has."""
        return self.place / "source"

    def measure(self, name: str, work: Callable[[], object]) -> None:
        """Once more this way."""
        found = timed(work)
        self.times.setdefault(name, []).append(found)
        print(
            f"{name:<18} {found.wall_s:7.1f} s  {found.cpu_s:6.1f} CPU s  {found.own_peak_mb:5.0f} MB ours, "
            f"{found.peak_mb:5.0f} MB with rsync and ssh",
            flush=True,
        )

    def in_turns(self, number: int, *pair: tuple[str, Callable[[], object]]) -> None:
        """Both, and the other one first in the next round."""
        for name, work in pair if number % 2 else reversed(pair):
            self.measure(name, work)


def main() -> None:
    """Build, measure, compare, write."""
    files, size = int(os.environ.get("BENCH_FILES", "100000")), int(os.environ.get("BENCH_MB", "2000"))
    rounds = int(os.environ.get("BENCH_ROUNDS", "3"))
    keep_memory_small()
    place = Path(tempfile.mkdtemp(prefix="holdfast-bench-", dir=os.environ.get("BENCH_DIR")))
    try:
        with running_sshd() as server:
            bench = Bench(server, place, files)
            print(f"building {files} files, {size} MB …", flush=True)
            build_source(bench.source, files=files, total_bytes=size * 1_000_000)
            only_reads(server, bench.source)
            bench.secluded = takes_secluded(server, place)
            plainly(server, place / "warm", None)  # wakes the disk; whoever came first would do that for the other
            for number in range(1, rounds + 1):
                one_round(bench, number)
            small = memory_of_a_smaller_one(bench, size)
    finally:
        shutil.rmtree(place)
    write(bench.times, small, data={"files": files, "megabytes": size, "rounds": rounds})


def one_round(bench: Bench, number: int) -> None:
    """First and next day both ways, then the first ones are pruned. The rest goes at the very end: a file system that has just
    been rid of gigabytes writes new ones two or three times as slowly for a while, and one way would pay for it."""
    root, plain = bench.place / f"root{number}", bench.place / f"plain{number}"
    plain.mkdir()
    first, second = our_place(root, 1), our_place(root, 2)
    subprocess.run(["tar", "-C", str(bench.source), "-cf", "/dev/null", "."], check=True)
    bench.in_turns(
        number,
        ("first plain", lambda: plainly_and_safely(bench.server, plain / "1", None)),
        ("first ours", lambda: as_we_do(bench.server, root, number=1, base=None, secluded=bench.secluded)),
    )
    change_source(bench.source, files=bench.files, seed=number)
    bench.in_turns(
        number,
        ("next plain", lambda: plainly_and_safely(bench.server, plain / "2", plain / "1")),
        ("next ours", lambda: as_we_do(bench.server, root, number=2, base=first)),
    )
    bench.measure("next plain, async", lambda: plainly(bench.server, plain / "3", plain / "1"))
    count_equal(plain / "2", Path(second.tree))
    bench.in_turns(
        number,
        ("prune plain", lambda: remove_plainly(plain / "1")),
        ("prune ours", lambda: remove_ours(first)),
    )


def count_equal(one: Path, two: Path) -> None:
    """Both ways must have brought the same number of files, or the race is off."""
    counts = [sum(len(names) for _, _, names in os.walk(tree)) for tree in (one, two)]
    if counts[0] != counts[1]:
        raise RuntimeError(f"the plain way has {counts[0]} files and ours {counts[1]}")


def memory_of_a_smaller_one(bench: Bench, size: int) -> dict[str, Any]:
    """Ours with a tenth of the files: what the count of files costs in memory."""
    files = bench.files // SMALL_SHARE
    source, root = bench.place / "small", bench.place / "small-root"
    build_source(source, files=files, total_bytes=size * 1_000_000 // SMALL_SHARE)
    only_reads(bench.server, source)
    found = [
        timed(lambda: as_we_do(bench.server, root, number=1, base=None)),
        timed(lambda: as_we_do(bench.server, root, number=2, base=our_place(root, 1))),
    ]
    return {"files": files, "own_peak_mb": round(max(one.own_peak_mb for one in found), 2)}


def ratios(times: dict[str, list[Timed]], small: dict[str, Any]) -> dict[str, float]:
    """What counts: ours beside the other way, by the medians."""
    wall = {name: median(one.wall_s for one in found) for name, found in times.items()}
    cpu = {name: median(one.cpu_s for one in found) for name, found in times.items()}
    own = max(one.own_peak_mb for name, found in times.items() if name.endswith("ours") for one in found)
    return {
        "first_vs_plain": wall["first ours"] / wall["first plain"],
        "next_vs_plain": wall["next ours"] / wall["next plain"],
        "next_vs_plain_unsynced": wall["next ours"] / wall["next plain, async"],
        "next_cpu_vs_plain": cpu["next ours"] / cpu["next plain"],
        "prune_vs_rm": wall["prune ours"] / wall["prune plain"],
        "own_peak_mb": own,
        "own_peak_vs_a_tenth_of_the_files": own / small["own_peak_mb"],
    }


def write(times: dict[str, list[Timed]], small: dict[str, Any], *, data: dict[str, int]) -> None:
    """Print the ratios and keep them."""
    rounded = {key: round(value, 4) for key, value in ratios(times, small).items()}
    print(json.dumps(rounded, indent=2))
    document = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version()},
        "data": data,
        "ratios": rounded,
        "a_tenth_of_the_files": small,
        "ways": {name: [one.as_json() for one in found] for name, found in times.items()},
    }
    RESULTS.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
