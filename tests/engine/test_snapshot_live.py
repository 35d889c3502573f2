"""A sample compared with a real host through a key that may only read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.host_trees import make_tree, read_snapshot, read_source
from tests.support.limited_keys import limited_key
from tests.support.rsync_snapshots import aged, snap, snap_plainly
from tests.support.sshd import SshServer, make_key
from webapp.core.errors import NotFound, SourceError
from webapp.core.plans import Secret
from webapp.core.reports import Check, CheckState
from webapp.core.snapshot_plans import HostPlan, SnapshotPlace
from webapp.core.status import ErrorCode
from webapp.engine.report import SilentReporter
from webapp.engine.snapshots.live import compare_live, told_all
from webapp.engine.snapshots.output import Complaints

NAME = "20261122T021500Z"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return aged(make_tree(tmp_path / "source"))


@pytest.fixture
def place(source: Path, tmp_path: Path) -> SnapshotPlace:
    return snap(source, tmp_path / "root", NAME)


@pytest.fixture
def host(ssh_server: SshServer, source: Path, tmp_path: Path) -> Iterator[HostPlan]:
    with limited_key(ssh_server, tmp_path, f"rrsync -ro {source}") as ssh:
        yield HostPlan(ssh=ssh, paths=("/",))


def asked(place: SnapshotPlace, host: HostPlan, sample_files: int = 1000) -> dict[str, Check]:
    return {check.key: check for check in compare_live(place, host, SilentReporter(), sample_files=sample_files)}


def change_unseen(path: Path) -> None:
    before = path.stat()
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_host_that_did_not_change_is_equal_and_nothing_is_written(
    place: SnapshotPlace, host: HostPlan, source: Path
) -> None:
    before = read_source(source), read_snapshot(Path(place.tree))

    found = asked(place, host)

    assert found["live_sample"].state is CheckState.PASSED
    assert found["live_sample"].detail.endswith("files compared, all equal.")
    assert found["live_contents"].state is CheckState.PASSED
    assert (read_source(source), read_snapshot(Path(place.tree))) == before


def test_another_tools_snapshot_is_compared_as_well(source: Path, host: HostPlan, tmp_path: Path) -> None:
    place = snap_plainly(source, tmp_path / "root", NAME)

    assert asked(place, host)["live_sample"].detail.endswith("all equal.")


def test_what_changed_since_is_no_fault(place: SnapshotPlace, host: HostPlan, source: Path) -> None:
    (source / "etc0/part0/file0.conf").write_text("a new day")
    (source / "etc1/part1/file1.conf").unlink()
    (source / "etc2/part2/file2.conf").chmod(0o611)

    found = asked(place, host)

    assert [check.state for check in found.values()] == [CheckState.PASSED, CheckState.PASSED]
    assert "2 changed since, 1 no longer there." in found["live_sample"].detail


def test_a_file_changed_unseen_on_the_host_is_named(place: SnapshotPlace, host: HostPlan, source: Path) -> None:
    change_unseen(source / "modes/file 0444")

    check = asked(place, host)["live_contents"]

    assert (check.state, check.code) == (CheckState.WARNING, ErrorCode.HOST_DIFFERS)
    assert check.detail.endswith(": /modes/file 0444")


def test_a_file_changed_unseen_in_the_snapshot_is_named(place: SnapshotPlace, host: HostPlan) -> None:
    change_unseen(Path(place.tree, "links/one/first 2"))

    check = asked(place, host)["live_contents"]

    assert check.code is ErrorCode.HOST_DIFFERS
    assert "/links/one/first 2" in check.detail


def test_a_sample_is_no_larger_than_was_asked(place: SnapshotPlace, host: HostPlan) -> None:
    assert asked(place, host, 7)["live_sample"].value == "7"


def test_a_host_on_which_all_is_gone_cannot_pass(place: SnapshotPlace, ssh_server: SshServer, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with limited_key(ssh_server, tmp_path, f"rrsync -ro {tmp_path}/empty") as ssh:
        found = asked(place, HostPlan(ssh=ssh, paths=("/",)))

    assert found["live_sample"].state is CheckState.WARNING
    assert found["live_sample"].code is ErrorCode.FILES_UNREADABLE


def test_a_snapshot_without_files_has_nothing_to_compare(host: HostPlan, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    place = snap(tmp_path / "empty", tmp_path / "root", "20261123T021500Z")

    assert asked(place, host)["live_sample"].state is CheckState.SKIPPED


def test_a_host_that_refuses_is_an_error_and_no_answer(
    place: SnapshotPlace, ssh_server: SshServer, tmp_path: Path
) -> None:
    _, other = make_key(tmp_path / "other")
    private, _ = make_key(tmp_path / "unknown")
    for ssh, code in (
        (ssh_server.plan(host_key=other), ErrorCode.HOST_KEY_MISMATCH),
        (ssh_server.plan(private_key=Secret(private)), ErrorCode.SSH_FAILED),
    ):
        with pytest.raises(SourceError) as caught:
            asked(place, HostPlan(ssh=ssh, paths=("/",)))
        assert caught.value.code is code
    with limited_key(ssh_server, tmp_path, "false") as ssh, pytest.raises(SourceError) as caught:
        asked(place, HostPlan(ssh=ssh, paths=("/",)))
    assert caught.value.code is ErrorCode.RSYNC_FAILED


@pytest.mark.parametrize(
    ("returncode", "lines", "is_right"),
    [
        (23, ['rsync: [sender] link_stat "/x" failed: No such file or directory (2)'], True),
        (24, ['file has vanished: "/x"'], True),
        (23, ["rsync: [generator] write error: Broken pipe (32)", 'rsync: [sender] open "/x": Denied (13)'], True),
        (23, [], False),
        (23, ["rsync: something nobody knows"], False),
        (23, ["rsync: [receiver] mkdir failed: No space left on device (28)"], False),
        (12, ['rsync: [sender] link_stat "/x" failed: No such file or directory (2)'], False),
    ],
)
def test_files_count_as_compared_only_when_those_that_were_not_are_named(
    returncode: int, lines: list[str], *, is_right: bool
) -> None:
    complaints = Complaints()
    for line in lines:
        complaints.take(line.encode())

    assert told_all(returncode, complaints) is is_right


def test_a_snapshot_that_is_gone_is_an_error(host: HostPlan, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        asked(SnapshotPlace(str(tmp_path), "web-01", NAME), host)
