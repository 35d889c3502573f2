"""A data directory with a past: the cast, eight instances, their jobs, and two weeks of runs and restore points.

``python -m tests.browser.seed DIRECTORY --port 5432 --filestore /path`` fills a new directory, in which ``holdfast up`` then
starts with pages that look alive. Instance 1 (``acme-prod``) is real: the PostgreSQL server that the arguments name. The others
lead to addresses of example.com that are never asked, as their next run is hours away.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask

from tests.browser.seed_hosts import add_host
from tests.browser.seed_restores import add_restores
from tests.support.app import ALICE, BOB, let_in_the_cast
from tests.support.factories import make_archive, make_run
from tests.support.postgres import PASSWORD, SUPERUSER
from webapp.assembly import bare_app
from webapp.core.naming import archive_base_name, archive_directory_name
from webapp.core.plans import Secret
from webapp.core.reports import Check, CheckState
from webapp.core.status import (
    ArchiveState,
    Content,
    ErrorCode,
    RetentionMode,
    StepStatus,
    TaskStatus,
    TaskType,
    VerificationStatus,
)
from webapp.services import points, retention_holds
from webapp.services.backups import instance_directory
from webapp.services.instance_rules import InstanceDraft
from webapp.services.instances import create_instance, get_instance, mute_instance, pause_instance
from webapp.services.job_rules import JobDraft
from webapp.services.jobs import create_job, list_jobs
from webapp.services.store import set_up_store
from webapp.services.wiring import wired
from webapp.settings import read_settings
from webapp.store.db import db, writing
from webapp.store.migrate import attach_migrations, upgrade
from webapp.store.models import Archive, ConnectionTest, Job, Run, TaskLog, TaskStep

DAYS = 24
KEPT = 5
GB = 1_000_000_000
MASTER = {"kind": "odoo_http", "database_selection": "all", "master_password": Secret("only for pictures")}
SERVER = {"kind": "postgres", "pg_user": "backup", "pg_password": Secret("only for pictures")}


@dataclass(frozen=True)
class Past:
    """One instance and what happened to it. ``last``: what became of the newest run; ``silent_days``: how long ago that was."""

    name: str
    customer: str
    database: str
    size_bytes: int
    draft: dict[str, Any]
    rows: int = 412_001
    tables: int = 1_204
    last: str = "ok"
    silent_days: int = 0
    days: int = DAYS
    growth: float = 1.004
    bad_days: tuple[int, ...] = ()


PASTS = (
    Past(
        "globex-erp",
        "Globex",
        "globex",
        4 * GB,
        {**MASTER, "url": "https://erp.globex.example.com", "tags": "prod"},
        bad_days=(9,),
    ),
    Past(
        "globex-shop", "Globex", "shop", GB // 2, {**MASTER, "url": "https://shop.globex.example.com", "tags": "prod"}
    ),
    Past(
        "initech-erp",
        "Initech",
        "initech",
        2 * GB,
        {**MASTER, "url": "https://initech.example.com", "tags": "prod"},
        last="refused",
    ),
    Past(
        "umbrella-accounts",
        "Umbrella",
        "accounts",
        9 * GB,
        {**SERVER, "pg_host": "db.umbrella.example.com"},
        last="collapsed",
    ),
    Past("hooli-warehouse", "Hooli", "warehouse", 700_000_000, {**SERVER, "pg_host": "10.8.0.14"}, silent_days=3),
    Past("stark-archive", "Stark", "archive", 15 * GB, {**SERVER, "pg_host": "10.8.0.20"}, silent_days=2, growth=1.0),
    Past("wayne-crm", "Wayne", "crm", GB, {**MASTER, "url": "https://crm.wayne.example.com"}, days=0),
)


def seed_in_another_process(directory: Path, port: int, filestore: Path) -> None:
    """Run this module by itself: it wires the app to this directory, which would disturb other tests."""
    argv = [
        sys.executable,
        "-m",
        "tests.browser.seed",
        str(directory),
        "--port",
        str(port),
        "--filestore",
        str(filestore),
    ]
    done = subprocess.run(argv, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def main(argv: Sequence[str]) -> None:
    """Fill the directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--filestore", type=Path, required=True)
    given = parser.parse_args(argv)
    os.environ.pop("DATABASE_URL", None)
    app = bare_app(read_settings({"HOLDFAST_DATA_DIR": str(given.directory)}))
    fill(app, given.port, given.filestore, now=datetime.now(UTC))


def fill(app: Flask, port: int, filestore: Path, *, now: datetime) -> None:
    """Everything, in the order in which a person would have done it."""
    attach_migrations(app)
    with app.app_context():
        upgrade()
        let_in_the_cast()
        set_up_store()
        real = {"kind": "odoo_postgres", "pg_host": "127.0.0.1", "pg_port": str(port), "pg_user": SUPERUSER}
        real |= {
            "pg_password": Secret(PASSWORD),
            "filestore_kind": "local",
            "filestore_path": str(filestore),
            "tags": "prod",
        }
        pasts = (Past("acme-prod", "Acme Industries", "acme_prod", 7_700_000, real, rows=9_020, tables=10), *PASTS)
        instances = {past.name: add_instance(past, now) for past in pasts}
        with writing():
            add_history(pasts, now)
        add_restores(instances["acme-prod"], now)
        add_keeping(now)
        pause_instance(instances["stark-archive"], reason="moved to a new host", until=None, actor=ALICE, now=now)
        until = now + timedelta(days=1)
        mute_instance(instances["hooli-warehouse"], reason="line is down", until=until, actor=ALICE, now=now)
        add_host(now)
        db.session.remove()


