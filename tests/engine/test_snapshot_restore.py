"""Files put back through a real sshd, and into a directory: what was chosen is there as it was, and nothing else is touched."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.host_trees import ODD_NAMES, Fact, differences, make_tree, read_source
from tests.support.limited_keys import limited_key
from tests.support.postgres import free_port
from tests.support.rsync_snapshots import aged, snap, snap_plainly
from tests.support.snapshots import small_disk
from tests.support.sshd import SshServer, make_key
from webapp.core.errors import HoldfastError, NotFound, SourceError, StoreError
from webapp.core.plans import SshPlan
from webapp.core.snapshot_plans import FileRestorePlan, FileRestoreResult, SnapshotPlace
from webapp.core.status import ErrorCode, SnapshotTarget
from webapp.engine.report import SilentReporter
from webapp.engine.snapshots.file_restore import run

NAME = "20261122T021500Z"
DEVICES = (b"kinds/null", b"kinds/disk", b"kinds/fifo", b"kinds/socket")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return aged(make_tree(tmp_path_factory.mktemp("source")))


@pytest.fixture(scope="module")
def place(source: Path, tmp_path_factory: pytest.TempPathFactory) -> SnapshotPlace:
    return snap(source, tmp_path_factory.mktemp("root"), NAME)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """What is the host's root directory to a key limited to it."""
    path = tmp_path / "host"
    path.mkdir()
    return path


@pytest.fixture
def in_place(ssh_server: SshServer, host: Path, tmp_path: Path) -> Iterator[SshPlan]:
    with limited_key(ssh_server, tmp_path, f"rrsync {host}") as plan:
        yield plan


def plan_of(place: SnapshotPlace, ssh: SshPlan | None, to: Path | str, *paths: str, **changes: Any) -> FileRestorePlan:
    kind = SnapshotTarget.DIRECTORY if ssh is None else SnapshotTarget.HOST
    plan = FileRestorePlan(1, place, paths, kind, str(to), ssh, delete_others=False, dry_run=False)
    return replace(plan, **changes)


def without_devices(source: Path) -> dict[bytes, Fact]:
    """What rrsync of a directory lets in."""
    return {name: fact for name, fact in read_source(source).items() if name not in DEVICES}


def restored(plan: FileRestorePlan) -> FileRestoreResult:
    return run(plan, SilentReporter())


def test_a_whole_host_is_put_back_as_it_was(place: SnapshotPlace, source: Path, host: Path, in_place: SshPlan) -> None:
    result = restored(plan_of(place, in_place, "/"))

    assert differences(without_devices(source), read_source(host)) == []
    assert result.counts["created"] > 200


def test_devices_and_all_else_come_back_through_a_key_that_is_not_limited(
    place: SnapshotPlace, source: Path, host: Path, ssh_server: SshServer
) -> None:
    plan = plan_of(place, ssh_server.plan(), host / "deep" / "new", target=SnapshotTarget.OTHER_HOST)

    restored(plan)

    assert differences(read_source(source), read_source(host / "deep/new")) == []
    assert restored(plan).changes == ()


def test_a_whole_host_of_another_tools_snapshot_is_put_back(
    source: Path, host: Path, in_place: SshPlan, tmp_path: Path
) -> None:
    restored(plan_of(snap_plainly(source, tmp_path / "root", NAME), in_place, "/"))

    assert differences(without_devices(source), read_source(host)) == []


def test_a_dry_run_changes_nothing_and_says_what_the_restore_then_does(
    place: SnapshotPlace, source: Path, host: Path, in_place: SshPlan
) -> None:
    restored(plan_of(place, in_place, "/"))
    (host / "etc0/part0/file0.conf").write_text("changed")
    (host / "etc1/part1/file1.conf").unlink()
    (host / "etc0/part0/other").write_text("not in the snapshot")
    (host / "modes/file 0444").chmod(0o600)
    before = read_source(host)
    plan = plan_of(place, in_place, "/", "/etc0", "/etc1", "/modes", delete_others=True)

    reporter = SilentReporter()

    shown = run(replace(plan, dry_run=True), reporter)

    assert read_source(host) == before
    assert any("3 would get other owners, modes or times" in text for _, text in reporter.lines), reporter.lines
    assert shown.counts == {"created": 1, "changed": 1, "attributes": 3, "deleted": 1, "skipped": 0}
    assert "*deleting etc0/part0/other" in shown.changes
    assert restored(plan) == shown
    assert differences(without_devices(source), read_source(host)) == []


