"""The hostile corpus against everything that unpacks: nothing is written outside the target, whatever the archive says."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.archives import python_zip, written
from tests.support.hostile_archives import GROUND, HARMLESS, REFUSED, bytes_of, honest
from webapp.core.errors import ArchiveError, StoreError
from webapp.core.restore_plans import RestoreOptions
from webapp.core.status import ErrorCode
from webapp.engine.archive.unpack import UnpackSummary, unpack_filestore, unpack_whole
from webapp.engine.intake import IntakePlan, take_in
from webapp.engine.report import SilentReporter
from webapp.engine.shelf import open_shelf

Unpack = Callable[[str, str, RestoreOptions, SilentReporter], UnpackSummary]
UNPACKERS: dict[str, Unpack] = {"filestore": unpack_filestore, "whole": unpack_whole}
ANSWERS = (ErrorCode.HOSTILE_ARCHIVE, ErrorCode.CORRUPT, ErrorCode.TRUNCATED)
LEFTOVERS = (Path("/tmp/holdfast-evil"), Path("evil"), Path("..", "evil"))

Tree = dict[str, tuple[int, bytes]]


def _tree(root: Path) -> Tree:
    """Everything below a directory: kind and mode, and content or where a link leads."""
    found: Tree = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode
            content = os.readlink(path).encode() if stat.S_ISLNK(mode) else b""
            found[os.path.relpath(path, root)] = (mode, Path(path).read_bytes() if stat.S_ISREG(mode) else content)
    return found


@pytest.fixture
def jail(tmp_path: Path) -> Path:
    """A target between things that must not change."""
    (tmp_path / "jail" / "target").mkdir(parents=True)
    (tmp_path / "jail" / "outside").mkdir()
    (tmp_path / "jail" / "outside" / "canary").write_bytes(b"sings")
    return tmp_path / "jail"


def _around(jail: Path) -> Tree:
    return {name: facts for name, facts in _tree(jail).items() if not name.startswith("target")}


def test_the_corpus_is_large_enough() -> None:
    assert len(REFUSED) + len(HARMLESS) + len(GROUND) >= 60


@pytest.mark.parametrize("unpacker", UNPACKERS)
@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_archive_is_refused_and_writes_nothing_outside(name: str, unpacker: str, jail: Path) -> None:
    path, before = written(jail.parent, bytes_of(REFUSED[name])), _around(jail)

    with pytest.raises((ArchiveError, StoreError)) as caught:
        UNPACKERS[unpacker](path, str(jail / "target"), RestoreOptions(), SilentReporter())

    assert caught.value.code in (*ANSWERS, ErrorCode.DISK_FULL)
    assert caught.value.message
    _require_tame(jail, before)


@pytest.mark.parametrize("unpacker", UNPACKERS)
@pytest.mark.parametrize("name", HARMLESS)
def test_a_harmless_archive_stays_in_the_target(name: str, unpacker: str, jail: Path) -> None:
    path, before = written(jail.parent, bytes_of(HARMLESS[name])), _around(jail)

    summary = UNPACKERS[unpacker](path, str(jail / "target"), RestoreOptions(), SilentReporter())

    assert summary.files >= 1
    assert summary.mismatched == ("its name does not promise" in name)
    _require_tame(jail, before)
    for mode, _ in _tree(jail / "target").values():
        assert stat.S_IMODE(mode) == (0o750 if stat.S_ISDIR(mode) else 0o640)


@pytest.mark.parametrize("name", GROUND)
def test_what_lies_at_the_target_is_never_followed_or_replaced(name: str, jail: Path) -> None:
    GROUND[name].prepare(jail / "target", jail / "outside")
    path, before = written(jail.parent, honest()), _tree(jail)

    with pytest.raises((ArchiveError, StoreError)) as caught:
        unpack_filestore(path, str(jail / "target"), RestoreOptions(), SilentReporter())

    assert caught.value.message
    assert _tree(jail) == before


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_upload_leaves_nothing_in_the_store_or_goes_into_quarantine(name: str, jail: Path) -> None:
    store, before = open_shelf(str(jail / "target" / "store"), create=True).root, _around(jail)
    plan = IntakePlan(
        intake_id=1,
        file_name="upload.zip",
        instance_id=7,
        instance_name="Acme",
        instance_directory="7-acme",
        store_directory=store,
        received_at=datetime(2026, 11, 22, tzinfo=UTC),
        reserve_bytes=0,
    )

    try:
        result = take_in(io.BytesIO(bytes_of(REFUSED[name])), plan, SilentReporter())
    except (ArchiveError, StoreError) as error:
        refused = error.message
    else:
        refused = "quarantined" if result.quarantined else ""

    # Only the unpacking of such members fails, not their reading.
    assert refused or name in _SEEN_ONLY_WHEN_UNPACKED
    assert refused in ("", "quarantined") or not list(Path(store).rglob("*/upload*"))
    assert os.listdir(os.path.join(store, ".tmp")) == []
    _require_tame(jail, before)


_SEEN_ONLY_WHEN_UNPACKED = ("file, then a folder of its name", "folder, then a file of its name")


def _require_tame(jail: Path, before: Tree) -> None:
    assert _around(jail) == before
    for mode, _ in _tree(jail / "target").values():
        assert stat.S_ISREG(mode) or stat.S_ISDIR(mode)
    assert not any(path.exists() for path in LEFTOVERS)


class _Swapping(SilentReporter):
    """Puts a link where a folder was, in the middle of the work."""

    def __init__(self, folder: Path, outside: Path) -> None:
        super().__init__()
        self._folder, self._outside = folder, outside

    def check(self) -> None:
        if self._folder.is_dir() and not self._folder.is_symlink():
            self._folder.rename(self._folder.with_name("moved"))
            self._folder.symlink_to(self._outside)


def test_a_link_slipped_in_while_unpacking_is_not_followed(jail: Path) -> None:
    before = _around(jail)
    folder = jail / "target" / "ab"
    folder.mkdir()
    path = written(jail.parent, python_zip({f"filestore/ab/{n}": b"x" for n in range(9)}))

    with pytest.raises(ArchiveError):
        unpack_filestore(path, str(jail / "target"), RestoreOptions(), _Swapping(folder, jail / "outside"))

    assert _around(jail) == before