def add_keeping(now: datetime) -> None:
    """Job 3 keeps by rules, has one archive pinned and one in the trash; job 5, whose newest backup collapsed, is frozen."""
    with writing() as session:
        job = session.get_one(Job, 3)
        job.retention_mode, job.retention_rules = (
            RetentionMode.RULES,
            {"last": 1, "daily": 3, "weekly": 4, "monthly": 12},
        )
        query = sa.select(Archive.id).where(Archive.job_id == 3, Archive.state == ArchiveState.STORED)
        stored = session.scalars(query.order_by(Archive.taken_at)).all()
    points.pin(stored[0], "before the upgrade to 19", actor=BOB, now=now)
    digest = points.deletion_preview(stored[1], now=now).digest
    points.delete(stored[1], typed="", digest=digest, actor=BOB, now=now)
    retention_holds.freeze(
        5, "accounts: the newest backup has a third of the size of the one before.", actor=BOB, now=now
    )


def add_instance(past: Past, now: datetime) -> int:
    """The instance with its nightly job, which runs next in 18 hours; the instance's id."""
    draft = {"database_selection": "single", "databases": (past.database,), **past.draft, "name": past.name}
    began = now - timedelta(days=past.days + 1) if past.days else now
    instance_id = create_instance(InstanceDraft(**{**draft, "customer": past.customer}), actor=ALICE, now=began).id
    first = first_night(instance_id, now)
    is_odoo = past.draft["kind"] != "postgres"
    content = "database_and_filestore" if is_odoo else "database"
    nightly = JobDraft(
        name="Nightly",
        cron=f"{first.minute} {first.hour} * * *",
        content=content,
        retention_value=str(KEPT),
        retries="0",
    )
    create_job(instance_id, nightly, actor=ALICE, now=now)
    with writing():
        instance = get_instance(instance_id)
        instance.postgresql_version = "15.8"
        instance.odoo_version = "18.0" if is_odoo else ""
    return instance_id


def add_history(pasts: Sequence[Past], now: datetime) -> None:
    """All runs of all instances, the oldest first, as their numbers tell."""
    jobs = {job.instance.name: job for job in list_jobs()}
    chance = random.Random(4)
    nights = [
        (first_night(jobs[past.name].instance_id, now) - timedelta(days=day), past)
        for past in pasts
        for day in range(past.silent_days, past.days)
    ]
    for at, past in sorted(nights, key=lambda night: night[0]):
        add_run(past, jobs[past.name], at, now=now, chance=chance)
    for job in jobs.values():
        add_connection_test(job, now - timedelta(days=1))


def first_night(instance_id: int, now: datetime) -> datetime:
    """When the instance's newest slot was: five to seven hours ago, each instance at another minute."""
    return (now - timedelta(hours=6)).replace(minute=(7 * instance_id) % 60, second=0, microsecond=0)


def add_run(past: Past, job: Job, at: datetime, *, now: datetime, chance: random.Random) -> None:
    """One night: the run with steps and log, and the archive where there is one."""
    day = (now - at).days
    fate = past.last if day == past.silent_days else "refused" if day in past.bad_days else "ok"
    size = int(past.size_bytes / past.growth**day * chance.uniform(0.99, 1.01)) // (3 if fate == "collapsed" else 1)
    seconds = 20 + size / 60_000_000
    done = at + timedelta(seconds=seconds)
    values = FATES[fate] | {
        "title": f"{past.name} / {past.database}: {job.name}",
        "triggered_by": "scheduled",
        "scheduled_at": at,
        "database_name": past.database,
        "content": Content(job.content),
        "started_at": at,
        "completed_at": done,
        "attempt": 1,
        "snapshot": {"retention_mode": "keep_last_n", "retention_value": KEPT},
    }
    failed = values["status"] is TaskStatus.FAILED
    if not failed:
        values |= {"size_bytes": size, "verification_status": VerificationStatus.PASSED}
        if Content(job.content) is Content.DATABASE_AND_FILESTORE:
            values |= {"database_bytes": int(size * 1.1), "filestore_bytes": int(size * 0.8)}
    run = make_run(job, at, **values)
    db.session.flush()
    add_story(run, at, seconds, STORY_FAILED if failed else STORY)
    if not failed:
        add_archive(run, past, job, at, size, gone=day >= past.silent_days + KEPT)


