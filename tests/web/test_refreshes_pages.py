"""Refresh jobs in the browser: added, shown, changed, started; and never mistaken for jobs that back up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from tests.support.app import Browser, signed_in_browser
from tests.support.factories import make_archive, make_instance, make_job, make_run
from webapp.core.status import Content, InstanceKind, JobKind, TaskStatus
from webapp.store.db import db, release
from webapp.store.models import Job, Restore


@pytest.fixture
def places(app: Flask) -> tuple[int, int]:
    """Production with a restore point, and a server for its copy."""
    with app.app_context():
        now = datetime.now(UTC)
        production = make_instance(now, kind=InstanceKind.ODOO_POSTGRES)
        run = make_run(make_job(production, now), now, status=TaskStatus.COMPLETED, content=Content.DATABASE)
        make_archive(run, now, odoo_version="18.0")
        staging = make_instance(now, "staging", pg_host="10.0.0.9")
        found = production.id, staging.id
        release()
    return found


def form(places: tuple[int, int], **changes: Any) -> dict[str, str]:
    values = {
        "name": "Monday's copy",
        "source_instance_id": str(places[0]),
        "database": "acme",
        "target_instance_id": str(places[1]),
        "target_database": "acme_staging",
        "cron": "0 5 * * 1",
        "time_zone": "Europe/Brussels",
        "keep_days": "0",
        **dict.fromkeys(("enabled", "neutralise", "new_identity", "with_filestore", "safety_backup"), "1"),
    }
    return {name: value for name, value in (values | changes).items() if value is not None}


def jobs_in(app: Flask) -> list[Job]:
    with app.app_context():
        return list(db.session.query(Job).filter_by(kind=JobKind.REFRESH))


def test_the_form_begins_with_production_and_a_harmless_copy(bob: Browser, places: tuple[int, int]) -> None:
    text = bob.get(f"/refreshes/new?source={places[0]}").text

    assert 'value="acme_staging"' in text
    for tick in ("neutralise", "new_identity", "safety_backup"):
        assert f'name="{tick}" value="1" checked' in text


def test_a_refresh_job_is_added_shown_changed_and_started(bob: Browser, app: Flask, places: tuple[int, int]) -> None:
    page = bob.submit("/refreshes/new", form(places)).location
    (job,) = jobs_in(app)
    assert page == f"/refreshes/{job.id}"
    assert "acme-prod / acme" in bob.get(page).text
    assert bob.get(f"/jobs/{job.id}").location == page
    assert bob.get(f"/jobs/{job.id}/edit").location == f"{page}/edit"
    assert "Refreshes acme_staging" in bob.get(f"/instances/{places[1]}").text

    changed = form(places, version=str(job.version), keep_days="3", neutralise=None)
    assert bob.submit(f"{page}/edit", changed).status_code == 303
    assert bob.submit(f"{page}/edit", changed).status_code == 409
    (job,) = jobs_in(app)
    assert (job.refresh["keep_days"], job.refresh["neutralise"]) == (3, False)

    started = bob.submit(f"/jobs/{job.id}/run")
    with app.app_context():
        (restore,) = db.session.query(Restore)
        assert started.location == f"/restores/{restore.id}"
    assert f'href="/restores/{restore.id}"' in bob.get(page).text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cron": "0 5 31 2 *"}, "cron-error"),
        ({"source_instance_id": ""}, "Choose an instance."),
        ({"target_database": "postgres"}, "belongs to the server itself"),
        ({"keep_days": "x"}, "keep_days-error"),
    ],
)
def test_what_cannot_be_used_is_said_at_its_field(
    bob: Browser, app: Flask, places: tuple[int, int], changes: dict[str, str], said: str
) -> None:
    answer = bob.submit("/refreshes/new", form(places, **changes))

    assert answer.status_code == 422
    assert said in answer.text
    assert jobs_in(app) == []


def test_saving_needs_a_recent_password(app: Flask, places: tuple[int, int]) -> None:
    late = signed_in_browser(app, "bob", at=datetime.now(UTC) - timedelta(minutes=11))

    assert late.submit("/refreshes/new", form(places)).location.startswith("/reauthenticate")
    assert jobs_in(app) == []


def test_a_job_that_backs_up_is_no_refresh_job(bob: Browser, places: tuple[int, int]) -> None:
    assert bob.get("/refreshes/1").status_code == 404
    assert bob.get("/refreshes/1/edit").status_code == 404


def test_a_viewer_looks_only(bob: Browser, charlie: Browser, places: tuple[int, int]) -> None:
    page = bob.submit("/refreshes/new", form(places)).location

    assert "Refresh now" not in charlie.get(page).text
    assert charlie.get("/refreshes/new").status_code == 403
