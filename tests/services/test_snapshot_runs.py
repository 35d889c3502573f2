"""A host's run through every floor, against a real sshd: from a row in the calendar to a tree that shares files."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.support.app import ALICE
from tests.support.host_rows import make_host, make_host_job, make_host_run
from tests.support.host_trees import make_tree, read_snapshot, read_source
from tests.support.sshd import SshServer, running_sshd
from webapp.core.errors import Conflict, InvalidInput, NotFound
from webapp.core.reports import CheckState
from webapp.core.status import (
    ArchiveOrigin,
    ArchiveState,
    DrillPolicy,
    ErrorCode,
    RestoreTarget,
    RetentionMode,
    SnapshotLayout,
    SnapshotTarget,
    TaskStatus,
    VerificationLevel,
    VerificationStatus,
)
from webapp.services import (
    archive_use,
    archives,
    backups,
    drills,
    points,
    restore_pages,
    retention,
    snapshot_comparisons,
    snapshot_discovery,
    snapshot_files,
    snapshot_reads,
    snapshot_removals,
    snapshot_restores,
    snapshots,
    sweeper,
    trash,
)
from webapp.services.restore_rules import RestoreWish, check_wish, restore_root
from webapp.services.snapshot_places import place_of
from webapp.services.snapshot_restores import FileRestoreWish
from webapp.services.snapshots import SnapshotFilter
from webapp.services.tasks import list_log
from webapp.store.claims import claim_task
from webapp.store.db import db, writing
from webapp.store.models import (
    Archive,
    Host,
    Job,
    RetentionTask,
    Run,
    SnapshotRecord,
    SnapshotRemoval,
    Verification,
)

pytestmark = pytest.mark.usefixtures("service")


def clock() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def server() -> Iterator[SshServer]:
    with running_sshd() as running:
        yield running


@dataclass
class Place:
    """A host with a job, its files in ``source``."""

    source: Path
    root: Path
    instance_id: int
    job_id: int

    def snapshot(self, **values: Any) -> Run:
        """A run of the job, executed."""
        run = make_host_run(self.job_id, clock(), **values)
        backups.execute_run(run.id, clock=clock)
        done: Run = again(run)
        return done

    def good(self) -> SnapshotRecord:
        """The snapshot of a run that must go well."""
        run = self.snapshot()
        assert run.status is TaskStatus.COMPLETED, run.error_message
        record = snapshots.find_of_run(run.id)
        assert record is not None
        db.session.expunge(record.archive)
        db.session.expunge(record)
        return record

    def set_job(self, **values: Any) -> None:
        """Change columns of the job."""
        with writing() as session:
            job = session.get_one(Job, self.job_id)
            for key, value in values.items():
                setattr(job, key, value)

    def tree(self, record: SnapshotRecord) -> Path:
        """The source's tree in the snapshot."""
        return Path(place_of(record).tree + str(self.source))


@pytest.fixture
def place(service: Flask, server: SshServer, tmp_path: Path) -> Place:
    source, root = tmp_path / "source", tmp_path / "root"
    make_tree(source, files=24, odd=False)
    instance = make_host(server, source, root, clock())
    return Place(source, root, instance.id, make_host_job(instance, clock()).id)


def again(row: Any) -> Any:
    """The row as it is now: what a worker's session gave is detached by then."""
    db.session.commit()
    identity = sa.inspect(row).identity
    return db.session.get_one(type(row), identity, populate_existing=True)


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


def test_the_private_key_is_in_no_row_and_no_log(place: Place, server: SshServer) -> None:
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


def test_a_full_read_finds_a_flipped_byte(place: Place) -> None:
    record = place.good()
    task = archives.request_verification(record.archive_id, level=VerificationLevel.COMPLETE, actor=ALICE, now=clock())
    archives.execute_verification(task.id, clock=clock)
    assert again(task).status is TaskStatus.COMPLETED, again(task).error_message
    assert again(record.archive).verification_level is VerificationLevel.COMPLETE
    assert again(record).read_at is not None
    victim = next(path for path in sorted(place.tree(record).rglob("*.conf")) if path.stat().st_size)
    seen = victim.stat()
    flipped = bytearray(victim.read_bytes())
    flipped[0] ^= 1
    victim.chmod(0o600)
    victim.write_bytes(bytes(flipped))
    os.utime(victim, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    victim.chmod(seen.st_mode & 0o7777)

    task = archives.request_verification(record.archive_id, level=VerificationLevel.COMPLETE, actor=ALICE, now=clock())
    archives.execute_verification(task.id, clock=clock)

    assert (again(task).status, again(task).error_code) == (TaskStatus.FAILED, ErrorCode.CORRUPT)
    assert again(record.archive).verification_status is VerificationStatus.FAILED


def test_full_reads_follow_the_jobs_policy(place: Place) -> None:
    place.set_job(drill_policy=DrillPolicy.SAMPLED, drill_value=2)
    place.good()
    assert db.session.scalars(sa.select(Verification)).all() == []
    second = place.good()
    asked = db.session.scalars(sa.select(Verification)).all()
    assert [(one.archive_id, one.level) for one in asked] == [(second.archive_id, VerificationLevel.COMPLETE)]
    asked_id = asked[0].id

    place.set_job(drill_policy=DrillPolicy.SCHEDULED, drill_value=7)
    assert snapshot_reads.request_due_reads(clock()) == 0
    archives.execute_verification(asked_id, clock=clock)
    later = clock() + timedelta(days=8)
    assert snapshot_reads.request_due_reads(later) == 1
    assert snapshot_reads.request_due_reads(later) == 0


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


def test_the_base_of_a_running_backup_stays(place: Place) -> None:
    record = place.good()
    run = make_host_run(place.job_id, clock(), details={"base_id": record.archive_id})
    with writing() as session:
        claim_task(session, run.id, "a worker", now=clock(), lease_until=clock() + timedelta(seconds=60))

    assert archive_use.find_use(record.archive_id, clock()) == "the base of a backup that runs now"
    preview = points.deletion_preview(record.archive_id, now=clock())
    assert "the base of a backup" in preview.obstacle


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


def test_a_host_that_changed_since_is_no_fault_of_its_snapshot(place: Place) -> None:
    record = place.good()
    (place.source / "etc1/part1/file1.conf").write_text("changed since")

    task = snapshot_comparisons.request_comparison(record.archive_id, actor=ALICE, now=clock())
    snapshot_comparisons.execute_comparison(task.id, clock=clock)

    task = again(task)
    assert task.status is TaskStatus.COMPLETED, task.error_message
    assert task.checks
    assert {check["state"] for check in task.checks} <= {CheckState.PASSED, CheckState.SKIPPED}
    assert again(record).compared_at is not None


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
