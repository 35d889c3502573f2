"""Files of a snapshot put back on a real host or on this machine, after a dry run."""

from __future__ import annotations

import os
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.app import ALICE
from tests.support.host_places import Place, again, clock
from tests.support.host_trees import make_tree, read_source
from webapp.core.errors import Conflict, InvalidInput
from webapp.core.status import SnapshotTarget, TaskStatus
from webapp.services import snapshot_files, snapshot_restores, snapshots
from webapp.services.restore_rules import restore_root
from webapp.services.snapshot_restores import FileRestoreWish

pytestmark = pytest.mark.usefixtures("service")


def test_a_file_is_put_back_after_its_dry_run_was_confirmed(place: Place) -> None:
    record = place.good()
    victim = place.source / "etc1/part1/file1.conf"
    content = victim.read_bytes()
    victim.unlink()
    wish = FileRestoreWish(record.archive_id, (str(victim),), SnapshotTarget.HOST, "/")
    preview = snapshot_restores.request_dry_run(wish, actor=ALICE, now=clock())
    assert snapshot_restores.why_not_confirmable(preview, clock())
    preview_id = preview.id
    snapshot_restores.execute_restore(preview_id, clock=clock)
    preview = again(preview)
    assert preview.status is TaskStatus.COMPLETED, preview.error_message
    assert not victim.exists()
    assert any("file1.conf" in line for line in preview.changes)
    digest = snapshot_restores.preview_digest(preview)
    with pytest.raises(Conflict, match="not the dry run"):
        snapshot_restores.confirm(preview_id, digest="other", actor=ALICE, now=clock())
    with pytest.raises(Conflict, match="hour"):
        snapshot_restores.confirm(preview_id, digest=digest, actor=ALICE, now=clock() + timedelta(hours=2))

    restore = snapshot_restores.confirm(preview_id, digest=digest, actor=ALICE, now=clock())
    snapshot_restores.execute_restore(restore.id, clock=clock)

    assert again(restore).status is TaskStatus.COMPLETED, again(restore).error_message
    assert victim.read_bytes() == content
    with pytest.raises(Conflict, match="already"):
        snapshot_restores.confirm(preview_id, digest=digest, actor=ALICE, now=clock())
    assert len(snapshot_restores.list_restores(record.archive_id)) == 2


WISHES: tuple[tuple[dict[str, Any], str], ...] = (
    ({"paths": ("etc",)}, "paths"),
    ({"paths": ("/etc/../../x",)}, "paths"),
    ({"paths": ("/etc/a\0b",)}, "paths"),
    ({"target_path": "relative"}, "target_path"),
    ({"target_path": "/a/../b"}, "target_path"),
    ({"paths": (), "delete_others": True}, "delete_others"),
    ({"paths": ("/", "/etc"), "delete_others": True}, "delete_others"),
    ({"target": SnapshotTarget.OTHER_HOST}, "target_instance_id"),
    ({"target": SnapshotTarget.DIRECTORY, "target_path": "/etc"}, "target_path"),
    ({"target": SnapshotTarget.DIRECTORY, "target_path": "../x"}, "target_path"),
)


def test_a_wish_that_cannot_be_meant_names_its_field(place: Place) -> None:
    archive_id = place.good().archive_id

    for changes, field in WISHES:
        values = {"paths": ("/etc",), "target": SnapshotTarget.HOST, "target_path": "/"} | changes
        with pytest.raises(InvalidInput) as caught:
            snapshot_restores.request_dry_run(FileRestoreWish(archive_id, **values), actor=ALICE, now=clock())
        assert caught.value.field == field, changes


def test_a_folder_goes_to_a_directory_of_this_machine(place: Place) -> None:
    record = place.good()
    folder = f"{place.source}/etc1"
    wish = FileRestoreWish(record.archive_id, (folder,), SnapshotTarget.DIRECTORY, "web-files")
    preview = snapshot_restores.request_dry_run(wish, actor=ALICE, now=clock())
    snapshot_restores.execute_restore(preview.id, clock=clock)
    assert again(preview).status is TaskStatus.COMPLETED, (again(preview).error_message, again(preview).hint)

    digest = snapshot_restores.preview_digest(again(preview))
    restore = snapshot_restores.confirm(preview.id, digest=digest, actor=ALICE, now=clock())
    snapshot_restores.execute_restore(restore.id, clock=clock)

    assert again(restore).status is TaskStatus.COMPLETED, again(restore).error_message
    landed = Path(restore_root(), "web-files" + folder)
    assert read_source(landed) == read_source(Path(folder))


def test_odd_names_and_kinds_come_through_every_door(place: Place) -> None:
    shutil.rmtree(place.source)
    make_tree(place.source, files=5)
    run = place.snapshot()
    record = snapshots.find_of_run(run.id)
    assert record is not None, run.error_message
    archive_id, names = record.archive_id, [b"latin-1 \xe9\xff", b"new\nline", b"-rf", b"[bracket]"]
    source = read_source(place.source)
    odd = [os.fsdecode(os.fsencode(place.source) + b"/odd/" + name) for name in names]

    listing = snapshot_files.browse(archive_id, f"{place.source}/odd", limit=1000)
    found = snapshot_files.search(archive_id, "latin-1")
    assert set(odd) <= {entry.path for entry in listing.entries}
    assert odd[0] in [one.path for one in found]
    assert b"".join(snapshot_files.zip_stream(archive_id, odd, actor=ALICE, now=clock()))
    for path in odd:
        shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    wish = FileRestoreWish(archive_id, tuple(odd), SnapshotTarget.HOST, "/")
    preview_id = snapshot_restores.request_dry_run(wish, actor=ALICE, now=clock()).id
    snapshot_restores.execute_restore(preview_id, clock=clock)
    preview = snapshot_restores.get_restore(preview_id)
    assert preview.status is TaskStatus.COMPLETED, (preview.error_message, preview.hint)
    digest = snapshot_restores.preview_digest(preview)
    restore_id = snapshot_restores.confirm(preview_id, digest=digest, actor=ALICE, now=clock()).id
    snapshot_restores.execute_restore(restore_id, clock=clock)
    after = read_source(place.source)
    assert {name: fact.content for name, fact in after.items()} == {name: fact.content for name, fact in source.items()}
