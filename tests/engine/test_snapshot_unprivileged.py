"""Holdfast where it is not root: owners, modes, links and devices are kept all the same, as notes beside the files."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.proof.stage import exit_code, in_child
from tests.support.host_snapshots import plan_of, taken, tree_of
from tests.support.host_trees import change_tree, compare, make_tree, shared_names
from tests.support.sshd import SshServer
from webapp.core.snapshot_plans import SnapshotPlace
from webapp.core.status import VerificationLevel
from webapp.engine.report import SilentReporter
from webapp.engine.snapshots import removal, verification

NOBODY = 65534
PR_SET_DUMPABLE = 4  # prctl(2): else /proc/self is still root's after the change of user.

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def root(scratch: Path) -> Path:
    made = scratch / "root"
    made.mkdir()
    os.chown(made, NOBODY, NOBODY)
    return made


def as_nobody(work: Callable[[], object]) -> int:
    """Do it in a child that is nobody; its exit code."""

    def child() -> None:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1)
        work()

    return exit_code(in_child(child))


def verify(place: SnapshotPlace) -> None:
    report = verification.verify(place, "", "", VerificationLevel.COMPLETE, SilentReporter())
    assert report.passed, report


def test_a_host_s_tree_comes_whole_and_goes_again(ssh_server: SshServer, root: Path, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source", files=12)
    first = plan_of(ssh_server, root, source)
    second = plan_of(ssh_server, root, source, run_id=2, base=first.place)

    assert as_nobody(lambda: taken(first)) == 0
    assert compare(source, tree_of(first.place, source)) == []
    change_tree(source, seed=2)
    assert as_nobody(lambda: taken(second)) == 0

    assert compare(source, tree_of(second.place, source)) == []
    assert len(shared_names(tree_of(first.place, source), tree_of(second.place, source))) > 50
    assert as_nobody(lambda: verify(second.place)) == 0
    assert as_nobody(lambda: removal.remove(first.place, SilentReporter())) == 0
    assert compare(source, tree_of(second.place, source)) == []
    assert not Path(first.place.path).exists()
