"""`make proof-crash`: kill the worker at every system call of a run's commit path; then at random, with all else failing too.

Part one enumerates: the worker's main thread is traced, and for every call of every kind in ``CALLS`` it is killed (SIGKILL) at
exactly that call, once per point, on a fresh copy of the stage. The same harness then runs a naive variant, which must fail.
Part two (tests/proof/chaos.py) kills workers, schedulers and Redis at random while slots fall due.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.proof.chaos import run_chaos
from tests.proof.invariants import Execute, check_server, execute_run, recover_and_check
from tests.proof.naive import execute_run_naively
from tests.proof.stage import Stage, app_in, built_stage, exit_code, in_child
from tests.support.app import service_context
from webapp.tasks.clock import utc_now

CALLS = (
    "openat,write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,link,unlink,unlinkat,mkdir,rmdir,ftruncate,"
    "close,connect,sendto,exit_group"
)
RUN_ID = 1


@dataclass(frozen=True, slots=True)
class Point:
    """Kill at the ``number``-th call of this name."""

    call: str
    number: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one point showed."""

    point: Point
    killed: bool
    broken: tuple[str, ...]


def worker(place: Path, execute: Execute, ready: int, go: int) -> None:
    """The child that is killed: wired and waiting first, so that only the run's own calls are counted."""
    os.environ["TMPDIR"] = str(place / "tmp")
    app = app_in(place)
    with service_context(app):
        os.write(ready, b"r")
        os.read(go, 1)
        execute(RUN_ID, utc_now)


def start_traced(place: Path, execute: Execute, options: list[str]) -> tuple[int, subprocess.Popen[bytes]]:
    """Fork the worker, attach strace, let it go."""
    ready_read, ready_write = os.pipe()
    go_read, go_write = os.pipe()
    child = in_child(lambda: worker(place, execute, ready_write, go_read))
    os.read(ready_read, 1)
    tracer = subprocess.Popen(
        ["strace", "-p", str(child), "-e", f"trace={CALLS}", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert tracer.stderr is not None
    line = tracer.stderr.readline()
    assert b"attached" in line, line
    os.write(go_write, b"g")
    for descriptor in (ready_read, ready_write, go_read, go_write):
        os.close(descriptor)
    return child, tracer


def list_points(stage: Stage, execute: Execute) -> list[Point]:
    """Every call of one whole run, by a run that is only watched."""
    place = stage.sandbox("dry")
    trace = stage.directory / "trace"
    child, tracer = start_traced(place, execute, ["-o", str(trace)])
    code = exit_code(child)
    tracer.communicate(timeout=30)
    assert code == 0, f"the run under trace ended with {code}"
    counts = collections.Counter(re.findall(r"^(?:\d+ +)?(\w+)\(", trace.read_text(errors="replace"), re.MULTILINE))
    shutil.rmtree(place)
    return [Point(call, number) for call, count in sorted(counts.items()) for number in range(1, count + 1)]


def try_point(stage: Stage, point: Point, execute: Execute) -> Verdict:
    """Kill there, recover, look."""
    place = stage.sandbox(f"{point.call}-{point.number}")
    injection = f"inject={point.call}:signal=SIGKILL:when={point.number}"
    child, tracer = start_traced(place, execute, ["-e", injection, "-o", os.devnull])
    killed = exit_code(child) == -9
    tracer.communicate(timeout=30)
    report = place / "report.json"
    examiner = in_child(lambda: examine(place, execute, report))
    code = exit_code(examiner)
    broken = json.loads(report.read_text()) if code == 0 else [f"the examiner ended with {code}"]
    shutil.rmtree(place, ignore_errors=True)
    return Verdict(point, killed, tuple(broken))


def examine(place: Path, execute: Execute, report: Path) -> None:
    """In a fresh process: sweep, run again, check."""
    os.environ["TMPDIR"] = str(place / "tmp")
    with service_context(app_in(place)):
        report.write_text(json.dumps(recover_and_check(execute)))


def enumerate_points(stage: Stage, execute: Execute, *, limit: int, seed: int, threads: int) -> list[Verdict]:
    """All points, or a seeded sample of ``limit``."""
    points = list_points(stage, execute)
    print(f"{len(points)} points in one run", flush=True)
    if 0 < limit < len(points):
        points = random.Random(seed).sample(points, limit)
    began = time.monotonic()
    verdicts: list[Verdict] = []
    with ThreadPoolExecutor(threads) as pool:
        for verdict in pool.map(lambda point: try_point(stage, point, execute), points):
            verdicts.append(verdict)
            if verdict.broken:
                print(f"  {verdict.point.call} #{verdict.point.number}: {'; '.join(verdict.broken)}", flush=True)
            if len(verdicts) % 100 == 0:
                print(f"  {len(verdicts)} of {len(points)}, {time.monotonic() - began:.0f} s", flush=True)
    return verdicts


def summarise(name: str, verdicts: list[Verdict]) -> int:
    """Print the counts; how many points broke something."""
    killed = sum(verdict.killed for verdict in verdicts)
    broken = sum(bool(verdict.broken) for verdict in verdicts)
    false = sum(any("false success" in word for word in verdict.broken) for verdict in verdicts)
    print(
        f"{name}: {len(verdicts)} points, {killed} killed, {broken} with violations, {false} false successes",
        flush=True,
    )
    return broken


def main() -> int:
    """The whole proof; 0 when our code holds and the naive variant does not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=0, help="points to try, drawn at random; 0 for all")
    parser.add_argument("--naive-limit", type=int, default=60)
    parser.add_argument("--kills", type=int, default=200, help="random kills of part two; 0 to leave it out")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    wanted = parser.parse_args()
    with built_stage() as stage:
        options = {"seed": wanted.seed, "threads": wanted.threads}
        ours = summarise("ours", enumerate_points(stage, execute_run, limit=wanted.limit, **options))
        left = check_server(stage)
        naive = summarise("naive", enumerate_points(stage, execute_run_naively, limit=wanted.naive_limit, **options))
        chaos = run_chaos(stage, kills=wanted.kills, seed=wanted.seed) if wanted.kills else []
    for line in [*left, *chaos]:
        print(f"violation: {line}")
    good = ours == 0 and naive > 0 and not left and not chaos
    print("proved" if good else "NOT proved")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
