"""`make bench-load`: 500 jobs due in the same minute on a real Holdfast, and people who look at pages meanwhile.

``BENCH_JOBS``, ``BENCH_INSTANCES`` and ``BENCH_WORKERS`` change the sizes. The numbers go to ``bench/results/load.json``.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import platform
import re
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support.app import find, let_in_the_cast, service_context
from tests.support.factories import make_instance, make_job
from tests.support.postgres import PASSWORD, SUPERUSER, PostgresServer, running_server
from webapp.assembly import bare_app
from webapp.core.plans import Secret
from webapp.core.status import Content, VerificationLevel
from webapp.services import sessions
from webapp.services.sessions import Visitor
from webapp.services.wiring import wired
from webapp.settings import read_settings
from webapp.store.db import writing
from webapp.store.models import Instance

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "load.json"
JOBS = int(os.environ.get("BENCH_JOBS", "500"))
INSTANCES = int(os.environ.get("BENCH_INSTANCES", "50"))
WORKERS = int(os.environ.get("BENCH_WORKERS", "2"))
DATABASE = "tiny"
VISITORS = 2
IDLE_ROUNDS = 15
THINK_SECONDS = 0.2
STORM_SECONDS = 3600.0
TABLES = """
CREATE TABLE customer (id integer PRIMARY KEY, name text NOT NULL);
INSERT INTO customer SELECT n, 'customer ' || n FROM generate_series(1, 200) n;
"""

Latencies = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Holdfast:
    """A running one, its files and a signed-in session."""

    directory: Path
    address: str
    token: str

    def ask(self, query: str) -> list[tuple[int, ...]]:
        """Rows of its database."""
        with closing(sqlite3.connect(self.directory / "holdfast.sqlite", timeout=30)) as connection:
            return connection.execute(query).fetchall()


def main() -> None:
    """Start, load, watch, count, write."""
    with (
        tempfile.TemporaryDirectory(prefix="holdfast-load-") as name,
        running_server(settings={"max_connections": "100"}) as server,
    ):
        server.create_database(DATABASE)
        server.execute(TABLES, DATABASE)
        with started(Path(name) / "var") as holdfast:
            add_instances(server)
            idle = visit(holdfast, rounds=IDLE_ROUNDS)
            due = add_jobs()
            storm, seconds = weather(holdfast, due)
            document = count(holdfast, idle, storm, seconds)
    print(json.dumps(document, indent=2))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(document, indent=2) + "\n")
    if document["ratios"]["lost"] or document["ratios"]["doubled"] or document["ratios"]["not_completed"]:
        raise SystemExit("some jobs did not run exactly once")


@contextmanager
def started(directory: Path) -> Iterator[Holdfast]:
    """`holdfast up` on a free port, with its own data directory; stopped afterwards."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    environment |= {"HOLDFAST_DATA_DIR": str(directory), "PORT": "0", "HOLDFAST_WORKERS": str(WORKERS)}
    environment.pop("REDIS_URL", None)
    log = directory.parent / "log"
    with log.open("w") as out:
        command = [sys.executable, "-m", "webapp.cli", "up"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        address = await_address(process, log)
        os.environ["HOLDFAST_DATA_DIR"] = str(directory)
        yield Holdfast(directory, address, sign_in())
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        if os.environ.get("BENCH_LOG"):
            Path(os.environ["BENCH_LOG"]).write_bytes(log.read_bytes())


def await_address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Where it says that it listens."""
    deadline = time.monotonic() + 120
    while not (found := re.search(r"Address\s+http://(\S+)/", log.read_text())):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(log.read_text())
        time.sleep(0.1)
    return found[1]


def sign_in() -> str:
    """Let the cast in; the token of a session of Alice's."""
    with service_context(bare_app(read_settings())):
        let_in_the_cast()
        with writing() as session:
            return sessions.open_session(session, find(session, "alice"), Visitor("127.0.0.1", "Bench"), now=utc_now())


def utc_now() -> datetime:
    """The present."""
    return datetime.now(UTC)


def add_instances(server: PostgresServer) -> None:
    """The instances, so that idle pages have something to show as well."""
    with service_context(bare_app(read_settings())):
        for number in range(INSTANCES):
            uid = f"bench-{number}"
            sealed = wired().vault.seal(Secret(PASSWORD), f"instance:{uid}:pg_password")
            make_instance(
                utc_now(),
                name=f"server-{number:02d}",
                uid=uid,
                databases=[DATABASE],
                pg_port=server.port,
                pg_user=SUPERUSER,
                pg_password=sealed,
            )


def add_jobs() -> datetime:
    """All jobs, due in the same minute, which is returned; an hour has no other minute for them."""
    now = utc_now()
    due = (now + timedelta(seconds=90)).replace(second=0, microsecond=0)
    with service_context(bare_app(read_settings())), writing() as session:
        instances = [session.get_one(Instance, number + 1) for number in range(INSTANCES)]
        for number, instance in zip(range(JOBS), itertools.cycle(instances), strict=False):
            make_job(
                instance,
                now,
                name=f"Job {number}",
                cron=f"{due.minute} {due.hour} * * *",
                content=Content.DATABASE,
                verification_level=VerificationLevel.COMPLETE,
            )
    print(f"{JOBS} jobs on {INSTANCES} instances are due at {due:%H:%M} UTC", flush=True)
    return due


def visit(holdfast: Holdfast, *, rounds: int = 0, stop: threading.Event | None = None) -> Latencies:
    """Look at each page in turn, so many times or until told to stop. Milliseconds by page."""
    found: Latencies = {}
    host = http.client.HTTPConnection(holdfast.address, timeout=60)
    for turn in itertools.count():
        if (rounds and turn >= rounds) or (stop is not None and stop.is_set()):
            host.close()
            return found
        for page in ("/", "/runs", "/instances", "/instances/1", newest_run(holdfast)):
            if page:
                began = time.monotonic()
                host.request("GET", page, headers={"Cookie": f"holdfast={holdfast.token}"})
                answer = host.getresponse()
                answer.read()
                if answer.status != 200:
                    raise RuntimeError(f"{page} answered {answer.status}")
                label = "/runs/<id>" if page.startswith("/runs/") else page
                found.setdefault(label, []).append((time.monotonic() - began) * 1000)
                time.sleep(THINK_SECONDS)
    raise AssertionError("unreachable")


def newest_run(holdfast: Holdfast) -> str:
    """The page of the run that was claimed last."""
    rows = holdfast.ask("SELECT run.id FROM run JOIN task ON task.id = run.id ORDER BY task.started_at DESC LIMIT 1")
    return f"/runs/{rows[0][0]}" if rows else ""


def weather(holdfast: Holdfast, due: datetime) -> tuple[Latencies, float]:
    """Visitors come with the minute, and go when every job has ended. Their latencies, and the seconds from the minute on."""
    while utc_now() < due:
        time.sleep(0.1)
    stop = threading.Event()
    with ThreadPoolExecutor(VISITORS) as pool:
        visits = [pool.submit(visit, holdfast, stop=stop) for _ in range(VISITORS)]
        try:
            seconds = await_end(holdfast, due)
        finally:
            stop.set()
        latencies: Latencies = {}
        for done in visits:
            for page, values in done.result().items():
                latencies.setdefault(page, []).extend(values)
    return latencies, seconds


def await_end(holdfast: Holdfast, due: datetime) -> float:
    """Seconds from the minute until the last run ended."""
    query = "SELECT count(*) FROM run JOIN task ON task.id = run.id WHERE task.status NOT IN ('pending', 'running')"
    said = 0.0
    while (ended := holdfast.ask(query)[0][0]) < JOBS:
        seconds = (utc_now() - due).total_seconds()
        if seconds > STORM_SECONDS:
            raise RuntimeError(f"only {ended} of {JOBS} ended within {STORM_SECONDS:.0f} s")
        if seconds - said > 20:
            said = seconds
            print(f"  {ended} of {JOBS} after {seconds:.0f} s", flush=True)
        time.sleep(0.5)
    return (utc_now() - due).total_seconds()


def count(holdfast: Holdfast, idle: Latencies, storm: Latencies, seconds: float) -> dict[str, dict[str, object]]:
    """What happened, in numbers."""
    runs = dict(holdfast.ask("SELECT job_id, count(*) FROM run GROUP BY job_id"))
    slots = dict(holdfast.ask("SELECT job_id, count(*) FROM slot GROUP BY job_id"))
    completed = "SELECT count(*) FROM run JOIN task ON task.id = run.id JOIN archive ON archive.run_id = run.id WHERE "
    good = holdfast.ask(completed + "task.status = 'completed' AND run.verification_status = 'passed'")[0][0]
    everything = [value for values in storm.values() for value in values]
    quiet = [value for values in idle.values() for value in values]
    ratios: dict[str, object] = {
        "jobs": JOBS,
        "lost": JOBS - len(runs),
        "doubled": sum(number > 1 for number in (*runs.values(), *slots.values())),
        "not_completed": JOBS - good,
        "seconds": round(seconds, 1),
        "runs_per_second": round(JOBS / seconds, 2),
        "page_median_ms": round(statistics.median(everything), 1),
        "page_p95_ms": round(percentile(everything, 95), 1),
        "page_median_idle_ms": round(statistics.median(quiet), 1),
        "page_median_storm_vs_idle": round(statistics.median(everything) / statistics.median(quiet), 2),
    }
    pages: dict[str, object] = {
        page: {
            "requests": len(values),
            "median_ms": round(statistics.median(values), 1),
            "p95_ms": round(percentile(values, 95), 1),
            "idle_median_ms": round(statistics.median(idle[page]), 1) if page in idle else None,
        }
        for page, values in sorted(storm.items())
    }
    machine = {"cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version()}
    return {
        "measured_at": {"time": utc_now().isoformat(timespec="seconds"), **machine},
        "size": {"jobs": JOBS, "instances": INSTANCES, "workers": WORKERS, "visitors": VISITORS},
        "ratios": ratios,
        "pages": pages,
    }


def percentile(values: list[float], percent: int) -> float:
    """The value that so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


if __name__ == "__main__":
    main()
