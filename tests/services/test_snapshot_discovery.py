"""Snapshots on disk that no table knows: taken in, or named as a problem."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.app import ALICE
from tests.support.host_places import Place, again, clock
from tests.support.host_rows import make_host
from tests.support.sshd import SshServer
from webapp.core.errors import Conflict, InvalidInput
from webapp.core.status import ArchiveOrigin, SnapshotLayout, VerificationLevel
from webapp.services import archives, snapshot_discovery, snapshots, sweeper
from webapp.services.snapshot_places import place_of
from webapp.services.snapshots import SnapshotFilter
from webapp.store.db import writing
from webapp.store.models import Archive, Instance, SnapshotRecord

pytestmark = pytest.mark.usefixtures("service")


def test_discovery_takes_in_what_no_table_knows_and_changes_nothing(place: Place) -> None:
    first, second = place.good(), place.good()
    plain = place.root / "web-01" / "2026-01-05_02-15-00"
    plain.mkdir()
    (plain / "etc").write_text("old")
    seen = tree_state(place.root)
    with writing() as session:
        for record in (first, second):
            session.execute(sa.delete(SnapshotRecord).where(SnapshotRecord.archive_id == record.archive_id))
            session.execute(sa.delete(Archive).where(Archive.id == record.archive_id))
    for expected in ((3, 3, 0), (3, 0, 3)):
        task = snapshot_discovery.request_discovery(place.instance_id, actor=ALICE, now=clock())
        snapshot_discovery.execute_discovery(task.id, clock=clock)
        details = again(task).details
        assert (details["found"], details["added"], details["known"]) == expected, again(task).error_message
    rows, count = snapshots.list_snapshots(SnapshotFilter(place.instance_id))
    assert count == 3
    assert {row.archive.origin for row in rows} == {ArchiveOrigin.DISCOVERED}
    assert [row.archive.job_id for row in rows] == [place.job_id, place.job_id, None]
    assert [row.layout for row in rows] == [SnapshotLayout.OURS, SnapshotLayout.OURS, SnapshotLayout.PLAIN]
    assert rows[0].base_id == rows[1].archive_id
    assert rows[0].archive.sha256 == second.list_sha256
    assert rows[2].archive.taken_at == datetime(2026, 1, 5, 2, 15, tzinfo=UTC)
    assert tree_state(place.root) == seen
    with pytest.raises(Conflict):
        archives.request_verification(rows[2].archive_id, level=VerificationLevel.INTACT, actor=ALICE, now=clock())
    with pytest.raises(InvalidInput):
        snapshot_discovery.request_discovery(place.instance_id, backup_root="relative", actor=ALICE, now=clock())


def tree_state(root: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for directory, names, files in os.walk(root):
        for name in (*names, *files):
            seen = os.lstat(os.path.join(directory, name))
            found[os.path.join(directory, name)] = (seen.st_mtime_ns, seen.st_ctime_ns)
    return found


def test_a_root_of_another_tool_gets_our_marker_with_the_first_run(place: Place) -> None:
    plain = place.root / "web-01" / "2026-01-05_02-15-00"
    plain.mkdir(parents=True)
    task = snapshot_discovery.request_discovery(place.instance_id, actor=ALICE, now=clock())
    snapshot_discovery.execute_discovery(task.id, clock=clock)
    assert again(task).details["added"] == 1

    record = place.good()

    assert record.base_id is None
    assert (place.root / ".holdfast-snapshots").is_file()


def test_the_directory_of_another_host_is_its_own_whatever_a_host_is_called(
    place: Place, host_server: SshServer
) -> None:
    (place.root / "web-01" / "2026-01-05_02-15-00").mkdir(parents=True)
    other = make_host(host_server, place.source, place.root, clock(), name="web-02")
    (place.root / "web-02").mkdir()
    with writing() as session:
        session.get_one(Instance, place.instance_id).name = "gone"
        session.get_one(Instance, other.id).name = "web-01"

    task = snapshot_discovery.request_discovery(other.id, actor=ALICE, now=clock())
    snapshot_discovery.execute_discovery(task.id, clock=clock)

    assert again(task).details["found"] == 0, again(task).error_message


def test_what_no_row_can_hold_is_a_problem_and_no_crash(place: Place) -> None:
    directory = os.fsencode(place.root / "web-01")
    os.makedirs(directory + b"/2026-01-05 \xff")
    os.makedirs(directory + b"/2026-01-06 " + b"L" * 130)
    record = place.good()
    with writing() as session:
        session.execute(sa.delete(SnapshotRecord).where(SnapshotRecord.archive_id == record.archive_id))
        session.execute(sa.delete(Archive).where(Archive.id == record.archive_id))
    manifest = Path(place_of(record).path) / "snapshot.json"
    manifest.write_text(manifest.read_text().replace('"directory_count": ', '"directory_count": 99999999999999999999'))

    task = snapshot_discovery.request_discovery(place.instance_id, actor=ALICE, now=clock())
    snapshot_discovery.execute_discovery(task.id, clock=clock)
    sweeper.sweep(clock())

    task = again(task)
    assert task.status.is_final
    assert task.error_code is None, task.error_message
    assert len(task.details["problems"]) == 3, task.details
    assert snapshots.list_snapshots(SnapshotFilter(place.instance_id))[1] == 0
