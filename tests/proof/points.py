"""Points of a run: every system call of the worker's main thread, and what happens when something goes wrong exactly there."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.proof.invariants import Execute, recover_and_check
from tests.proof.stage import Stage, app_in, exit_code, in_child
from tests.support.app import service_context
from tests.support.redis import wait_for
from webapp.tasks.clock import utc_now

CALLS = (
    "openat,write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,link,unlink,unlinkat,mkdir,rmdir,ftruncate,"
    "close,connect,sendto,exit_group"
)
RUN_ID = 1


class Manner(StrEnum):
    """What is done to the worker at a point."""

    KILL = "kill"
    STALL = "stall"  # it stands still until another has settled and repeated its run, then goes on as if nothing was


@dataclass(frozen=True, slots=True)
class Point:
    """The ``number``-th call of this name."""

    call: str
    number: int

    def __str__(self) -> str:
        return f"{self.call} #{self.number}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one point showed. ``hit``: the worker was killed or stopped there."""

    point: Point
    hit: bool
    broken: tuple[str, ...]


def list_points(stage: Stage, execute: Execute) -> list[Point]:
    """Every call of one whole run, in the order in which they came in a run that was only watched."""
    place = stage.sandbox("dry")
    trace = stage.directory / "trace"
    child, tracer = start_traced(place, execute, ["-o", str(trace)])
    code = exit_code(child)
    tracer.communicate(timeout=30)
    assert code == 0, f"the run under trace ended with {code}"
    counts: collections.Counter[str] = collections.Counter()
    points = []
    for call in re.findall(r"^(?:\d+ +)?(\w+)\(", trace.read_text(errors="replace"), re.MULTILINE):
        counts[call] += 1
        points.append(Point(call, counts[call]))
    shutil.rmtree(place)
    return points


def try_point(stage: Stage, point: Point, execute: Execute, manner: Manner) -> Verdict:
    """On a fresh copy of the stage: strike there, recover, look."""
    place = stage.sandbox(f"{manner}-{point.call}-{point.number}")
    hit = (kill_at if manner is Manner.KILL else stall_at)(place, point, execute)
    broken = recover_in_child(place, execute)
    shutil.rmtree(place, ignore_errors=True)
    return Verdict(point, hit, tuple(broken))


def kill_at(place: Path, point: Point, execute: Execute) -> bool:
    """SIGKILL; whether it came to that."""
    injection = f"inject={point.call}:signal=SIGKILL:when={point.number}"
    child, tracer = start_traced(place, execute, ["-e", injection, "-o", os.devnull])
    killed = exit_code(child) == -signal.SIGKILL
    tracer.communicate(timeout=30)
    return killed


def stall_at(place: Path, point: Point, execute: Execute) -> bool:
    """SIGSTOP there; others take the run over and end it; SIGCONT. Whether it came to that.

    Stopped inside a write transaction, it keeps everybody from writing, so nobody can take over: then it just goes on.
    """
    injection = f"inject={point.call}:signal=SIGSTOP:when={point.number}"
    trace = place / "tmp" / "trace"
    child, tracer = start_traced(place, execute, ["-e", injection, "-o", str(trace)])
    ended: list[int] = []

    def is_over() -> bool:
        if b"stopped by SIGSTOP" in trace.read_bytes():
            return True
        ended.append(os.waitpid(child, os.WNOHANG)[0])
        return bool(ended[-1])

    wait_for(is_over, f"the worker stops at {point}", 60)
    tracer.terminate()
    tracer.communicate(timeout=30)
    trace.unlink()
    if any(ended):
        return False
    overtaken = is_writable(place)
    if overtaken:
        recover_in_child(place, execute)
    os.kill(child, signal.SIGCONT)
    exit_code(child)
    return overtaken


def is_writable(place: Path) -> bool:
    """Whether nobody holds the write lock of the database."""
    with contextlib.closing(
        sqlite3.connect(place / "holdfast.sqlite", timeout=0.2, isolation_level=None)
    ) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return False
        return True


def recover_in_child(place: Path, execute: Execute) -> list[str]:
    """In a fresh process: sweep, run again, check."""
    report = place / "report.json"

    def examine() -> None:
        os.environ["TMPDIR"] = str(place / "tmp")
        with service_context(app_in(place)):
            report.write_text(json.dumps(recover_and_check(execute)))

    code = exit_code(in_child(examine))
    return list(json.loads(report.read_text())) if code == 0 else [f"the examiner ended with {code}"]


def start_traced(place: Path, execute: Execute, options: list[str]) -> tuple[int, subprocess.Popen[bytes]]:
    """Fork the worker, attach strace, let it go. It is wired and waiting first, so that only the run's calls are counted."""
    ready_read, ready_write = os.pipe()
    go_read, go_write = os.pipe()

    def work() -> None:
        os.environ["TMPDIR"] = str(place / "tmp")
        with service_context(app_in(place)):
            os.write(ready_write, b"r")
            os.read(go_read, 1)
            execute(RUN_ID, utc_now)

    child = in_child(work)
    os.read(ready_read, 1)
    tracer = attach(child, CALLS, options)
    os.write(go_write, b"g")
    for descriptor in (ready_read, ready_write, go_read, go_write):
        os.close(descriptor)
    return child, tracer


def attach(child: int, calls: str, options: list[str]) -> subprocess.Popen[bytes]:
    """strace on the main thread of a waiting child, once it is attached."""
    tracer = subprocess.Popen(
        ["strace", "-p", str(child), "-e", f"trace={calls}", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert tracer.stderr is not None
    line = tracer.stderr.readline()
    assert b"attached" in line, line
    return tracer


def seconds_since(began: float) -> str:
    """For progress lines."""
    return f"{time.monotonic() - began:.0f} s"
