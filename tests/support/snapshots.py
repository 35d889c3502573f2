"""Snapshots made without a host: rsync from a directory of this machine, then list, manifest and promotion as in earnest."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from webapp.core.snapshot_manifest import LIST_NAME, SnapshotManifest
from webapp.core.snapshot_plans import SnapshotPlace
from webapp.engine.report import SilentReporter
from webapp.engine.snapshots.found import read_manifest
from webapp.engine.snapshots.listing import BaseList, ListTotals, write_list
from webapp.engine.snapshots.places import make_partial, open_root
from webapp.engine.snapshots.promotion import promote, write_manifest

STARTED = "2026-11-22T02:15:00+00:00"


def pull_locally(source: Path, data: str, base: SnapshotPlace | None = None) -> None:
    """What ``transfer.pull`` does, without SSH: fake-super at the receiving side only (rsync(1))."""
    words = ["rsync", "-aH", "--numeric-ids", "--delete", "-M--fake-super", "--modify-window=-1"]
    if base is not None:
        words.append(f"--link-dest={base.tree}")
    subprocess.run(
        [*words, "--", f"{source}/", f"{data}/"], check=True, env={"PATH": os.environ["PATH"], "LC_ALL": "C"}
    )


def list_partial(partial: str, base: SnapshotPlace | None = None, **changes: Any) -> ListTotals:
    """The list of an unfinished tree, its base's digests carried over."""
    before = None if base is None else BaseList(f"{base.path}/{LIST_NAME}")
    given: dict[str, Any] = {"digest": "xxh128", "reporter": SilentReporter()} | changes
    return write_list(f"{partial}/data", before, f"{partial}/digests.log", f"{partial}/{LIST_NAME}", **given)


def manifest_of(place: SnapshotPlace, totals: ListTotals, *, base: str = "", **changes: Any) -> SnapshotManifest:
    """The manifest of a snapshot with these counts."""
    made = SnapshotManifest(
        run_id=1,
        fence=1,
        attempt=1,
        job_id=3,
        instance_id=7,
        instance_uid="5b0e6b0e",
        instance_name="web-01",
        name=place.name,
        base=base,
        paths=("/",),
        digest="xxh128",
        list_sha256=totals.list_sha256,
        list_bytes=totals.list_bytes,
        started_at=STARTED,
        completed_at=STARTED,
        holdfast_version="0",
        file_count=totals.file_count,
        directory_count=totals.directory_count,
        other_count=totals.other_count,
        total_bytes=totals.total_bytes,
        new_files=totals.new_files,
        new_bytes=totals.new_bytes,
        gone_files=totals.gone_files,
        transferred_bytes=0,
        transfer_seconds=0.0,
    )
    return replace(made, **changes)


def store_snapshot(
    source: Path, place: SnapshotPlace, *, run_id: int = 1, fence: int = 1, base: SnapshotPlace | None = None
) -> SnapshotManifest:
    """Take a snapshot of ``source`` and promote it to ``place``; the root is made when it is missing."""
    open_root(place.root, create=True)
    partial = make_partial(place.root, place.directory, run_id)
    pull_locally(source, f"{partial}/data", base)
    totals = list_partial(partial, base)
    manifest = manifest_of(place, totals, base=base.name if base else "", run_id=run_id, fence=fence)
    write_manifest(place.root, place.directory, run_id, manifest)
    promote(place.root, place.directory, run_id, place.name)
    return manifest


def digests_of(place: SnapshotPlace) -> tuple[str, str]:
    """SHA-256 of manifest and list, as the catalogue has them."""
    manifest, sha256, problem = read_manifest(place)
    assert manifest is not None, problem
    return sha256, manifest.list_sha256


def mount_tmpfs(place: Path, options: str = "size=1m", kind: str = "tmpfs") -> None:
    """A file system in memory at ``place``; the test is skipped where none can be mounted."""
    place.mkdir(parents=True, exist_ok=True)
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    mounted = subprocess.run(["mount", "-t", kind, "-o", options, kind, place], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode()}")


@contextmanager
def small_disk(place: Path, options: str, kind: str = "tmpfs") -> Iterator[Path]:
    """A file system in memory with these mount options while inside."""
    mount_tmpfs(place, options, kind)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)
