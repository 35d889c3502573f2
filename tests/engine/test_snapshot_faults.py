"""What was promoted stays as it is, whatever becomes of the source (F32) and of our own disk (F34)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.host_snapshots import plan_of, taken
from tests.support.host_trees import compare, differences, make_tree, read_snapshot, walk
from tests.support.snapshots import small_disk
from tests.support.sshd import SshServer, only_reads, running_sshd
from webapp.core.errors import SourceError, StoreError
from webapp.core.snapshot_plans import SnapshotPlace, SnapshotPlan
from webapp.core.status import ErrorCode
from webapp.engine.report import SilentReporter
from webapp.engine.snapshots.take import take

WHOLE = {"paths": ("/",)}


@pytest.fixture(scope="module")
def server() -> Iterator[SshServer]:
    """An sshd of this module's own, because its key is changed."""
    with running_sshd() as server:
        yield server


@pytest.fixture
def source(server: SshServer, tmp_path: Path) -> Path:
    """What the server gives as "/"."""
    source = make_tree(tmp_path / "source", files=30)
    only_reads(server, source)
    return source


def inodes(place: SnapshotPlace) -> dict[bytes, int]:
    """Every entry of the snapshot's own directory."""
    return {inside: os.lstat(path).st_ino for path, inside in walk(place.path.encode())}


def visible(plan: SnapshotPlan) -> list[str]:
    """The promoted snapshots."""
    return sorted(name for name in os.listdir(f"{plan.root}/{plan.directory}") if not name.startswith("."))


def test_f32_a_disk_that_is_not_mounted_at_the_host_costs_nothing(
    server: SshServer, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    for number in range(15):
        (tmp_path / "disk" / f"file {number}").write_bytes(b"%d" % number)
    (source / "srv").mkdir()
    mount = ["mount", "--bind", tmp_path / "disk", source / "srv"]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("a directory cannot be mounted over another here")
    try:
        base = taken(plan_of(server, tmp_path / "root", source, host=WHOLE)).place
        before, inodes_before = read_snapshot(Path(base.tree)), inodes(base)
        plan = plan_of(server, tmp_path / "root", source, run_id=2, host=WHOLE, base=base)
        subprocess.run(["umount", source / "srv"], check=True)

        with pytest.raises(SourceError) as failure:
            taken(plan)

        assert failure.value.code is ErrorCode.SOURCE_EMPTIED
        assert "/srv (15 files and links before)" in failure.value.message
        assert visible(plan) == [base.name]
        assert (differences(before, read_snapshot(Path(base.tree))), inodes(base)) == ([], inodes_before)

        subprocess.run(mount, check=True)
        place = taken(
            plan_of(server, tmp_path / "root", source, run_id=3, host=WHOLE, base=base, resume_from=(2,))
        ).place

        assert compare(source, Path(place.tree)) == []
        assert inodes(base) == inodes_before
    finally:
        subprocess.run(["umount", source / "srv"], check=False, capture_output=True)


def test_f32_files_overwritten_at_the_host_are_as_they_were_in_the_snapshot_before(
    server: SshServer, source: Path, tmp_path: Path
) -> None:
    base = taken(plan_of(server, tmp_path / "root", source, host=WHOLE)).place
    before = read_snapshot(Path(base.tree))
    for path, _ in walk(source):
        if os.path.isfile(path) and not os.path.islink(path):
            with open(path, "r+b") as file:
                file.write(b"ENCRYPTED")

    place = taken(plan_of(server, tmp_path / "root", source, run_id=2, host=WHOLE, base=base)).place

    assert differences(before, read_snapshot(Path(base.tree))) == []
    assert compare(source, Path(place.tree)) == []


def test_f34_a_disk_out_of_inodes_fails_the_run_and_a_later_one_goes_on(
    server: SshServer, source: Path, tmp_path: Path
) -> None:
    entries = sum(1 for _ in walk(source))
    with small_disk(tmp_path / "disk", f"size=64m,nr_inodes={entries + 100}") as disk:
        base = taken(plan_of(server, disk, source, host=WHOLE)).place
        before, inodes_before = read_snapshot(Path(base.tree)), inodes(base)
        for number in range(200):
            (source / f"more {number}").write_bytes(b"more")
        # rsync 3.5.0 may then wait for itself for ever.
        plan = plan_of(server, disk, source, run_id=2, host=WHOLE | {"timeout_seconds": 12}, base=base)

        with pytest.raises(StoreError) as failure:
            taken(plan)

        assert failure.value.code is ErrorCode.DISK_FULL
        assert visible(plan) == [base.name]
        assert (differences(before, read_snapshot(Path(base.tree))), inodes(base)) == ([], inodes_before)

        subprocess.run(["mount", "-o", f"remount,nr_inodes={3 * entries + 500}", disk], check=True)
        place = taken(plan).place

        assert compare(source, Path(place.tree)) == []


class Turning(SilentReporter):
    """Makes the disk read-only when a step begins."""

    def __init__(self, disk: Path, key: str) -> None:
        super().__init__()
        self.disk, self.key = disk, key

    def step(self, key: str, title: str, detail: str = "") -> None:
        """As an error of the disk does to ext4 (errors=remount-ro)."""
        super().step(key, title, detail)
        if key == self.key:
            subprocess.run(["mount", "-o", "remount,ro", self.disk], check=True)


@pytest.mark.parametrize("key", ["transfer", "list", "verify", "store"])
def test_f34_a_disk_that_turns_read_only_fails_the_run_and_a_later_one_goes_on(
    server: SshServer, source: Path, tmp_path: Path, key: str
) -> None:
    with small_disk(tmp_path / "disk", "size=64m") as disk:
        base = taken(plan_of(server, disk, source, host=WHOLE)).place
        before, inodes_before = read_snapshot(Path(base.tree)), inodes(base)
        (source / "more").write_bytes(b"more")
        plan = plan_of(server, disk, source, run_id=2, host=WHOLE, base=base)
        reporter = Turning(disk, key)

        with pytest.raises(StoreError) as failure:
            take(plan, reporter)

        assert failure.value.code in (ErrorCode.STORE_UNAVAILABLE, ErrorCode.STORE_ERROR)
        assert visible(plan) == [base.name]
        assert (differences(before, read_snapshot(Path(base.tree))), inodes(base)) == ([], inodes_before)

        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        assert compare(source, Path(taken(plan).place.tree)) == []
