"""The connection test of a host, against a real sshd: each question by itself, the first failure on the way skips the rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.test_snapshot_pull import forced_command
from tests.support.postgres import free_port
from tests.support.sshd import SshServer, make_key
from webapp.core.reports import Check, CheckState
from webapp.core.snapshot_plans import HostPlan
from webapp.core.status import ErrorCode
from webapp.engine.report import SilentReporter
from webapp.engine.snapshots.places import open_root
from webapp.engine.snapshots.probe import LIMITED, probe_host

KEYS = ["dns", "tcp", "ssh", "rsync", "paths", "local_rsync", "root", "free_space"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source/etc").mkdir(parents=True)
    (tmp_path / "source/etc/hosts").write_text("x")
    return tmp_path / "source"


def probed(plan: HostPlan, root: Path, *, reserve_bytes: int = 0) -> dict[str, Check]:
    checks = probe_host(plan, root=str(root), reserve_bytes=reserve_bytes, reporter=SilentReporter())
    assert [check.key for check in checks] == KEYS
    return {check.key: check for check in checks}


def states(checks: dict[str, Check]) -> list[CheckState]:
    return [checks[key].state for key in KEYS]


@pytest.mark.parametrize("limited", [False, True], ids=["plain key", "rrsync"])
def test_everything_a_snapshot_needs(limited: bool, ssh_server: SshServer, source: Path, tmp_path: Path) -> None:
    open_root(str(tmp_path / "root"), create=True)
    command = "rrsync -ro /" if limited else 'exec sh -c \\"$SSH_ORIGINAL_COMMAND\\"'

    with forced_command(ssh_server, command):
        checks = probed(HostPlan(ssh_server.plan(), (f"{source}/etc", f"{source}/etc/hosts")), tmp_path / "root")

    assert set(states(checks)) == {CheckState.PASSED}, checks
    assert "SHA256:" in checks["ssh"].detail
    assert ("limited by rrsync" in checks["rsync"].detail) is limited
    assert (LIMITED in checks["rsync"].value) is limited


def test_a_missing_path_and_a_path_that_is_only_a_link(ssh_server: SshServer, source: Path, tmp_path: Path) -> None:
    (source / "link").symlink_to("etc")

    missing = probed(HostPlan(ssh_server.plan(), (f"{source}/etc", f"{source}/srv")), tmp_path / "root")["paths"]
    link = probed(HostPlan(ssh_server.plan(), (f"{source}/link",)), tmp_path / "root")["paths"]

    assert (missing.state, missing.code) == (CheckState.FAILED, ErrorCode.FILES_UNREADABLE)
    assert f"{source}/srv" in missing.detail
    assert (link.state, link.value) == (CheckState.FAILED, "link")


def test_the_first_failure_on_the_way_skips_what_lies_behind_it(
    ssh_server: SshServer, source: Path, tmp_path: Path
) -> None:
    plan = HostPlan(ssh_server.plan(), (str(source),))
    _, other = make_key(tmp_path / "other")
    skipped, passed, failed = CheckState.SKIPPED, CheckState.PASSED, CheckState.FAILED

    nowhere = probed(replace(plan, ssh=replace(plan.ssh, port=free_port())), tmp_path / "root")
    changed = probed(replace(plan, ssh=replace(plan.ssh, host_key=other)), tmp_path / "root")

    assert states(nowhere)[:5] == [passed, failed, skipped, skipped, skipped]
    assert states(changed)[:5] == [passed, passed, failed, skipped, skipped]
    assert changed["ssh"].code is ErrorCode.HOST_KEY_MISMATCH
    assert states(changed)[5:] == [passed, passed, passed]


def test_a_key_that_is_for_another_command(ssh_server: SshServer, source: Path, tmp_path: Path) -> None:
    with forced_command(ssh_server, "echo not here >&2; false"):
        check = probed(HostPlan(ssh_server.plan(), (str(source),)), tmp_path / "root")["rsync"]

    assert check.state is CheckState.FAILED
    assert "not here" in check.detail
    assert "limited to another command" in check.hint


def test_too_little_space_and_a_root_that_cannot_be(ssh_server: SshServer, source: Path, tmp_path: Path) -> None:
    plan = HostPlan(ssh_server.plan(), (str(source),))

    full = probed(plan, tmp_path / "root", reserve_bytes=10**18)
    impossible = probed(plan, Path("/proc/sys/holdfast"))

    assert (full["free_space"].state, full["free_space"].code) == (CheckState.FAILED, ErrorCode.DISK_FULL)
    assert full["root"].value == "new"
    assert impossible["root"].state is CheckState.FAILED
    assert not (tmp_path / "root").exists()
