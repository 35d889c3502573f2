"""A host's run through every floor, against a real sshd: from a row in the calendar to a tree that shares files."""

from __future__ import annotations

import os
import shutil
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.app import ALICE
from tests.support.host_places import Place, again, clock
from tests.support.host_rows import make_host_run
from tests.support.host_trees import read_snapshot, read_source
from webapp.core.errors import Conflict
from webapp.core.status import ArchiveState, ErrorCode, TaskStatus, VerificationLevel, VerificationStatus
from webapp.services import archive_use, points, snapshot_removals, snapshots, sweeper
from webapp.services.snapshots import SnapshotFilter
from webapp.services.tasks import list_log
from webapp.store.claims import claim_task
from webapp.store.db import db, writing
from webapp.store.models import Archive, Host, RetentionTask

pytestmark = pytest.mark.usefixtures("service")


def test_two_runs_make_two_snapshots_that_share_what_did_not_change(place: Place) -> None:
    first = place.good()
    (place.source / "etc0/part0/new.conf").write_text("new")

    second = place.good()

    assert read_snapshot(place.tree(second)) == read_source(place.source)
    assert second.base_id == first.archive_id
    assert second.base_name == first.name
    assert (second.new_files, second.new_bytes, second.archive.size_bytes) == (1, 3, 3)
    one, other = (place.tree(record) / "etc0/part0/file0.conf" for record in (first, second))
    assert os.stat(one).st_ino == os.stat(other).st_ino
    assert second.archive.verification_status is VerificationStatus.PASSED
    assert second.archive.verification_level is VerificationLevel.INTACT
    assert db.session.scalars(sa.select(RetentionTask)).all()[-1].database_name == "files"
    assert [one.archive_id for one in snapshots.list_snapshots(SnapshotFilter(place.instance_id))[0]] == [
        second.archive_id,
        first.archive_id,
    ]
    before = snapshots.find_before(second)
    assert before is not None
    assert before.archive_id == first.archive_id
    assert snapshots.newest_of(place.instance_id, place.job_id) is not None


def test_the_private_key_is_in_no_row_and_no_log(place: Place) -> None:
    run = place.snapshot()

    lines = [line.message for line in list_log(run.id)]

    assert lines
    assert not any("PRIVATE KEY" in line for line in lines)


def test_an_emptied_source_is_stopped_until_a_person_says_that_it_is_right(place: Place) -> None:
    first = place.good()
    shutil.rmtree(place.source)
    (place.source / "etc0").mkdir(parents=True)

    stopped = place.snapshot()

    assert (stopped.status, stopped.error_code) == (TaskStatus.FAILED, ErrorCode.SOURCE_EMPTIED)
    assert snapshots.find_of_run(stopped.id) is None
    assert len(read_snapshot(place.tree(first))) > 20
    assert snapshots.can_accept_shrink(stopped.id)
    snapshots.accept_shrink(stopped.id, actor=ALICE, now=clock())
    assert not snapshots.can_accept_shrink(stopped.id)
    assert place.good().gone_files == first.file_count
    assert db.session.get_one(Host, place.instance_id).shrink_accepted_at is None
    with pytest.raises(Conflict):
        snapshots.accept_shrink(first.archive.run_id or 0, actor=ALICE, now=clock())


def test_the_base_of_a_running_backup_stays(place: Place) -> None:
    record = place.good()
    run = make_host_run(place.job_id, clock(), details={"base_id": record.archive_id})
    with writing() as session:
        claim_task(session, run.id, "a worker", now=clock(), lease_until=clock() + timedelta(seconds=60))

    assert archive_use.find_use(record.archive_id, clock()) == "the base of a backup that runs now"
    preview = points.deletion_preview(record.archive_id, now=clock())
    assert "the base of a backup" in preview.obstacle


def test_a_root_that_is_away_is_written_to_by_nobody(place: Place) -> None:
    record = place.good()
    away = place.root.with_name("away")
    place.root.rename(away)
    place.root.mkdir()

    run = place.snapshot()
    sweeper.sweep(clock())

    assert run.error_code is ErrorCode.STORE_UNAVAILABLE
    assert os.listdir(place.root) == []
    assert again(record.archive).state is ArchiveState.STORED
    assert snapshots.root_facts(place.instance_id).problem
    assert "not there" in points.deletion_preview(record.archive_id, now=clock()).obstacle
    with writing() as session:
        session.get_one(Archive, record.archive_id).state = ArchiveState.DELETING
    assert snapshot_removals.request_due_removals(clock()) == 0
    place.root.rmdir()
    away.rename(place.root)
    assert snapshots.root_facts(place.instance_id).problem == ""
    assert snapshot_removals.request_due_removals(clock()) == 1


def test_what_a_stopped_run_had_brought_is_taken_over_by_the_next(place: Place) -> None:
    for number in range(4):
        (place.source / f"large{number}").write_bytes(os.urandom(1_000_000))
    set_host(place, bandwidth_kib=700)
    stopped = place.snapshot(time_limit_seconds=2)
    assert (stopped.status, stopped.error_code) == (TaskStatus.FAILED, ErrorCode.TIMEOUT)
    stopped_id = str(stopped.id)
    assert os.listdir(place.root / "web-01" / ".partial") == [stopped_id]
    set_host(place, bandwidth_kib=0)

    record = place.good()

    assert read_snapshot(place.tree(record)) == read_source(place.source)
    assert os.listdir(place.root / "web-01" / ".partial") == []
    assert any(stopped_id in line.message for line in list_log(record.archive.run_id or 0))


def set_host(place: Place, **values: Any) -> None:
    with writing() as session:
        host = session.get_one(Host, place.instance_id)
        for key, value in values.items():
            setattr(host, key, value)
