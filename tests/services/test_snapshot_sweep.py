"""What dead workers left below a backup root, and what the sweeper makes of it."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.support.app import ALICE
from tests.support.host_rows import make_host, make_host_job, make_host_run
from tests.support.host_trees import make_tree
from tests.support.snapshots import STARTED, store_snapshot
from tests.support.sshd import SshServer
from webapp.core.errors import TaskStopped
from webapp.core.snapshot_plans import SnapshotPlace
from webapp.core.status import (
    ArchiveOrigin,
    ArchiveState,
    ErrorCode,
    TaskStatus,
    VerificationStatus,
)
from webapp.engine.snapshots.places import open_root
from webapp.services import snapshot_discovery, snapshot_removals, snapshot_sweep, sweeper
from webapp.store.claims import claim_task
from webapp.store.db import db, writing
from webapp.store.models import Archive, Instance, Run, SnapshotRecord, SnapshotRemoval

NOW = datetime.fromisoformat(STARTED)
LATER = NOW + timedelta(minutes=10)
UID = "5b0e6b0e"  # of the manifests that tests/support/snapshots.py writes
NAME = "20261122T021500Z"
pytestmark = pytest.mark.usefixtures("service")


@dataclass
class Place:
    """A host whose sshd nobody asks, and its directory below the root."""

    source: Path
    root: Path
    instance_id: int
    job_id: int

    def at(self, name: str = NAME) -> SnapshotPlace:
        """Where a snapshot of that name lies."""
        return SnapshotPlace(str(self.root), "web-01", name)

    def running(self, *, until: datetime = NOW + timedelta(seconds=60)) -> int:
        """A run that a worker holds until then, with the fence 1."""
        run_id = make_host_run(self.job_id, NOW).id
        with writing() as session:
            claim_task(session, run_id, "a worker", now=NOW, lease_until=until)
        return run_id

    def partial(self, run_id: int) -> Path:
        """An unfinished tree."""
        path = self.root / "web-01" / ".partial" / str(run_id) / "data"
        path.mkdir(parents=True)
        return path.parent


@pytest.fixture
def place(service: Flask, tmp_path: Path) -> Place:
    source, root = make_tree(tmp_path / "source", files=3, odd=False), tmp_path / "root"
    server: Any = SshServer(1, "backup", tmp_path, "a key", "ssh-ed25519 AAAA", None)  # type: ignore[arg-type]
    instance = make_host(server, source, root, NOW)
    with writing() as session:
        session.get_one(Instance, instance.id).uid = UID
    open_root(str(root), create=True)
    return Place(source, root, instance.id, make_host_job(instance, NOW).id)


def records() -> list[SnapshotRecord]:
    db.session.commit()
    db.session.expire_all()
    return list(db.session.scalars(sa.select(SnapshotRecord).order_by(SnapshotRecord.archive_id)))


def run_of(run_id: int) -> Run:
    db.session.commit()
    return db.session.get_one(Run, run_id, populate_existing=True)


def test_a_promoted_tree_of_a_dead_worker_is_adopted(place: Place) -> None:
    run_id = place.running()
    manifest = store_snapshot(place.source, place.at(), run_id=run_id)

    sweeper.sweep(LATER)

    (record,) = records()
    run = run_of(run_id)
    assert (run.status, run.size_bytes) == (TaskStatus.COMPLETED, manifest.new_bytes)
    assert (record.archive.run_id, record.archive.job_id, record.name) == (run_id, place.job_id, NAME)
    assert record.archive.origin is ArchiveOrigin.BACKUP
    assert (
        record.archive.verification_status is VerificationStatus.NOT_RUN
    )  # this manifest says nothing of a verification
    sweeper.sweep(LATER)
    assert len(records()) == 1


def test_a_tree_of_an_older_claim_is_taken_in_and_the_run_is_lost(place: Place) -> None:
    run_id = place.running()
    store_snapshot(place.source, place.at(), run_id=run_id, fence=7)

    sweeper.sweep(LATER)

    (record,) = records()
    assert (run_of(run_id).status, run_of(run_id).error_code) == (TaskStatus.FAILED, ErrorCode.WORKER_LOST)
    assert (record.archive.run_id, record.archive.origin) == (None, ArchiveOrigin.DISCOVERED)
    assert record.archive.state is ArchiveState.STORED


def test_a_tree_of_a_run_that_works_is_its_own_business(place: Place) -> None:
    run_id = place.running(until=LATER + timedelta(hours=1))
    store_snapshot(place.source, place.at(), run_id=run_id)

    sweeper.sweep(LATER)

    assert records() == []
    assert run_of(run_id).status is TaskStatus.RUNNING


def test_a_tree_of_another_installation_is_left_alone(place: Place) -> None:
    with writing() as session:
        session.get_one(Instance, place.instance_id).uid = "another"
    store_snapshot(place.source, place.at(), run_id=1)

    sweeper.sweep(LATER)

    assert records() == []
    assert Path(place.at().tree).is_dir()


def test_a_tree_that_is_gone_is_missing_until_it_is_back(place: Place) -> None:
    store_snapshot(place.source, place.at(), run_id=9)
    sweeper.sweep(LATER)
    aside = place.root / "aside"

    os.rename(place.at().path, aside)
    sweeper.sweep(LATER)
    missing = records()[0].archive.state
    os.rename(aside, place.at().path)
    sweeper.sweep(LATER)

    assert (missing, records()[0].archive.state) == (ArchiveState.MISSING, ArchiveState.STORED)


def test_nothing_is_concluded_from_a_root_without_its_marker(place: Place) -> None:
    store_snapshot(place.source, place.at(), run_id=9)
    sweeper.sweep(LATER)
    shutil.move(place.root, place.root.with_name("away"))
    place.root.mkdir()

    sweeper.sweep(LATER)

    assert records()[0].archive.state is ArchiveState.STORED
    assert os.listdir(place.root) == []


def test_unfinished_trees_go_when_nobody_will_finish_them(place: Place) -> None:
    alive = place.running(until=datetime.now(UTC) + timedelta(days=30))
    young, working = place.partial(4711), place.partial(alive)
    now = datetime.now(UTC)

    sweeper.sweep(now + timedelta(days=6))
    assert young.is_dir()
    sweeper.sweep(now + timedelta(days=8))

    assert not young.exists()
    assert working.is_dir()
    assert not os.listdir(place.root / "web-01" / ".removing")


def test_an_unfinished_tree_of_a_deleted_host_goes_at_once(place: Place) -> None:
    left = place.partial(4711)
    with writing() as session:
        session.get_one(Instance, place.instance_id).deleted_at = NOW

    sweeper.sweep(LATER)

    assert not left.exists()


def test_a_removal_that_was_cut_off_is_asked_for_again(place: Place) -> None:
    store_snapshot(place.source, place.at(), run_id=9)
    sweeper.sweep(LATER)
    archive_id = records()[0].archive_id
    with writing() as session:
        session.get_one(Archive, archive_id).state = ArchiveState.DELETING
    aside = place.root / "web-01" / ".removing" / NAME
    aside.parent.mkdir()
    os.rename(place.at().path, aside)

    sweeper.sweep(LATER)
    sweeper.sweep(LATER)
    asked = list(db.session.scalars(sa.select(SnapshotRemoval)))
    assert len(asked) == 1
    assert aside.is_dir()
    snapshot_removals.execute_removal(asked[0].id, clock=lambda: LATER)

    assert records()[0].archive.state is ArchiveState.DELETED
    assert not aside.exists()


def test_what_no_row_wants_is_finished_in_removing(place: Place) -> None:
    left = place.root / "web-01" / ".removing" / ".partial-7"
    (left / "data").mkdir(parents=True)

    snapshot_sweep.sweep_snapshots(LATER)

    assert not left.exists()


def test_clearing_up_makes_nobody_wait(place: Place) -> None:
    left = place.root / "web-01" / ".removing" / ".partial-7"
    (left / "data").mkdir(parents=True)
    (where,) = snapshot_sweep.list_directories()

    with pytest.raises(TaskStopped):
        snapshot_sweep.finish_cut_off(where, snapshot_sweep.Spell(0))

    assert left.exists()


def test_discovery_leaves_a_working_run_its_tree(place: Place) -> None:
    run_id = place.running(until=LATER + timedelta(hours=1))
    store_snapshot(place.source, place.at(), run_id=run_id)
    task = snapshot_discovery.request_discovery(place.instance_id, actor=ALICE, now=LATER)

    snapshot_discovery.execute_discovery(task.id, clock=lambda: LATER)

    assert records() == []
