"""A restore through Odoo's own endpoint: what was backed up over HTTP is sent back under another name."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from flask import Flask

from tests.services.test_backups import PASSWORD, Place, job_for
from tests.support.app import ALICE
from tests.support.odoo_like import Database, OdooLike
from tests.support.odoo_zip import odoo_zip
from webapp.core.restore_plans import RestoreOptions
from webapp.core.status import RestoreOutcome, RestoreTarget, TaskStatus
from webapp.services import archives, restores
from webapp.services.restore_checks import execute_check
from webapp.services.restore_runs import execute_restore
from webapp.services.restores import RestoreWish, request_check, request_restore
from webapp.store.db import db

pytestmark = pytest.mark.usefixtures("service")


def clock() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def place(service: Flask) -> Iterator[Place]:
    with OdooLike(master_password=PASSWORD) as odoo:
        odoo.databases["acme"] = Database(zip_bytes=odoo_zip("acme"))
        yield Place(odoo, job_for(odoo).id)


def checked(place: Place, database: str) -> int:
    archive = archives.archive_of_run(place.back_up().id)
    assert archive is not None
    wish = RestoreWish(
        archive.id,
        RestoreTarget.ODOO,
        place.job.instance_id,
        database,
        RestoreOptions(new_identity=True, neutralise=True),
    )
    check_id = request_check(wish, actor=ALICE, now=clock()).id
    execute_check(check_id, clock=clock)
    return check_id


def test_a_copy_is_made_by_odoo_itself(place: Place) -> None:
    check_id = checked(place, "acme_copy")
    check = restores.get_check(check_id)
    assert check.status is not TaskStatus.FAILED, check.error_message

    number = request_restore(check_id, typed_name="", actor=ALICE, now=clock()).id
    execute_restore(number, clock=clock)

    db.session.commit()
    ended = restores.get_restore(number)
    assert (ended.outcome, ended.error_message) == (RestoreOutcome.CREATED, "")
    assert "acme_copy" in place.odoo.databases


def test_a_name_that_is_taken_there_forbids_the_restore(place: Place) -> None:
    check = restores.get_check(checked(place, "acme"))

    assert check.status is TaskStatus.FAILED
    assert restores.why_not_startable(check, clock())
