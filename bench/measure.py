"""Measures one way to work: wall time, CPU of our processes, peak memory of the tree, peak temporary disk, bytes made.

The work runs in a forked child. Its CPU is what the kernel accounts to it and to all its children (pg_dump included, the
PostgreSQL server not). Memory is the sum of the tree's proportional set sizes, sampled every 50 ms. Disk is what lies in the
work's directory, and in files that it has open and unlinked already, less what is left as the result; it is sampled as often
as that costs no more than a twentieth of a core.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import shutil
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from statistics import median
from typing import Any

SAMPLE_SECONDS = 0.05
DISK_REST = 20.0


@dataclass(frozen=True, slots=True)
class Measured:
    """One measured way. Times in seconds, sizes in MB (10^6)."""

    name: str
    wall_s: float
    cpu_s: float
    peak_rss_mb: float
    temp_disk_mb: float
    result_mb: float

    def as_json(self) -> dict[str, Any]:
        """Rounded for a file."""
        return {key: round(value, 2) if isinstance(value, float) else value for key, value in asdict(self).items()}


def measure(name: str, work: Callable[[Path], None], place: Path) -> Measured:
    """Run ``work(directory)`` in a child of its own; what it leaves in the directory is the result. Cleaned up afterwards."""
    directory = place / name
    directory.mkdir(parents=True)
    os.sync()
    gc.collect()
    gc.freeze()  # as our worker does: a collection must not copy what the child shares with us
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _work(work, directory)
    peak_memory, peak_disk, status, usage = _watch(child, directory)
    wall = time.monotonic() - began
    if status != 0:
        raise RuntimeError(f"{name} failed with status {status}")
    result = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    shutil.rmtree(directory)
    measured = Measured(
        name=name,
        wall_s=wall,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_rss_mb=peak_memory / 1e6,
        temp_disk_mb=max(0.0, (peak_disk - result) / 1e6),
        result_mb=result / 1e6,
    )
    print(
        f"{name:<22} {measured.wall_s:7.1f} s  {measured.cpu_s:7.1f} CPU s  {measured.peak_rss_mb:6.0f} MB memory  "
        f"{measured.temp_disk_mb:6.0f} MB temporary  {measured.result_mb:6.0f} MB result",
        flush=True,
    )
    return measured


def middle(found: Sequence[Measured]) -> Measured:
    """The median of every number, each by itself."""
    columns = zip(*(astuple(one)[1:] for one in found), strict=True)
    return Measured(found[0].name, *(median(column) for column in columns))


def _work(work: Callable[[Path], None], directory: Path) -> None:
    """In the child: work, then leave without running the parent's cleanup."""
    code = 1
    try:
        work(directory)
        code = 0
    except BaseException:  # the child's last word, whatever happened
        traceback.print_exc()
    finally:
        os._exit(code)


def _watch(child: int, directory: Path) -> tuple[int, int, int, resource.struct_rusage]:
    peak_memory = peak_disk = 0
    next_disk = 0.0
    while True:
        found, status, usage = os.wait4(child, os.WNOHANG)
        if found:
            return peak_memory, peak_disk, os.waitstatus_to_exitcode(status), usage
        peak_memory = max(peak_memory, sum(proportional_bytes(pid) for pid in tree(child)))
        began = time.monotonic()
        if began >= next_disk:
            peak_disk = max(peak_disk, used_bytes(directory) + unlinked_bytes(tree(child)))
            next_disk = began + DISK_REST * (time.monotonic() - began)
        time.sleep(SAMPLE_SECONDS)


def used_bytes(directory: Path) -> int:
    """Bytes of all files below the directory, by their length."""
    found, queue = 0, [str(directory)]
    while queue:
        with contextlib.suppress(FileNotFoundError), os.scandir(queue.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    queue.append(entry.path)
                else:
                    found += _length(entry)
    return found


def _length(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0


def unlinked_bytes(pids: list[int]) -> int:
    """Bytes of files on disk that these processes have open and that have no name any more."""
    found: dict[tuple[int, int], int] = {}
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            with contextlib.suppress(OSError):
                name = str(link.readlink())
                if name.endswith(" (deleted)") and not name.startswith(("/dev/shm", "/memfd:")):
                    file = link.stat()
                    found[file.st_dev, file.st_ino] = file.st_size
    return sum(found.values())


def tree(root: int) -> list[int]:
    """The process and all its descendants."""
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        for task in Path(f"/proc/{pid}/task").glob("*"):
            try:
                queue.extend(int(word) for word in (task / "children").read_text().split())
            except OSError:
                continue
    return found


def proportional_bytes(pid: int) -> int:
    """Memory of a process, shared pages counted in proportion; 0 when it is gone."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0
