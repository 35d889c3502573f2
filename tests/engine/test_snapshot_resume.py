"""An attempt that died leaves a tree that shares files with the base; whatever goes on there may not touch the base."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.host_snapshots import partial_tree, plan_of, taken, tree_of
from tests.support.host_trees import compare, differences, make_tree, read_snapshot, shared_names
from tests.support.sshd import SshServer
from webapp.core.snapshot_plans import SnapshotPlan
from webapp.engine.report import SilentReporter
from webapp.engine.snapshots.partials import begin


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "source", files=12)


def died(plan: SnapshotPlan) -> None:
    """What a run leaves when it dies as rsync ends: the tree, its files those of the base."""
    begun = begin(plan, SilentReporter())
    assert plan.base is not None
    subprocess.run(["cp", "-al", f"{plan.base.tree}/.", f"{begun.path}/data"], check=True)


@pytest.mark.parametrize("run_of_the_dead", [2, 3], ids=["own attempt", "another run"])
def test_modes_that_change_before_the_resumption_leave_the_base_alone(
    ssh_server: SshServer, source: Path, tmp_path: Path, run_of_the_dead: int
) -> None:
    root = tmp_path / "root"
    base = taken(plan_of(ssh_server, root, source)).place
    before = read_snapshot(tree_of(base, source))
    plan = plan_of(ssh_server, root, source, run_id=2, base=base, resume_from=(3,))
    died(replace(plan, run_id=run_of_the_dead))
    for path in (source / "etc0/part0").iterdir():
        path.chmod(0o4711)
    (source / "links/one/first 3").chmod(0o600)
    (source / "odd/data").unlink()
    shutil.rmtree(source / "etc2")
    (source / "etc3").rename(source / "etc33")

    reporter = SilentReporter()

    place = taken(plan, reporter).place

    assert any("is taken up" in line for _, line in reporter.lines)
    assert differences(before, read_snapshot(tree_of(base, source))) == []
    assert compare(source, tree_of(place, source)) == []
    assert not (root / plan.directory / ".partial" / str(run_of_the_dead)).exists()


def test_what_an_older_attempt_brought_from_elsewhere_is_not_in_the_snapshot(
    ssh_server: SshServer, source: Path, tmp_path: Path
) -> None:
    plan = plan_of(ssh_server, tmp_path / "root", source, run_id=2, resume_from=(1,))
    (tmp_path / "root" / plan.directory).mkdir(parents=True)
    begin(plan_of(ssh_server, tmp_path / "root", source, host={"paths": (str(source), "/srv")}), SilentReporter())
    left = partial_tree(plan, 1)
    (left / "srv/other").mkdir(parents=True)
    (left / "srv/other/secret").write_bytes(b"of a path that the job had before")
    shutil.copytree(source / "etc1", left / str(source)[1:] / "gone since")

    place = taken(plan).place

    assert compare(source, tree_of(place, source)) == []
    assert not Path(place.tree, "srv").exists()


def test_what_an_older_attempt_brought_under_other_options_does_not_stay(
    ssh_server: SshServer, source: Path, tmp_path: Path
) -> None:
    before = plan_of(ssh_server, tmp_path / "root", source)
    (tmp_path / "root" / before.directory).mkdir(parents=True)
    begin(before, SilentReporter())
    left = partial_tree(before)
    shutil.copytree(source / "etc0", f"{left}{source}/etc0")
    plan = plan_of(ssh_server, tmp_path / "root", source, host={"options": ("--max-size=100",)})

    place = taken(plan).place

    sizes = [path.stat().st_size for path in tree_of(place, source).rglob("*.conf")]
    assert sizes
    assert max(sizes) <= 100


def test_scraps_of_a_killed_attempt_do_not_keep_the_next_one_from_its_end(
    ssh_server: SshServer, source: Path, tmp_path: Path
) -> None:
    plan = plan_of(ssh_server, tmp_path / "root", source)
    (tmp_path / "root" / plan.directory).mkdir(parents=True)
    begun = Path(begin(plan, SilentReporter()).path)
    for name in ("sortAb3xYz", "files.list", "snapshot.json", "digests.log", ".snapshot.json.tmp"):
        (begun / name).write_bytes(b"half")

    place = taken(plan).place

    assert compare(source, tree_of(place, source)) == []
    assert sorted(os.listdir(place.path)) == ["data", "files.list", "snapshot.json"]


def test_a_file_that_changes_twice_in_a_second_is_not_taken_for_unchanged(
    ssh_server: SshServer, source: Path, tmp_path: Path
) -> None:
    file = source / "etc0/part0/file0.conf"
    file.write_bytes(b"one")
    os.utime(file, ns=(10**18 + 1, 10**18 + 1))
    base = taken(plan_of(ssh_server, tmp_path / "root", source)).place
    file.write_bytes(b"two")
    os.utime(file, ns=(10**18 + 2, 10**18 + 2))

    place = taken(plan_of(ssh_server, tmp_path / "root", source, run_id=2, base=base)).place

    assert compare(source, tree_of(place, source)) == []
    assert b"etc0/part0/file0.conf" not in shared_names(tree_of(base, source), tree_of(place, source))
