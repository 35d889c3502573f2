"""F33: a connection that dies at any byte, or falls silent, promotes nothing; the next attempt takes up what came."""

from __future__ import annotations

import os
import random
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.cutting_proxy import cutting_proxy
from tests.support.host_snapshots import partial_tree, plan_of, taken, tree_of
from tests.support.host_trees import compare, make_tree
from tests.support.sshd import SshServer
from webapp.core.errors import SourceError
from webapp.core.snapshot_plans import SnapshotPlan
from webapp.core.status import ErrorCode
from webapp.engine.report import SilentReporter
from webapp.engine.snapshots.found import list_found

POINTS = int(os.environ.get("HOLDFAST_CUTS", "5"))  # 100 in earnest: HOLDFAST_CUTS=100 pytest …
_CODES = {ErrorCode.CONNECTION_LOST, ErrorCode.SSH_FAILED, ErrorCode.RSYNC_FAILED}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = make_tree(tmp_path / "source", files=12)
    (source / "large").write_bytes(random.Random(1).randbytes(3_000_000))
    return source


def through(plan: SnapshotPlan, port: int, **changes: int) -> SnapshotPlan:
    """The plan, its host reached by way of a proxy."""
    return replace(plan, host=replace(plan.host, ssh=replace(plan.host.ssh, port=port), **changes))


def test_f33_a_cut_at_any_byte_promotes_nothing_and_the_rest_comes_later(
    ssh_server: SshServer, source: Path, tmp_path: Path
) -> None:
    chance = random.Random(7)
    plan = plan_of(ssh_server, tmp_path / "root", source)
    for number in range(POINTS):
        # The conversation has about 3 kB before the first list. The large file changes each time: 3 MB have always to come.
        (source / "large").write_bytes(random.Random(number).randbytes(3_000_000))
        after = int(10 ** chance.uniform(2, 6.4))
        with cutting_proxy(ssh_server.port, after) as proxy, pytest.raises(SourceError) as caught:
            taken(through(plan, proxy.port))
        assert caught.value.code in _CODES, (after, caught.value.message)
        assert not caught.value.permanent, (after, caught.value.message)
        assert list_found(plan.root, plan.directory) == []

    reporter = SilentReporter()
    result = taken(plan, reporter)

    assert compare(source, tree_of(result.place, source)) == []
    assert any("is taken up" in line for _, line in reporter.lines)
    assert "--inplace" not in result.manifest.options  # What lies there may have other names by now.
    assert result.report.passed


def test_f33_the_next_attempt_does_not_bring_again_what_came(
    ssh_server: SshServer, source: Path, tmp_path: Path
) -> None:
    for number in range(30):
        (source / f"more{number:02}").write_bytes(random.Random(number).randbytes(200_000))
    plan = plan_of(ssh_server, tmp_path / "root", source)
    with cutting_proxy(ssh_server.port, 8_000_000) as proxy, pytest.raises(SourceError):
        taken(through(plan, proxy.port))
    assert any(Path(f"{partial_tree(plan)}{source}").iterdir())

    result = taken(plan)

    assert result.manifest.transferred_bytes < result.manifest.total_bytes - 1_000_000
    assert compare(source, tree_of(result.place, source)) == []


def test_f33_a_host_that_falls_silent_is_left_after_the_time_limit(
    ssh_server: SshServer, source: Path, tmp_path: Path
) -> None:
    plan = plan_of(ssh_server, tmp_path / "root", source)
    began = time.monotonic()

    with cutting_proxy(ssh_server.port, 1_000_000, silent=True) as proxy, pytest.raises(SourceError) as caught:
        taken(through(plan, proxy.port, timeout_seconds=2))

    assert caught.value.code is ErrorCode.STALLED
    assert time.monotonic() - began < 30
    assert list_found(plan.root, plan.directory) == []
