"""What the engine took is what the engine reads: a snapshot pulled from a real host, browsed, compared and put back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.host_snapshots import plan_of, taken, tree_of
from tests.support.host_trees import change_tree, differences, make_tree, read_source
from tests.support.limited_keys import limited_key
from tests.support.rsync_snapshots import aged
from tests.support.sshd import SshServer
from webapp.core.reports import CheckState
from webapp.core.snapshot_plans import FileRestorePlan, HostPlan, SnapshotPlace
from webapp.core.status import SnapshotTarget
from webapp.engine.report import SilentReporter
from webapp.engine.snapshots.differences import compare
from webapp.engine.snapshots.file_restore import run
from webapp.engine.snapshots.live import compare_live
from webapp.engine.snapshots.search import search
from webapp.engine.snapshots.tree import find_node, list_directory, open_file


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return aged(make_tree(tmp_path_factory.mktemp("source")))


@pytest.fixture(scope="module")
def place(ssh_server: SshServer, source: Path, tmp_path_factory: pytest.TempPathFactory) -> SnapshotPlace:
    return taken(plan_of(ssh_server, tmp_path_factory.mktemp("root"), source)).place


def test_a_taken_snapshot_is_browsed_and_searched(place: SnapshotPlace, source: Path) -> None:
    facts = read_source(source)

    listing = list_directory(place, f"{source}/kinds", limit=100)

    assert {node.name: node.kind.value.replace("_", " ") for node in listing.entries} == {
        name.removeprefix(b"kinds/").decode(): fact.kind for name, fact in facts.items() if name.startswith(b"kinds/")
    }
    assert find_node(place, f"{source}/modes/file 4755").mode == 0o4755
    assert [node.path for node in search(place, "part0/file0.conf")] == [f"{source}/etc0/part0/file0.conf"]
    file, size = open_file(place, f"{source}/kinds/sparse")
    with file:
        assert len(file.read()) == size == 3_000_000


def test_two_days_are_compared_and_the_first_comes_back(ssh_server: SshServer, tmp_path: Path) -> None:
    source = aged(make_tree(tmp_path / "source"))
    root, inside = tmp_path / "root", str(tmp_path / "source").encode()
    first = taken(plan_of(ssh_server, root, source, run_id=1)).place
    before = read_source(source)
    changes = change_tree(source, seed=3)
    second = taken(plan_of(ssh_server, root, source, run_id=2, base=first)).place

    found = compare(first, second)

    assert found.by_content
    told = {change.path.encode("utf-8", "surrogateescape") for change in found.added}
    assert told == {inside + b"/" + name for name in changes.added}
    told = {change.path.encode("utf-8", "surrogateescape") for change in found.changed}
    assert told == {inside + b"/" + name for name in changes.changed}
    assert len(found.removed) == len(changes.removed)
    assert len(found.attributes) == len(changes.touched) + len(changes.reowned)
    plan = FileRestorePlan(
        1, first, (str(source),), SnapshotTarget.HOST, "/", ssh_server.plan(), delete_others=True, dry_run=False
    )
    run(plan, SilentReporter())
    assert differences(before, read_source(source)) == []


def test_a_taken_snapshot_equals_its_host(
    place: SnapshotPlace, ssh_server: SshServer, source: Path, tmp_path: Path
) -> None:
    with limited_key(ssh_server, tmp_path, "rrsync -ro /") as ssh:
        checks = compare_live(place, HostPlan(ssh=ssh, paths=(str(source),)), SilentReporter(), sample_files=50)

    assert [check.state for check in checks] == [CheckState.PASSED, CheckState.PASSED]
    assert checks[0].detail == "50 files compared, all equal."


def test_nothing_of_a_tree_is_lost_between_list_and_disk(place: SnapshotPlace, source: Path) -> None:
    assert tree_of(place, source).is_dir()
    assert compare(place, place).is_empty
