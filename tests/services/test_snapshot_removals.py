"""Snapshots that go: by retention or by hand, through the trash, and their trees by a task."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.app import ALICE
from tests.support.host_places import Place, again, clock
from tests.support.host_trees import read_snapshot, read_source
from webapp.core.errors import InvalidInput
from webapp.core.status import ArchiveState, RetentionMode
from webapp.services import points, retention, snapshot_removals, trash
from webapp.services.snapshot_places import place_of
from webapp.store.db import db
from webapp.store.models import RetentionTask, SnapshotRemoval

pytestmark = pytest.mark.usefixtures("service")


def test_retention_trashes_and_a_task_removes_the_tree(place: Place) -> None:
    place.set_job(retention_mode=RetentionMode.KEEP_LAST_N, retention_value=1)
    first, second = place.good(), place.good()
    task = db.session.scalars(sa.select(RetentionTask).order_by(RetentionTask.id.desc())).first()
    assert task is not None
    retention.execute_retention(task.id, clock=clock)
    assert again(first.archive).state is ArchiveState.TRASHED
    assert Path(place_of(first).path).is_dir()

    for days in range(1, 6):  # the clock may not jump, or nothing goes
        trash.resume_deletions(clock() + timedelta(days=days))

    removal = snapshot_removals.newest_removal(first.archive_id)
    assert removal is not None
    assert again(first.archive).state is ArchiveState.DELETING
    snapshot_removals.execute_removal(removal.id, clock=clock)
    assert again(first.archive).state is ArchiveState.DELETED
    assert not Path(place_of(first).path).exists()
    assert read_snapshot(place.tree(second)) == read_source(place.source)
    assert again(second).base_id == first.archive_id
    snapshot_removals.execute_removal(removal.id, clock=clock)
    assert snapshot_removals.request_due_removals(clock() + timedelta(days=60)) == 0
    assert snapshot_removals.request_removal(first.archive_id, now=clock()) is None


def test_deleting_the_last_snapshot_wants_the_hosts_name(place: Place) -> None:
    record = place.good()
    preview = points.deletion_preview(record.archive_id, now=clock())
    assert preview.must_type == "web-01"
    assert preview.last_copy
    with pytest.raises(InvalidInput, match="of the host"):
        points.delete(record.archive_id, typed="files", digest=preview.digest, actor=ALICE, now=clock())

    points.delete(record.archive_id, typed="web-01", digest=preview.digest, actor=ALICE, now=clock())
    points.take_back(record.archive_id, actor=ALICE, now=clock())
    assert again(record.archive).state is ArchiveState.STORED
    preview = points.deletion_preview(record.archive_id, now=clock())
    points.delete(record.archive_id, typed="web-01", digest=preview.digest, actor=ALICE, now=clock())
    preview = points.deletion_preview(record.archive_id, now=clock())
    gone = points.delete_for_good(
        record.archive_id, typed=preview.must_type, digest=preview.digest, actor=ALICE, now=clock()
    )

    assert gone.state is ArchiveState.DELETING
    assert len(db.session.scalars(sa.select(SnapshotRemoval)).all()) == 1
