"""A backup root is known by its marker, and one host's directory has one writer at a time."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.snapshots import small_disk
from webapp.core.errors import StoreError
from webapp.core.snapshot_plans import SnapshotPlace
from webapp.core.status import ErrorCode
from webapp.engine.snapshots.places import (
    DIGESTS_LOG,
    MARKER,
    host_lock,
    list_partials,
    make_partial,
    open_root,
    require_place,
    require_usable,
    take_over_partial,
)

_HOLD_LOCK = """
import sys
from webapp.engine.snapshots.places import host_lock
with host_lock(sys.argv[1], "web-01"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_new_root_gets_a_marker_and_is_closed_to_others(tmp_path: Path) -> None:
    made = open_root(str(tmp_path / "a" / "root"), create=True)

    again = open_root(str(tmp_path / "a" / "root"))
    assert made.root_id == again.root_id
    assert again.free_bytes > 0
    assert stat.S_IMODE(os.lstat(made.path).st_mode) == 0o700
    assert os.listdir(made.path) == [MARKER]


def test_a_root_without_its_marker_is_away_and_is_not_written_to(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"its marker {MARKER} is missing") as failure:
        open_root(str(tmp_path))

    assert failure.value.code is ErrorCode.STORE_UNAVAILABLE
    assert "mount that disk" in failure.value.hint
    assert os.listdir(tmp_path) == []


def test_a_directory_that_is_not_there_is_away_too(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as failure:
        open_root(str(tmp_path / "missing"))

    assert failure.value.code is ErrorCode.STORE_UNAVAILABLE


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "other", "id": "x"}', '{"format": "holdfast-snapshots"}'])
def test_a_damaged_marker_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / MARKER).write_text(text)

    with pytest.raises(StoreError, match="is damaged"):
        open_root(str(tmp_path), create=True)


def test_a_relative_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not an absolute path"):
        open_root("snapshots", create=True)


def test_a_file_system_without_user_attributes_is_refused_with_a_hint(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "mode=700", "ramfs") as disk:
        with pytest.raises(StoreError, match="does not take extended attributes") as failure:
            open_root(str(disk), create=True)
        assert os.listdir(disk) == []

    assert failure.value.permanent
    assert "ext4" in failure.value.hint


def test_a_root_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=1m") as disk:
        open_root(str(disk), create=True)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)

        with pytest.raises(StoreError, match="Read-only") as failure:
            require_usable(str(disk))
        assert open_root(str(disk)).path == str(disk), "what only reads can go on"

    assert failure.value.code is ErrorCode.STORE_UNAVAILABLE


@pytest.mark.parametrize("directory", ["", ".", "..", "a/b", ".hidden", "-rf", "a\0", "x" * 65, "a\n"])
def test_a_host_directory_leads_nowhere_else(tmp_path: Path, directory: str) -> None:
    with pytest.raises(StoreError, match="cannot be a host's directory"):
        make_partial(str(tmp_path), directory, 1)


@pytest.mark.parametrize("name", ["", "..", ".partial", "a/../b", "a/b/c", "/etc", "a//b", "x\0"])
def test_a_name_of_a_snapshot_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="cannot be the name of a snapshot"):
        require_place(SnapshotPlace(str(tmp_path), "web-01", name))


def test_a_host_directory_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "web-01").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StoreError):
        make_partial(str(tmp_path), "web-01", 1)

    assert os.listdir(tmp_path / "elsewhere") == []


def test_only_one_process_holds_a_host_and_its_death_frees_it(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD_LOCK, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"

        with pytest.raises(StoreError) as failure, host_lock(str(tmp_path), "web-01"):
            pass
        with host_lock(str(tmp_path), "web-02"):
            pass
        other.kill()

    assert failure.value.code is ErrorCode.TARGET_BUSY
    assert not failure.value.permanent
    with host_lock(str(tmp_path), "web-01"):
        pass


def test_an_unfinished_tree_is_kept_for_the_next_attempt_and_nothing_beside_it(tmp_path: Path) -> None:
    partial = make_partial(str(tmp_path), "web-01", 418)
    Path(partial, "data", "kept").write_bytes(b"kept")
    for name in (DIGESTS_LOG, "sortQx2v1a", "snapshot.json.new"):
        Path(partial, name).write_bytes(b"of an attempt that was killed")

    assert make_partial(str(tmp_path), "web-01", 418) == partial

    assert os.listdir(partial) == ["data"]
    assert os.listdir(f"{partial}/data") == ["kept"]


def test_a_dead_runs_tree_is_taken_over_the_newest_first(tmp_path: Path) -> None:
    for run_id in (5, 6):
        Path(make_partial(str(tmp_path), "web-01", run_id), "data", f"of {run_id}").write_bytes(b"")

    assert take_over_partial(str(tmp_path), "web-01", 9, (7, 6, 5)) == 6

    assert [partial.run_id for partial in list_partials(str(tmp_path), "web-01")] == [5, 9]
    assert os.listdir(tmp_path / "web-01/.partial/9/data") == ["of 6"]
    assert take_over_partial(str(tmp_path), "web-01", 9, (5,)) is None, "it has one already"


def test_a_host_that_never_ran_has_nothing_unfinished(tmp_path: Path) -> None:
    assert list_partials(str(tmp_path), "web-01") == []
    assert take_over_partial(str(tmp_path), "web-01", 9, (1, 2)) is None
