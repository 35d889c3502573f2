"""What the pages of restores show in tests: restore points, a check that has ended, the restores there are."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Flask

from tests.support.app import BOB
from tests.support.factories import make_archive, make_instance, make_job, make_run
from webapp.core.reports import Check, CheckState
from webapp.core.restore_plans import TargetFacts, TargetIdentity
from webapp.core.status import Content, InstanceKind, RestoreTarget, TaskStatus, VerificationStatus
from webapp.services import restores
from webapp.services.restores import RestoreWish
from webapp.store.db import db, release, writing
from webapp.store.models import Restore, RestoreCheck


def add_points(app: Flask) -> int:
    """Three restore points of an Odoo: the newest, whose number it returns, one that failed its verification, and an older."""
    with app.app_context():
        now = datetime.now(UTC)
        job = make_job(make_instance(now, kind=InstanceKind.ODOO_POSTGRES, databases=["acme"]), now)
        for hours, status in ((50, VerificationStatus.PASSED), (26, VerificationStatus.FAILED)):
            add_point(job, now - timedelta(hours=hours), verification_status=status)
        found = add_point(job, now - timedelta(hours=8, minutes=12))
        release()
    return found


def add_point(job: Any, taken_at: datetime, **values: Any) -> int:
    """One more restore point of the job, filestore included."""
    run = make_run(job, taken_at, status=TaskStatus.COMPLETED, content=Content.DATABASE_AND_FILESTORE)
    return make_archive(run, taken_at, odoo_version="18.0", **values).id


def check_of(app: Flask, point: int, target: RestoreTarget = RestoreTarget.NEW_DATABASE, **values: Any) -> int:
    """A check that has ended well a moment ago."""
    with app.app_context():
        now = values.pop("now", datetime.now(UTC))
        wish = RestoreWish(point, target, 1, "acme" if target is RestoreTarget.REPLACE else "acme_copy")
        check = restores.request_check(replace(wish, **values.pop("wish", {})), actor=BOB, now=now)
        checks = values.pop("checks", [Check("reach", "Server answers", CheckState.PASSED, "PostgreSQL 15.8")])
        facts = TargetFacts(TargetIdentity("71", 16384), ("odoo from 10.0.0.4 (3)",), 900, 5000, 900, "15.8")
        with writing():
            row = db.session.get_one(RestoreCheck, check.id)
            row.status, row.started_at, row.completed_at = TaskStatus.COMPLETED, now, now
            row.checks = [one.as_json() for one in checks]
            row.facts = facts.as_json()
            for name, value in values.items():
                setattr(row, name, value)
        found = check.id
        release()
    return found


def restores_in(app: Flask) -> list[Restore]:
    """All restores there are, oldest first."""
    with app.app_context():
        return list(db.session.query(Restore).order_by(Restore.id))
