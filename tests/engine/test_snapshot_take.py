"""A whole snapshot: what is promoted, what the guard holds back, what is taken up again (F32's guard among it)."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.host_snapshots import partial_tree, plan_of, taken, tree_of
from tests.support.host_trees import change_tree, compare, make_tree, read_snapshot, shared_names
from tests.support.sshd import SshServer
from webapp.core.errors import HoldfastError, SourceError, StoreError
from webapp.core.status import ErrorCode, VerificationLevel
from webapp.engine.report import SilentReporter
from webapp.engine.snapshots.found import list_found, read_manifest
from webapp.engine.snapshots.partials import begin, boot_id
from webapp.engine.snapshots.places import PLAN_FILE, host_lock, open_root
from webapp.engine.snapshots.take import take


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "source", files=40)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    open_root(str(tmp_path / "root"), create=True)
    return tmp_path / "root"


def test_two_days_share_what_did_not_change(ssh_server: SshServer, source: Path, root: Path) -> None:
    first = taken(plan_of(ssh_server, root, source))
    before = read_snapshot(tree_of(first.place, source))
    change_tree(source, seed=3)

    second = taken(plan_of(ssh_server, root, source, run_id=2, base=first.place))

    assert compare(source, tree_of(second.place, source)) == []
    assert read_snapshot(tree_of(first.place, source)) == before
    assert len(shared_names(tree_of(first.place, source), tree_of(second.place, source))) > 30
    assert second.manifest.base == first.place.name
    assert second.manifest.new_files < first.manifest.new_files
    # A file of the second tree can be one of the first.
    assert ["--inplace" in each.manifest.options for each in (first, second)] == [True, False]
    assert read_manifest(second.place)[:2] == (second.manifest, second.manifest_sha256)
    assert second.report.passed
    assert second.report.level is VerificationLevel.INTACT
    assert not partial_tree(plan_of(ssh_server, root, source, run_id=2)).parent.exists()


class Thief(SilentReporter):
    """Takes a file out of the unfinished tree when its list is about to be written."""

    def __init__(self, tree: Path) -> None:
        super().__init__()
        self.tree = tree

    def step(self, key: str, title: str, detail: str = "") -> None:
        if key == "list":
            next(path for path in sorted(self.tree.rglob("*")) if path.is_file()).unlink()


def test_a_file_that_the_host_named_and_the_tree_has_not_fails_the_verification(
    ssh_server: SshServer, source: Path, root: Path
) -> None:
    plan = plan_of(ssh_server, root, source)

    result = take(plan, Thief(partial_tree(plan)))

    assert not result.report.passed
    assert [(check.key, check.code) for check in result.report.failed] == [("snapshot_tree", ErrorCode.INCOMPLETE)]


def test_a_base_that_is_gone_is_no_error(ssh_server: SshServer, source: Path, root: Path) -> None:
    first = taken(plan_of(ssh_server, root, source))
    shutil.rmtree(first.place.path)

    second = taken(plan_of(ssh_server, root, source, run_id=2, base=first.place))

    assert second.manifest.base == ""
    assert compare(source, tree_of(second.place, source)) == []


def emptied(source: Path) -> None:
    """What an unmounted disk leaves."""
    shutil.rmtree(source)
    source.mkdir()


def test_f32_an_emptied_source_is_not_promoted_until_a_person_accepts_it(
    ssh_server: SshServer, source: Path, root: Path
) -> None:
    first = taken(plan_of(ssh_server, root, source))
    before = read_snapshot(tree_of(first.place, source))
    emptied(source)
    plan = plan_of(ssh_server, root, source, run_id=2, base=first.place)

    with pytest.raises(SourceError) as caught:
        taken(plan)

    assert caught.value.code is ErrorCode.SOURCE_EMPTIED
    assert caught.value.permanent
    assert [each.place.name for each in list_found(plan.root, plan.directory)] == [first.place.name]
    assert read_snapshot(tree_of(first.place, source)) == before
    accepted = taken(replace(plan, shrink_percent=None))
    assert accepted.manifest.file_count == 0


def test_a_share_of_the_files_is_enough(ssh_server: SshServer, source: Path, root: Path) -> None:
    first = taken(plan_of(ssh_server, root, source))
    for number, file in enumerate(
        path for path in sorted(source.rglob("*")) if path.is_file() and not path.is_symlink()
    ):
        if number % 3:
            file.unlink()

    with pytest.raises(SourceError) as caught:
        taken(plan_of(ssh_server, root, source, run_id=2, base=first.place))

    assert caught.value.code is ErrorCode.SOURCE_EMPTIED
    assert "50 % are allowed" in caught.value.message
    assert taken(plan_of(ssh_server, root, source, run_id=2, base=first.place, shrink_percent=80)).report.passed


def test_a_sentinel_file_must_be_there(ssh_server: SshServer, source: Path, root: Path) -> None:
    plan = plan_of(ssh_server, root, source, host={"sentinel_files": (f"{source}/.here",)}, shrink_percent=None)

    with pytest.raises(SourceError) as caught:
        taken(plan)
    (source / ".here").touch()

    assert caught.value.code is ErrorCode.SOURCE_EMPTIED
    assert f"{source}/.here" in caught.value.message
    assert taken(plan).report.passed


def test_what_lay_there_when_the_machine_went_down_is_compared_by_content(
    ssh_server: SshServer, source: Path, root: Path
) -> None:
    file = source / "etc0/part0/file0.conf"
    file.write_bytes(b"of the host")
    os.utime(file, ns=(10**18, 10**18))
    plan = plan_of(ssh_server, root, source, host={"sentinel_files": (f"{source}/.here",)})
    with pytest.raises(SourceError):
        taken(plan)
    # A power cut: the size and the time reached the disk, the bytes did not.
    torn = Path(f"{partial_tree(plan)}{file}")
    torn.write_bytes(bytes(11))
    os.utime(torn, ns=(10**18, 10**18))
    kept = partial_tree(plan).parent / PLAN_FILE
    assert boot_id() in kept.read_text()
    kept.write_text(kept.read_text().replace(boot_id(), "another start"))
    (source / ".here").touch()

    result = taken(plan)

    assert compare(source, tree_of(result.place, source)) == []
    assert result.report.passed


def test_what_lies_there_is_compared_when_nobody_knows_of_which_start_it_is(
    ssh_server: SshServer, source: Path, root: Path
) -> None:
    plan = plan_of(ssh_server, root, source)
    assert not begin(plan, SilentReporter()).reread
    kept = partial_tree(plan).parent / PLAN_FILE

    known = begin(plan, SilentReporter()).reread
    kept.write_text(kept.read_text().replace(boot_id(), ""))
    unknown = begin(plan, SilentReporter()).reread

    assert (known, unknown) == (False, True)


def test_an_unfinished_tree_of_other_paths_is_not_taken_up(ssh_server: SshServer, source: Path, root: Path) -> None:
    elsewhere = plan_of(ssh_server, root, source / "etc0", host={"sentinel_files": (f"{source}/etc0/nowhere",)})
    with pytest.raises(SourceError):
        taken(elsewhere)

    result = taken(plan_of(ssh_server, root, source / "etc1", run_id=2, resume_from=(1,)))

    assert sorted(os.listdir(tree_of(result.place, source))) == ["etc1"]


def test_only_one_works_on_a_host_at_a_time(ssh_server: SshServer, source: Path, root: Path) -> None:
    plan = plan_of(ssh_server, root, source)
    taken(plan)

    with host_lock(str(root), plan.directory), pytest.raises(StoreError) as caught:
        taken(plan_of(ssh_server, root, source, run_id=2))

    assert caught.value.code is ErrorCode.TARGET_BUSY
    assert not caught.value.permanent


def test_a_root_without_its_marker_is_away(ssh_server: SshServer, source: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        take(plan_of(ssh_server, tmp_path / "unmounted", source), SilentReporter())

    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    assert not (tmp_path / "unmounted").exists()


def test_a_snapshot_is_never_put_over_another(ssh_server: SshServer, source: Path, root: Path) -> None:
    first = taken(plan_of(ssh_server, root, source))

    with pytest.raises(HoldfastError):
        taken(replace(plan_of(ssh_server, root, source, run_id=2), name=first.place.name))

    assert read_manifest(first.place)[0] == first.manifest


def test_a_kind_of_digest_that_the_base_has_is_kept(ssh_server: SshServer, source: Path, root: Path) -> None:
    first = taken(plan_of(ssh_server, root, source))

    second = taken(plan_of(ssh_server, root, source, run_id=2, base=first.place))

    assert first.manifest.digest == second.manifest.digest == "xxh128"
    assert second.manifest.new_files == 0
    assert second.manifest.versions["remote_protocol"].isdecimal()
