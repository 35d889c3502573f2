"""Snapshots proved again: every byte read from disk, by the job's rule too, and samples compared with the host."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
import sqlalchemy as sa

from tests.support.app import ALICE
from tests.support.host_places import Place, again, clock
from webapp.core.reports import CheckState
from webapp.core.status import DrillPolicy, ErrorCode, TaskStatus, VerificationLevel, VerificationStatus
from webapp.services import archives, snapshot_comparisons, snapshot_reads
from webapp.store.db import db
from webapp.store.models import Verification

pytestmark = pytest.mark.usefixtures("service")


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
