"""Snapshots made by rsync and a few lines of Python alone, so that what reads them is not tested by what writes them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import xxhash

from tests.support.host_trees import ATTRIBUTE, walk
from webapp.core.snapshot_manifest import SnapshotManifest
from webapp.core.snapshot_plans import SnapshotPlace
from webapp.core.status import SnapshotLayout

RSYNC = shutil.which("rsync") or "rsync"
_COUNTS = ("file_count", "directory_count", "other_count", "total_bytes", "new_files", "new_bytes", "gone_files")


def aged(source: Path) -> Path:
    """The tree, its fifos and devices old: rsync leaves the time of a new one alone that is right to the second."""
    for path in (source / "kinds").iterdir():
        os.utime(path, ns=(10**18 + 1, 10**18 + 1), follow_symlinks=False)
    return source


def snap(source: Path, root: Path, name: str, *, base: SnapshotPlace | None = None) -> SnapshotPlace:
    """A snapshot of ours: the tree with everything noted in attributes, its list, its manifest."""
    place = SnapshotPlace(str(root), "web-01", name)
    os.makedirs(place.tree)
    words = ["-aH", "--numeric-ids", "-M--fake-super", *([f"--link-dest={base.tree}"] if base else [])]
    subprocess.run([RSYNC, *words, f"{source}/", f"{place.tree}/"], check=True)
    write_list(place, base=base)
    return place


def snap_plainly(source: Path, root: Path, name: str) -> SnapshotPlace:
    """A snapshot as another tool leaves it: real links, modes and owners, no list."""
    place = SnapshotPlace(str(root), "old-01", name, SnapshotLayout.PLAIN)
    os.makedirs(place.path)
    subprocess.run([RSYNC, "-aH", "--numeric-ids", f"{source}/", f"{place.path}/"], check=True)
    return place


def write_list(place: SnapshotPlace, *, base: SnapshotPlace | None = None) -> None:
    """List and manifest of a tree that lies there. The manifest's counts are nought: who reads here does not ask for them."""
    records = sorted((inside, record_of(path, inside)) for path, inside in walk(Path(place.tree)) if inside != b".")
    content = b"".join(record + b"\0" for _, record in records)
    Path(place.path, "files.list").write_bytes(content)
    now = datetime(2026, 11, 22, 2, 15, tzinfo=UTC).isoformat()
    manifest = SnapshotManifest(
        **dict.fromkeys(_COUNTS, 0),
        run_id=1,
        fence=1,
        attempt=1,
        job_id=1,
        instance_id=1,
        instance_uid="u1",
        instance_name="web-01",
        name=place.name,
        base=base.name if base else "",
        paths=("/",),
        digest="xxh128",
        list_sha256=hashlib.sha256(content).hexdigest(),
        list_bytes=len(content),
        started_at=now,
        completed_at=now,
        holdfast_version="0",
        transferred_bytes=0,
        transfer_seconds=0,
    )
    Path(place.path, "snapshot.json").write_text(json.dumps(manifest.as_json()))


def record_of(path: bytes, inside: bytes) -> bytes:
    """One record of the list."""
    seen = os.lstat(path)
    try:
        noted = os.getxattr(path, ATTRIBUTE).replace(b" ", b";")
    except OSError:
        noted = b"-"
    is_directory = os.path.isdir(path)
    digest = b"-" if is_directory else xxhash.xxh128(Path(os.fsdecode(path)).read_bytes()).hexdigest().encode()
    seconds, rest = divmod(seen.st_mtime_ns, 10**9)
    kind, mode = b"d" if is_directory else b"f", seen.st_mode & 0o7777
    times = b"%d %d.%09d0 %d" % (seen.st_size, seconds, rest, seen.st_ino)
    return b"%s %o %d %d %s %s %s/%s" % (kind, mode, seen.st_uid, seen.st_gid, times, noted, digest, inside)
