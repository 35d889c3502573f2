"""What is in a snapshot of a host: browsed, found, compared, handed out, and put back by the commands on its page."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.app import ALICE
from tests.support.host_places import Place, clock
from tests.support.host_trees import make_tree, read_source
from webapp.core.errors import Conflict, NotFound
from webapp.core.status import RestoreTarget
from webapp.services import archive_use, archives, drills, restore_pages, snapshot_files, snapshots
from webapp.services.restore_rules import RestoreWish, check_wish

pytestmark = pytest.mark.usefixtures("service")


def test_files_are_browsed_found_compared_and_handed_out(place: Place) -> None:
    first = place.good()
    (place.source / "etc1/part1/file1.conf").write_text("changed")
    (place.source / "etc2/part2/file2.conf").unlink()
    second = place.good()
    path = f"{place.source}/etc1/part1/file1.conf"

    listing = snapshot_files.browse(second.archive_id, str(place.source))
    found = snapshot_files.search(second.archive_id, "file1.conf")
    file, size = snapshot_files.open_file(second.archive_id, path, actor=ALICE, now=clock())
    with file:
        content = file.read()
    differences = snapshot_files.compare(first.archive_id, second.archive_id)

    assert [entry.name for entry in listing.entries][:2] == ["etc0", "etc1"]
    assert path in [one.path for one in found]
    assert (content, size) == (b"changed", 7)
    assert [change.path for change in differences.changed] == [path]
    assert [change.path for change in differences.removed] == [f"{place.source}/etc2/part2/file2.conf"]
    assert b"".join(snapshot_files.tar_stream(second.archive_id, [path], actor=ALICE, now=clock()))
    assert archive_use.find_use(second.archive_id, clock()) == "downloaded a short while ago"
    with pytest.raises(NotFound):
        snapshot_files.browse(second.archive_id, "/../..")


def test_a_snapshot_is_no_file_for_those_that_want_one(place: Place) -> None:
    record = place.good()

    assert archives.read_manifest_data(record.archive)["name"] == record.name
    with pytest.raises(NotFound, match="directory tree"):
        archives.record_download(record.archive, actor=ALICE, now=clock())
    with pytest.raises(NotFound):
        drills.request_drill(record.archive_id, actor=ALICE, now=clock())
    with pytest.raises(Conflict, match="snapshot"):
        check_wish(RestoreWish(record.archive_id, RestoreTarget.DIRECTORY), clock())
    assert restore_pages.list_sources() == []
    assert restore_pages.find_newest(place.instance_id) is None


def test_the_commands_on_the_page_put_a_snapshot_back(place: Place, tmp_path: Path) -> None:
    make_tree(place.source, files=5)
    record = place.good()
    (command,) = snapshots.snapshot_commands(record.archive_id)
    away = tmp_path / "elsewhere"
    away.mkdir()
    restored = Path(f"{away}/restored{place.source}")

    subprocess.run(command, shell=True, cwd=away, check=True)
    assert read_source(restored) == read_source(place.source)

    # A time that is off by less than a second is put right too: rsync by itself leaves it.
    off = restored / "kinds" / "fifo"
    os.utime(off, ns=(off.stat().st_atime_ns, off.stat().st_mtime_ns // 10**9 * 10**9 + 1))
    subprocess.run(command, shell=True, cwd=away, check=True)
    assert read_source(restored) == read_source(place.source)
