"""Unpacking: every file arrives whole, with the rights asked for; what is not what it promises is counted."""

from __future__ import annotations

import os
import random
import stat
from pathlib import Path

import pytest

from tests.support.archives import odoo_zip, python_zip, sha1, store_name, written
from tests.support.postgres_backups import StoppingReporter
from webapp.core.errors import ArchiveError, InvalidInput, StoreError, TaskStopped
from webapp.core.restore_plans import RestoreOptions
from webapp.core.status import ErrorCode
from webapp.engine.archive.unpack import unpack_filestore, unpack_whole
from webapp.engine.report import SilentReporter

FILES = [b"", b"one", b"two" * 70_000, random.Random(3).randbytes(5_000_000)]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """An empty directory."""
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def _contents(target: Path) -> dict[str, bytes]:
    return {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*") if path.is_file()}


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_attachment_arrives_as_it_was(threads: int, tmp_path: Path, target: Path) -> None:
    files = [*FILES, *(f"file {n}".encode() for n in range(1500))]
    path = written(tmp_path, odoo_zip(files))

    summary = unpack_filestore(path, str(target), RestoreOptions(), SilentReporter(), threads=threads)

    assert _contents(target) == {store_name(content): content for content in files}
    assert (summary.files, summary.size_bytes) == (len(files), sum(map(len, files)))
    assert summary.mismatched == 0


def test_a_descriptor_will_do_for_the_directory(tmp_path: Path, target: Path) -> None:
    descriptor = os.open(target, os.O_RDONLY)

    unpack_filestore(written(tmp_path, odoo_zip(FILES)), descriptor, RestoreOptions(), SilentReporter())

    assert len(_contents(target)) == len(FILES)
    os.close(descriptor)  # It is still ours to close.


def test_the_whole_archive_is_dump_manifest_and_files(tmp_path: Path, target: Path) -> None:
    path = written(
        tmp_path, python_zip({"dump.sql": b"-- SQL", "manifest.json": b"{}", "filestore/ab/x": b"y", "z": b""})
    )

    unpack_whole(path, str(target), RestoreOptions(), SilentReporter())

    assert _contents(target) == {"dump.sql": b"-- SQL", "manifest.json": b"{}", "filestore/ab/x": b"y"}


def test_the_filestore_can_be_left_out(tmp_path: Path, target: Path) -> None:
    unpack_whole(
        written(tmp_path, odoo_zip(FILES)), str(target), RestoreOptions(with_filestore=False), SilentReporter()
    )

    assert sorted(_contents(target)) == ["dump.sql", "manifest.json"]


def test_content_that_its_name_does_not_promise_is_counted_and_kept(tmp_path: Path, target: Path) -> None:
    name = f"ab/ab{sha1(b'')[2:]}"
    path = written(tmp_path, python_zip({f"filestore/{name}": b"other", f"filestore/{store_name(b'one')}": b"one"}))

    summary = unpack_filestore(path, str(target), RestoreOptions(), SilentReporter())

    assert (summary.files, summary.mismatched, summary.mismatched_shown) == (2, 1, (name,))
    assert (target / name).read_bytes() == b"other"


@pytest.mark.parametrize(
    ("asked", "file_mode", "folder_mode"),
    [("", 0o640, 0o750), ("600", 0o600, 0o700), ("644", 0o644, 0o755), ("0440", 0o440, 0o550)],
)
def test_files_and_folders_get_the_mode_asked_for(
    asked: str, file_mode: int, folder_mode: int, tmp_path: Path, target: Path
) -> None:
    unpack_filestore(
        written(tmp_path, odoo_zip([b"one"])), str(target), RestoreOptions(file_mode=asked), SilentReporter()
    )

    file = target / store_name(b"one")
    assert stat.S_IMODE(file.stat().st_mode) == file_mode
    assert stat.S_IMODE(file.parent.stat().st_mode) == folder_mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize(
    ("owner", "wanted"), [("1234:4321", (1234, 4321)), ("nobody", (65534, 0)), (":4321", (0, 4321))]
)
def test_files_and_folders_get_the_owner_asked_for(
    owner: str, wanted: tuple[int, int], tmp_path: Path, target: Path
) -> None:
    unpack_filestore(
        written(tmp_path, odoo_zip([b"one"])), str(target), RestoreOptions(file_owner=owner), SilentReporter()
    )

    file = target / store_name(b"one")
    assert {(path.stat().st_uid, path.stat().st_gid) for path in (file, file.parent)} == {wanted}


@pytest.mark.parametrize(
    "options",
    [
        RestoreOptions(file_mode="4755"),
        RestoreOptions(file_mode="999"),
        RestoreOptions(file_mode="040"),
        RestoreOptions(file_owner="no such user:nobody"),
        RestoreOptions(file_owner="1:2:3"),
    ],
)
def test_rights_that_there_are_not_are_refused_before_anything_is_written(
    options: RestoreOptions, tmp_path: Path, target: Path
) -> None:
    with pytest.raises(InvalidInput):
        unpack_filestore(written(tmp_path, odoo_zip(FILES)), str(target), options, SilentReporter())

    assert _contents(target) == {}


def test_a_damaged_file_is_an_error(tmp_path: Path, target: Path) -> None:
    data = bytearray(odoo_zip([random.Random(4).randbytes(3000)]))
    data[data.index(b"filestore/") + 1000] ^= 1

    with pytest.raises(ArchiveError) as caught:
        unpack_filestore(written(tmp_path, bytes(data)), str(target), RestoreOptions(), SilentReporter())

    assert caught.value.code is ErrorCode.CORRUPT


def test_a_target_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        unpack_filestore(
            written(tmp_path, odoo_zip(FILES)), str(tmp_path / "nothing"), RestoreOptions(), SilentReporter()
        )


def test_a_stop_is_obeyed(tmp_path: Path, target: Path) -> None:
    reporter = StoppingReporter()
    reporter.stop()

    with pytest.raises(TaskStopped):
        unpack_filestore(written(tmp_path, odoo_zip(FILES)), str(target), RestoreOptions(), reporter)