FATES: dict[str, dict[str, Any]] = {
    "ok": {"status": TaskStatus.COMPLETED},
    "refused": {
        "status": TaskStatus.FAILED,
        "error_code": ErrorCode.AUTH_FAILED,
        "error_message": "Odoo refused the master password.",
        "hint": "Enter the instance's master password again: it is admin_passwd of odoo.conf, not a user's password.",
    },
    "collapsed": {
        "status": TaskStatus.COMPLETED_WITH_WARNINGS,
        "error_code": ErrorCode.SIZE_COLLAPSED,
        "error_message": "Much smaller than before: a third of the size of the night before.",
        "warnings": [
            {
                "code": "size_collapsed",
                "message": "Much smaller than before: a third of the size of the night before.",
                "hint": "Look whether data was deleted on purpose. Older archives are kept as the retention rule says.",
            }
        ],
    },
}
STORY = (
    ("prepare", "Prepare", 0.02, "good", "82.4 GB free in the archive store"),
    ("connect", "Connect and check", 0.04, "info", "postgresql 15.8, pg_dump 15.8"),
    ("dump", "Dump database", 0.5, "info", "412 001 rows in 1 204 tables"),
    ("verify", "Verify", 0.4, "good", "Archive opens: every member was unpacked, and every CRC is right."),
    ("store", "Store", 0.04, "good", "Put on the shelf"),
)
STORY_FAILED = (
    ("prepare", "Prepare", 0.1, "good", "82.4 GB free in the archive store"),
    ("connect", "Ask Odoo", 0.2, "info", "odoo 18.0"),
    ("dump", "Odoo makes the backup", 0.7, "error", "Odoo refused the master password."),
)


def add_story(run: Run, at: datetime, seconds: float, story: Sequence[tuple[str, str, float, str, str]]) -> None:
    """Steps and log lines of a run."""
    line = 0
    with writing() as session:
        for position, (key, title, share, level, said) in enumerate(story, start=1):
            after = at + timedelta(seconds=seconds * share)
            status = StepStatus.FAILED if level == "error" else StepStatus.COMPLETED
            session.add(
                TaskStep(
                    task_id=run.id,
                    position=position,
                    key=key,
                    title=title,
                    status=status,
                    started_at=at,
                    completed_at=after,
                    first_line=line + 1,
                )
            )
            for kind, message in (("head", title), (level, said)):
                line += 1
                session.add(TaskLog(task_id=run.id, n=line, at=at, level=kind, message=message))
            at = after


def add_archive(run: Run, past: Past, job: Job, at: datetime, size: int, *, gone: bool) -> Archive:
    """What the run left: a file of that size (all holes) below the store, or the memory of one that retention deleted."""
    base = archive_base_name(at, run.database_name)
    path = f"{instance_directory(job.instance)}/{archive_directory_name(at, run.database_name, run.id, 1)}/{base}.zip"
    values: dict[str, Any] = {
        "relative_path": path,
        "size_bytes": size,
        "report": [check.as_json() for check in CHECKS],
    }
    values |= {"sha256": hashlib.sha256(path.encode()).hexdigest(), "row_total": past.rows, "table_count": past.tables}
    values |= {"postgresql_version": "15.8", "odoo_version": job.instance.odoo_version}
    if gone:
        values |= {
            "state": ArchiveState.DELETED,
            "deleted_at": at + timedelta(days=KEPT),
            "delete_reason": f"Older than the newest {KEPT}.",
        }
    else:
        file = Path(wired().archive_directory) / path
        file.parent.mkdir(parents=True)
        file.touch()
        os.truncate(file, size)
    return make_archive(run, at, **values)


CHECKS = (
    Check(
        "archive_digest",
        "Archive unchanged",
        CheckState.PASSED,
        "Read back from disk: size and SHA-256 are those of the bytes received.",
    ),
    Check(
        "archive_members",
        "Archive opens",
        CheckState.PASSED,
        "Every member was unpacked, and every CRC is right.",
        "38 977",
    ),
    Check("dump_trailer", "Dump complete", CheckState.PASSED, "pg_dump's last line is where it belongs."),
    Check(
        "row_counts",
        "Row counts match",
        CheckState.PASSED,
        "412 001 rows in 1 204 tables, as counted in the same snapshot.",
        "412 001",
    ),
)


def add_connection_test(job: Job, at: datetime) -> None:
    """A test that passed."""
    checks = [
        Check("dns", "Host name", CheckState.PASSED, "The name leads to one address.", "1"),
        Check("tcp", "Connection", CheckState.PASSED, "The port answers.", "4 ms"),
        Check("versions", "Versions", CheckState.PASSED, "pg_dump can read this server.", "15.8"),
    ]
    test = ConnectionTest(
        type=TaskType.CONNECTION_TEST,
        title=f"{job.instance.name}: test connection",
        triggered_by="manual:alice",
        instance_id=job.instance_id,
        instance_name=job.instance.name,
        queue="default",
        created_at=at,
        status=TaskStatus.COMPLETED,
        started_at=at,
        completed_at=at + timedelta(seconds=2),
        checks=[check.as_json() for check in checks],
        databases=list(job.instance.databases),
    )
    with writing() as session:
        session.add(test)


if __name__ == "__main__":
    main(sys.argv[1:])