def test_one_file_comes_back_and_its_neighbours_stay(
    place: SnapshotPlace, source: Path, host: Path, in_place: SshPlan
) -> None:
    (host / "etc0/part0").mkdir(parents=True)
    (host / "etc0").chmod(0o711)
    (host / "etc0/part0/other").write_text("stays")
    (host / "etc0/part0/file21.conf").write_text("stays changed")
    os.utime(host / "etc0", (10**9, 10**9))

    restored(plan_of(place, in_place, "/", "/etc0/part0/file0.conf", delete_others=True))

    assert (host / "etc0/part0/file0.conf").read_bytes() == (source / "etc0/part0/file0.conf").read_bytes()
    assert (host / "etc0/part0/other").read_text() == "stays"
    assert (host / "etc0/part0/file21.conf").read_text() == "stays changed"
    assert stat.S_IMODE((host / "etc0").stat().st_mode) == 0o711
    assert (host / "etc0").stat().st_mtime == 10**9


def test_others_are_deleted_below_the_chosen_directories_alone(
    place: SnapshotPlace, host: Path, in_place: SshPlan
) -> None:
    for name in ("other", "etc0/other", "etc0/part0/other", "etc0/part1/other", "etc1/other"):
        (host / name).parent.mkdir(parents=True, exist_ok=True)
        (host / name).write_text("")

    result = restored(plan_of(place, in_place, "/", "/etc0/part0", delete_others=True))

    assert result.counts["deleted"] == 1
    assert not (host / "etc0/part0/other").exists()
    assert all((host / name).exists() for name in ("other", "etc0/other", "etc0/part1/other", "etc1/other"))


@pytest.mark.parametrize("name", ODD_NAMES[::3])  # All of them together: below.
def test_a_name_however_odd_is_restored_alone_and_is_no_command(
    place: SnapshotPlace, source: Path, tmp_path: Path, name: bytes
) -> None:
    target = tmp_path / "target"

    restored(plan_of(place, None, target, os.fsdecode(b"/odd/" + name)))

    assert os.listdir(os.fsencode(target) + b"/odd") == [name]
    wanted = Path(os.fsdecode(os.fsencode(source) + b"/odd/" + name)).read_bytes()
    assert Path(os.fsdecode(os.fsencode(target) + b"/odd/" + name)).read_bytes() == wanted


def test_all_odd_names_together_reach_a_host(
    place: SnapshotPlace, source: Path, host: Path, in_place: SshPlan, tmp_path: Path
) -> None:
    chosen = [os.fsdecode(b"/odd/" + name) for name in ODD_NAMES]

    restored(plan_of(place, in_place, "/", *chosen))

    assert sorted(os.listdir(os.fsencode(host) + b"/odd")) == sorted(ODD_NAMES)
    assert not [path for path in tmp_path.rglob("*") if path.name == "canary"]


@pytest.mark.parametrize(
    "name",
    ["with space", "$(touch canary)", "`touch canary`", "a;touch canary", "quote'\"", "-rf", "a&b|c", "back\\slash"],
)
def test_the_name_of_a_target_is_no_command_of_the_host(
    place: SnapshotPlace, ssh_server: SshServer, tmp_path: Path, name: str
) -> None:
    target = tmp_path / "new" / name

    restored(plan_of(place, ssh_server.plan(), target, "/links", target=SnapshotTarget.OTHER_HOST))

    assert (target / "links/one/first 1").is_file()
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]
    assert not (Path.home() / "canary").exists()


def test_a_key_that_may_only_read_is_told_with_the_line_that_lets_it_write(
    place: SnapshotPlace, ssh_server: SshServer, tmp_path: Path
) -> None:
    with limited_key(ssh_server, tmp_path, "rrsync -ro /") as ssh, pytest.raises(SourceError) as caught:
        restored(plan_of(place, ssh, tmp_path / "target", "/links", dry_run=True))

    assert caught.value.code is ErrorCode.PERMISSION_DENIED
    assert caught.value.permanent
    line = re.search(r'restrict,command="rrsync /" ssh-ed25519 \S+ holdfast', caught.value.hint)
    assert line
    allowed = ssh_server.directory / "authorized_keys"
    before = allowed.read_text()
    allowed.write_text(f"{before}{line[0]}\n")
    try:
        restored(plan_of(place, ssh, tmp_path / "target", "/links"))
    finally:
        allowed.write_text(before)
    assert (tmp_path / "target/links/one/first 1").is_file()


