"""A host of many files, and two ways to take a snapshot of it through the same sshd: plain rsync with --link-dest, and ours."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.measure import proportional_bytes, tree
from tests.support.sshd import SshServer
from webapp.core.snapshot_plans import HostPlan, SnapshotPlace, SnapshotPlan
from webapp.engine.memory import keep_memory_small
from webapp.engine.report import SilentReporter
from webapp.engine.snapshots import removal, take
from webapp.engine.snapshots.places import open_root
from webapp.engine.snapshots.probe import LIMITED, probe_host

SAMPLE_SECONDS = 0.1
FILES_PER_DIRECTORY = 50
# What rsync and ssh are to us: somebody else's programs, which the plain way has as well.
NOT_OURS = frozenset({"rsync", "ssh"})


@dataclass(frozen=True, slots=True)
class Timed:
    """One way, once. Memory in MB (10^6): of all processes together, and of those that are ours."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    own_peak_mb: float

    def as_json(self) -> dict[str, float]:
        """Rounded for a file."""
        return {key: round(value, 2) for key, value in asdict(self).items()}


def timed(work: Callable[[], object]) -> Timed:
    """Do it in a forked child, as a worker does, with a disk at rest before."""
    os.sync()
    gc.collect()
    gc.freeze()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    peak = own = 0
    while True:
        found, status, usage = os.wait4(child, os.WNOHANG)
        if found:
            break
        sizes = [(proportional_bytes(pid), name_of(pid) in NOT_OURS) for pid in tree(child)]
        peak = max(peak, sum(size for size, _ in sizes))
        own = max(own, sum(size for size, foreign in sizes if not foreign))
        time.sleep(SAMPLE_SECONDS)
    wall = time.monotonic() - began
    if status != 0:
        raise RuntimeError(f"the work failed with status {os.waitstatus_to_exitcode(status)}")
    return Timed(wall, usage.ru_utime + usage.ru_stime, peak / 1e6, own / 1e6)


def name_of(pid: int) -> str:
    """The program's name, "" when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def build_source(root: Path, *, files: int, total_bytes: int, seed: int = 1) -> None:
    """Files of sizes as a server has them: many small ones, few large ones, nothing that packs; in directories of fifty."""
    source = random.Random(seed)
    noise = source.randbytes(8_000_000)
    sizes = [source.lognormvariate(8.5, 1.3) for _ in range(files)]
    scale = total_bytes / sum(sizes)
    for number, size in enumerate(sizes):
        directory = root / f"srv{number // 5000}" / f"part{number // FILES_PER_DIRECTORY}"
        if number % FILES_PER_DIRECTORY == 0:
            directory.mkdir(parents=True)
        path = directory / f"document-{number}.bin"
        path.write_bytes(_bytes_of(noise, int(size * scale), source))
        _age(path, source)


def _bytes_of(noise: bytes, size: int, source: random.Random) -> bytes:
    start = source.randrange(len(noise) // 2)
    found = noise[start : start + size]
    while len(found) < size:
        found += noise[: size - len(found)]
    return found


def _age(path: Path, source: random.Random) -> None:
    moment = source.randrange(1_600_000_000, 1_790_000_000) * 10**9 + source.randrange(10**9)
    os.utime(path, ns=(moment, moment))


def change_source(root: Path, *, files: int, seed: int) -> None:
    """A day passes: of a hundred files one is changed, and of five hundred one goes and one comes."""
    source = random.Random(seed)
    for number in source.sample(range(files), files // 100):
        path = _path(root, number)
        if path.exists():
            path.write_bytes(source.randbytes(max(1, path.stat().st_size)))
    for number in source.sample(range(files), files // 500):
        _path(root, number).unlink(missing_ok=True)
        (root / f"srv0/part0/new-{seed}-{number}.bin").write_bytes(source.randbytes(8000))


def _path(root: Path, number: int) -> Path:
    return root / f"srv{number // 5000}" / f"part{number // FILES_PER_DIRECTORY}" / f"document-{number}.bin"


def plainly(server: SshServer, target: Path, base: Path | None) -> None:
    """What a person would write into a cron table."""
    key = server.directory / "client_key"
    known = server.directory / "known_hosts"
    known.write_text(f"[127.0.0.1]:{server.port} {server.host_key}\n")
    shell = f"ssh -F /dev/null -o BatchMode=yes -o UserKnownHostsFile={known} -i {key} -p {server.port}"
    words = ["rsync", "-a", "--delete", "--numeric-ids", "--hard-links", *([f"--link-dest={base}"] if base else [])]
    target.mkdir()
    subprocess.run([*words, "-e", shell, f"{server.user}@127.0.0.1:/", f"{target}/"], check=True)


def plainly_and_safely(server: SshServer, target: Path, base: Path | None) -> None:
    """The same, and on disk when it is over, as ours is."""
    plainly(server, target, base)
    subprocess.run(["sync", "-f", str(target)], check=True)


def takes_secluded(server: SshServer, place: Path) -> bool:
    """What a connection test says of the host's rsync."""
    plan = our_plan(server, place / "root", 0, None)
    checks = probe_host(plan.host, root=plan.root, reserve_bytes=0, reporter=SilentReporter())
    return not any(check.key == "rsync" and LIMITED in check.value for check in checks)


def as_we_do(server: SshServer, root: Path, *, number: int, base: SnapshotPlace | None, secluded: bool = True) -> None:
    """Ours, whole: pulled, listed, guarded, a sample read back, synced, promoted."""
    keep_memory_small()
    open_root(str(root), create=True)
    take.take(replace(our_plan(server, root, number, base), secluded=secluded), SilentReporter())


def our_place(root: Path, number: int) -> SnapshotPlace:
    """Where our snapshot of this number lies."""
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)
    return SnapshotPlace(str(root), "bench", moment.strftime("%Y%m%dT%H%M%SZ"))


def our_plan(server: SshServer, root: Path, number: int, base: SnapshotPlace | None) -> SnapshotPlan:
    """The plan of our snapshot."""
    place = our_place(root, number)
    return SnapshotPlan(
        run_id=number,
        fence=1,
        attempt=1,
        instance_id=1,
        instance_uid="bench",
        instance_name="bench",
        job_id=None,
        host=HostPlan(ssh=server.plan(), paths=("/",)),
        root=place.root,
        directory=place.directory,
        name=place.name,
        started_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number),
        base=base,
    )


def remove_ours(place: SnapshotPlace) -> None:
    """As a worker prunes."""
    keep_memory_small()
    removal.remove(place, SilentReporter())


def remove_plainly(target: Path) -> None:
    """As a person prunes."""
    subprocess.run(["rm", "-rf", str(target)], check=True)
