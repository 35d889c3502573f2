"""What a data directory's past says of restores: checks, restores that went well and badly, drills, and a kept database.

Everything is about instance 1's newest restore points. Nothing of it was really restored; test_restore.py does that.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import sqlalchemy as sa

from tests.support.app import ALICE
from webapp.core.reports import Check, CheckState
from webapp.core.restore_plans import RestoreOptions, TargetFacts, TargetIdentity
from webapp.core.status import (
    ArchiveFormat,
    ArchiveOrigin,
    ArchiveState,
    Content,
    ErrorCode,
    RestoreOutcome,
    RestoreTarget,
    StepStatus,
    TaskStatus,
    TaskType,
    VerificationLevel,
    VerificationStatus,
)
from webapp.services.refresh_jobs import RefreshDraft, create_refresh_job
from webapp.store.db import db, writing
from webapp.store.models import (
    Archive,
    Drill,
    Instance,
    KeptDatabase,
    Restore,
    RestoreCheck,
    Task,
    TaskLog,
    TaskStep,
)

Made = TypeVar("Made", bound=Task)
IDENTITY = TargetIdentity("7345012398765432101", 16412)
FACTS = TargetFacts(
    IDENTITY, ("odoo from 10.0.0.4 (3)", "metabase from 10.0.0.9 (1)"), 9_400_000, 61_000_000_000, 21_000_000, "15.18"
)
GOOD, BAD, SOSO, NOT = CheckState.PASSED, CheckState.FAILED, CheckState.WARNING, CheckState.SKIPPED
LOOKED = (
    Check("archive", "Archive unchanged", GOOD, "Size and SHA-256 are those of the catalogue.", "7.69 MB"),
    Check("server", "Server answers", GOOD, "PostgreSQL 15.18; pg_restore 15.18 can write to it.", "15.18"),
    Check("rights", "May make databases", GOOD, "The role odoo has CREATEDB."),
    Check("extensions", "Extensions", GOOD, "pg_trgm, unaccent", "2"),
    Check("disk_space", "Room on the disk", GOOD, "21 MB are needed, 61 GB are free.", "61 GB"),
    Check(
        "connections",
        "Connections",
        SOSO,
        "4 connections will be dropped.",
        "4",
        "Stop Odoo first, so that it starts anew.",
    ),
)
TOO_FULL = Check(
    "disk_space",
    "Room on the disk",
    BAD,
    "21 GB are needed, 2 GB are free.",
    "2 GB",
    "Make room, or choose another instance.",
)
COMPARED = (
    Check("restored_rows", "Rows per table", GOOD, "9 026 rows in 10 tables, as the manifest says.", "9 026"),
    Check("restored_files", "Attachments", GOOD, "Every file is there with the SHA-1 that it is named after.", "500"),
)
ASKED = (
    Check(
        "load",
        "Loads without an error",
        GOOD,
        "Into an empty PostgreSQL 15.18, from the first line to the last.",
        "10 tables",
    ),
    Check("rows", "Rows per table", GOOD, "9 026 rows in 10 tables, as the manifest says.", "9 026"),
    Check("constraints", "Constraints hold", GOOD, "Primary keys, foreign keys and checks are valid.", "31"),
    Check("sequences", "Sequences are ahead of their rows", GOOD, "", "10"),
    Check(
        "modules", "Odoo's modules", GOOD, "3 installed, none half-installed; base is 18.0, as the manifest says.", "3"
    ),
    Check("newest", "Newest change", GOOD, "2 min before the backup."),
    Check(
        "attachments", "Attachments", GOOD, "Every row of ir_attachment has its file, and its SHA-1 is its name.", "500"
    ),
    Check("own_1", "Own question: invoices of this month", GOOD, "«42», as expected.", "42"),
    Check("boot", "Odoo starts", NOT, "No Odoo is set up for drills (HOLDFAST_DRILL_BOOT)."),
)
MISSING = Check(
    "attachments",
    "Attachments",
    BAD,
    "312 files that rows refer to are not there.",
    "312",
    "Run a new backup, and look at the filestore.",
)
RESTORE_STORY = (
    ("verify", "Verify the archive", 0.2, "good", "Size and SHA-256 are those of the catalogue."),
    ("safety", "Safety backup", 0.3, "good", "Run 161: verified."),
    ("load", "Load", 0.3, "info", "acme_prod__restoring_418_1: 10 tables"),
    ("compare", "Compare", 0.15, "good", "9 026 rows in 10 tables, 500 files"),
    ("swap", "Swap", 0.05, "good", "acme_prod is now what was restored"),
)  # fmt: skip
DRILL_STORY = (
    ("cluster", "Make a cluster", 0.25, "info", "Unprivileged, no network, Unix socket"),
    ("load", "Load", 0.45, "info", "dump.sql, 8.23 MB"),
    ("ask", "Ask", 0.3, "good", "9 026 rows in 10 tables, as the manifest says."),
)


def add_restores(instance_id: int, now: datetime) -> None:
    """All of it, the oldest first."""
    query = sa.select(Archive).where(Archive.instance_id == instance_id, Archive.state == ArchiveState.STORED)
    newest, before, *_ = db.session.scalars(query.order_by(Archive.taken_at.desc())).all()
    with writing():
        add_drill(before, now - timedelta(days=2), (*ASKED[:6], MISSING), 128.0, good=False)
        add_drill(newest, now - timedelta(hours=3), ASKED, 141.0, good=True)
        full = {"status": TaskStatus.COMPLETED}
        add_check(newest, RestoreTarget.NEW_DATABASE, (*LOOKED[:4], TOO_FULL), now - timedelta(minutes=9), **full)
        check = add_check(newest, RestoreTarget.REPLACE, LOOKED, now - timedelta(minutes=1))
        done = add_restore(newest, RestoreTarget.REPLACE, now - timedelta(days=1), COMPARED)
        add_kept(done, now - timedelta(days=1))
        add_failed_restore(before, now - timedelta(days=3))
        add_upload(newest, now - timedelta(hours=5))
        assert check.id
    add_refresh_job(instance_id, now)


def add_refresh_job(instance_id: int, now: datetime) -> None:
    """A copy for testing, made anew on Mondays."""
    draft = RefreshDraft(
        name="Monday's copy",
        source_instance_id=instance_id,
        database="acme_prod",
        target_instance_id=instance_id,
        target_database="acme_staging",
        cron="0 5 * * 1",
        keep_days="2",
    )
    create_refresh_job(draft, actor=ALICE, now=now)


def add_check(
    archive: Archive, target: RestoreTarget, checks: Sequence[Check], at: datetime, **values: Any
) -> RestoreCheck:
    """A check that ended at that time."""
    row = {
        "title": f"Check before restoring to {archive.instance_name} / {archive.database_name}",
        "archive_id": archive.id,
        "target": target,
        "target_database": archive.database_name if target is RestoreTarget.REPLACE else "acme_training",
        "options": options_of(target).as_json(),
        "checks": [check.as_json() for check in checks],
        "facts": FACTS.as_json(),
    }
    return stored(RestoreCheck(type=TaskType.RESTORE_CHECK, **row), archive, at, 2.0, **values)


def add_restore(
    archive: Archive, target: RestoreTarget, at: datetime, checks: Sequence[Check], **values: Any
) -> Restore:
    """A restore that replaced its target."""
    row = {
        "title": f"Restore to {archive.instance_name} / {archive.database_name} (replace)",
        "archive_id": archive.id,
        "target": target,
        "target_database": archive.database_name,
        "options": options_of(target).as_json(),
        "outcome": RestoreOutcome.REPLACED,
        "checks": [check.as_json() for check in checks],
        "details": {"result": {"message": "Restored acme_prod: 10 tables, 9 026 rows, 500 files."}},
        "safety_run_id": archive.run_id,
    }
    restore = stored(Restore(type=TaskType.RESTORE, **(row | values)), archive, at, 214.0)
    add_story(restore, RESTORE_STORY, 214.0)
    return restore


def add_failed_restore(archive: Archive, at: datetime) -> None:
    """One that found a difference and undid everything."""
    wrong = Check("restored_rows", "Rows per table", BAD, "res_partner has 41 rows, the manifest says 42.", "1 differs")
    values: dict[str, Any] = {"outcome": RestoreOutcome.UNTOUCHED, "details": {}, "safety_run_id": None}
    restore = add_restore(archive, RestoreTarget.REPLACE, at, (wrong,), **values)
    restore.status, restore.error_code = TaskStatus.FAILED, ErrorCode.RESTORE_DIFFERS
    restore.error_message = "What was restored is not what the manifest says: res_partner has 41 rows, not 42."
    restore.hint = "Verify the restore point, or choose the one before it."


def add_kept(restore: Restore, at: datetime) -> None:
    """What it replaced."""
    db.session.add(
        KeptDatabase(
            restore_id=restore.id,
            instance_id=restore.instance_id,
            instance_name=restore.instance_name,
            database_name="acme_prod",
            kept_name=f"acme_prod__before_{at:%Y%m%d_%H%M%S}",
            identity=IDENTITY.as_json(),
            size_bytes=9_400_000,
            created_at=at,
            remove_after=at + timedelta(days=7),
        )
    )


def add_drill(archive: Archive, at: datetime, checks: Sequence[Check], seconds: float, *, good: bool) -> None:
    """A drill with a verdict, kept with its archive too."""
    row = {
        "title": f"{archive.instance_name} / {archive.database_name}: restore drill of restore point {archive.id}",
        "archive_id": archive.id,
        "checks": [check.as_json() for check in checks],
        "seconds": seconds,
        "facts": {
            "tables": 10,
            "rows": 9026,
            "files": 500,
            "server": "15.18",
            "cage": "full",
            "load_seconds": seconds * 0.7,
        },
    }
    drill = stored(Drill(type=TaskType.DRILL, **row), archive, at, seconds)
    if not good:
        drill.status, drill.error_code = TaskStatus.FAILED, ErrorCode.DRILL_FAILED
        drill.error_message = (
            f"The restore drill of restore point {archive.id} failed after 2 min 08 s: {MISSING.detail}"
        )
        drill.hint = MISSING.hint
    add_story(drill, DRILL_STORY, seconds)
    archive.drill_status = VerificationStatus.PASSED if good else VerificationStatus.FAILED
    archive.drilled_at, archive.drill_seconds, archive.drill_report = at, seconds, drill.checks


def add_upload(like: Archive, at: datetime) -> None:
    """A file that did not prove whole and is kept apart."""
    torn = Check(
        "archive_members", "Archive opens", BAD, "dump.sql ends in the middle of a line.", hint="Get it again."
    )
    db.session.add(
        Archive(
            instance_name="Uploads",
            database_name="shop",
            content=Content.DATABASE,
            format=ArchiveFormat.CUSTOM,
            origin=ArchiveOrigin.UPLOAD,
            relative_path="uploads/shop/shop.dump",
            size_bytes=4_200_000,
            sha256=like.sha256[::-1],
            taken_at=at,
            created_at=at,
            state=ArchiveState.QUARANTINED,
            verification_status=VerificationStatus.FAILED,
            verification_level=VerificationLevel.NONE,
            verified_at=at,
            report=[torn.as_json()],
        )
    )


def options_of(target: RestoreTarget) -> RestoreOptions:
    """As the wizard proposes them."""
    copy = target is RestoreTarget.NEW_DATABASE
    return RestoreOptions(neutralise=copy, new_identity=copy)


def stored(task: Made, archive: Archive, at: datetime, seconds: float, **values: Any) -> Made:
    """The task of Alice's about the archive's instance, ended well after so many seconds."""
    instance = db.session.get_one(Instance, archive.instance_id)
    row = {
        "triggered_by": "manual:alice",
        "instance_id": instance.id,
        "instance_name": instance.name,
        "queue": "restores",
        "created_at": at,
        "started_at": at,
        "completed_at": at + timedelta(seconds=seconds),
        "status": TaskStatus.COMPLETED,
        "attempt": 1,
    }
    for name, value in (row | values).items():
        setattr(task, name, value)
    db.session.add(task)
    db.session.flush()
    return task


def add_story(task: Task, story: Sequence[tuple[str, str, float, str, str]], seconds: float) -> None:
    """Its steps and log lines."""
    at = task.started_at
    assert at is not None
    for position, (key, title, share, level, said) in enumerate(story, start=1):
        after = at + timedelta(seconds=seconds * share)
        step = {"key": key, "title": title, "status": StepStatus.COMPLETED, "started_at": at, "completed_at": after}
        db.session.add(TaskStep(task_id=task.id, position=position, first_line=position * 2 - 1, **step))
        db.session.add(TaskLog(task_id=task.id, n=position * 2 - 1, at=at, level="head", message=title))
        db.session.add(TaskLog(task_id=task.id, n=position * 2, at=at, level=level, message=said))
        at = after