def test_a_directory_of_this_machine_gets_files_and_owners_but_no_devices_and_no_setuid(
    place: SnapshotPlace, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "deep/target"
    reporter = SilentReporter()

    result = run(plan_of(place, None, target), reporter)

    expected, found = read_source(source), read_source(target)
    assert result.counts["skipped"] == len(DEVICES)
    assert ("warning", "4 devices, fifos or sockets are not made on this machine.") in reporter.lines
    for name in DEVICES:
        del expected[name]
    expected = {name: replace(fact, mode=fact.mode & ~0o6000) for name, fact in expected.items()}
    assert differences(expected, found) == []


def test_a_time_off_by_less_than_a_second_is_put_right(place: SnapshotPlace, source: Path, tmp_path: Path) -> None:
    plan = plan_of(place, None, tmp_path / "out", "/etc0")
    restored(plan)
    name = "etc0/part0/file0.conf"
    second = (source / name).stat().st_mtime_ns // 10**9 * 10**9
    os.utime(tmp_path / "out" / name, ns=(second, second + 1))

    restored(plan)

    assert (tmp_path / "out" / name).stat().st_mtime_ns == (source / name).stat().st_mtime_ns


@pytest.mark.parametrize("chosen", [1, 60])
def test_many_directories_go_to_one_of_this_machine(tmp_path: Path, chosen: int) -> None:
    source = tmp_path / "source"
    for number in range(3000):
        directory = source / f"d{number % 60}" / f"e{number % 7}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"f{number}").write_text("x")
    place = snap(source, tmp_path / "root", NAME)
    paths = [f"/d{number}" for number in range(chosen)]

    for dry_run in (True, False):
        restored(plan_of(place, None, tmp_path / "new" / "a [b]* $(x)", *paths, dry_run=dry_run))

    found = {name: fact.content for name, fact in read_source(tmp_path / "new" / "a [b]* $(x)").items() if name != b"."}
    expected = {name: fact.content for name, fact in read_source(source).items()}
    assert found == {name: text for name, text in expected.items() if f"/{name.decode().split('/')[0]}" in paths}


def test_an_own_target_may_not_touch_snapshots_or_the_machine_itself(place: SnapshotPlace, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(place.root)
    for target in (place.root, place.tree, f"{place.root}/new", Path(place.root).parent, tmp_path / "link" / "x"):
        with pytest.raises(StoreError, match="lie one in the other"):
            restored(plan_of(place, None, target, dry_run=True))
    with pytest.raises(SourceError, match="own root directory"):
        restored(plan_of(place, None, "//", dry_run=True))


@pytest.mark.parametrize(
    "target", ["", "relative", "/new\nline", "/\ud800", "/a/../b", "/star*", "/[a]", "/~root", "/q?"]
)
def test_a_target_that_could_be_another_one_is_refused(
    place: SnapshotPlace, ssh_server: SshServer, target: str
) -> None:
    with pytest.raises(SourceError) as caught:
        restored(plan_of(place, ssh_server.plan(), target, dry_run=True))

    assert caught.value.code is ErrorCode.INVALID_CONFIGURATION


def test_a_whole_host_is_never_cleared_of_what_the_snapshot_has_not(place: SnapshotPlace, in_place: SshPlan) -> None:
    for paths in ((), ("/",), ("/etc0", "//")):
        with pytest.raises(SourceError, match="may not delete"):
            restored(plan_of(place, in_place, "/", *paths, delete_others=True))


def test_a_path_that_is_not_in_the_snapshot_is_named(place: SnapshotPlace, in_place: SshPlan) -> None:
    for path in ("/nothing", "/../etc"):
        with pytest.raises(NotFound):
            restored(plan_of(place, in_place, "/", path, "/etc0"))


def test_a_host_with_another_key_gets_nothing(
    place: SnapshotPlace, ssh_server: SshServer, host: Path, tmp_path: Path
) -> None:
    _, other = make_key(tmp_path / "other")

    with pytest.raises(SourceError) as caught:
        restored(plan_of(place, ssh_server.plan(host_key=other), host))

    assert caught.value.code is ErrorCode.HOST_KEY_MISMATCH
    assert list(host.iterdir()) == []


def test_a_host_that_is_down_is_said_to_be(place: SnapshotPlace, ssh_server: SshServer, host: Path) -> None:
    with pytest.raises(SourceError) as caught:
        restored(plan_of(place, ssh_server.plan(port=free_port()), host))

    assert caught.value.code is ErrorCode.SSH_FAILED
    assert not caught.value.permanent


def test_a_directory_in_the_way_of_a_file_is_named_before_anything_hangs(
    place: SnapshotPlace, ssh_server: SshServer, host: Path
) -> None:
    (host / "links/two/name 0 0").mkdir(parents=True)
    (host / "links/two/name 0 0/in the way").write_text("")
    plan = plan_of(place, ssh_server.plan(), host, "/links")

    for dry_run in (True, False):
        with pytest.raises(SourceError, match="links/two/name 0 0 is a directory that is not empty") as caught:
            restored(replace(plan, dry_run=dry_run))
        assert caught.value.code is ErrorCode.RESTORE_FAILED
    restored(replace(plan, delete_others=True))
    assert (host / "links/two/name 0 0").is_file()


def test_a_restore_that_could_not_write_everything_fails_and_says_what(
    place: SnapshotPlace, ssh_server: SshServer, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "small", "size=400k") as disk, pytest.raises(HoldfastError) as caught:
        restored(plan_of(place, ssh_server.plan(), disk / "new"))

    assert caught.value.code is ErrorCode.RESTORE_FAILED
    assert "restoring again completes it" in caught.value.message
    assert "No space left" in caught.value.hint
