"""Pages over a recovered catalogue: placeholders have no address and no password, and every page about them opens."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.proof.specimens import zip_specimen
from tests.support.app import Browser, service_context
from webapp.engine.listing import Found
from webapp.services.recovered_rows import adopt
from webapp.store.db import db
from webapp.store.models import Archive, Instance, Run


@pytest.fixture
def recovered(app: Flask) -> tuple[int, int, int]:
    """Ids of an instance, an archive and a run that came from side-cars: of an Odoo over HTTP, the poorest kind."""
    specimen = zip_specimen(2, 1)
    manifest = replace(
        specimen.manifest, started_at="2026-11-20T02:30:04+00:00", snapshot_at="2026-11-20T02:30:05+00:00"
    )
    found = Found("7-acme-prod/20261120-023004_prod_r3f1", quarantined=False, manifest=manifest)
    with service_context(app):
        adopt([found], datetime.now(UTC))
        ids = [db.session.scalars(sa.select(model.id)).one() for model in (Instance, Archive, Run)]
    return ids[0], ids[1], ids[2]


def test_every_page_about_a_recovered_instance_opens(alice: Browser, recovered: tuple[int, int, int]) -> None:
    instance, archive, run = recovered
    paths = [
        "/",
        "/instances",
        f"/instances/{instance}",
        f"/instances/{instance}/edit",
        f"/instances/{instance}/runs",
        "/restore-points",
        "/runs",
        f"/runs/{run}",
        f"/restore-points/{archive}",
        f"/restore/new?archive={archive}",
    ]

    answers = {path: alice.get(path, follow_redirects=True).status_code for path in paths}

    assert (instance, run) == (7, 3)
    assert {path: code for path, code in answers.items() if code != 200} == {}
