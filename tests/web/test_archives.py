"""Downloads: for operators, of what is stored, as a file and never as a page; every one is in the audit log."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.support.app import Browser
from tests.support.factories import make_archive, make_instance, make_job, make_run
from webapp.core.status import ArchiveState
from webapp.services.wiring import Wiring
from webapp.store.db import db, release
from webapp.store.models import AuditEvent

CONTENT = b"<html><script>alert(1)</script>" * 100


def store(app: Flask, wiring: Wiring, relative_path: str = "1-acme-prod/a/a.zip", **values: object) -> int:
    """An archive row, and a file where it should be."""
    path = Path(wiring.archive_directory, "1-acme-prod/a/a.zip")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(CONTENT)
    with app.app_context():
        now = datetime.now(UTC)
        run = make_run(make_job(make_instance(now), now), now)
        found = make_archive(run, now, relative_path=relative_path, **values).id
        release()
    return found


def downloads(app: Flask) -> list[str]:
    with app.app_context():
        query = sa.select(AuditEvent.actor).where(AuditEvent.event == "archive.downloaded")
        return list(db.session.scalars(query))


def test_an_operator_gets_the_file_and_is_recorded(app: Flask, wiring: Wiring, bob: Browser) -> None:
    answer = bob.get(f"/restore-points/{store(app, wiring)}/download")

    assert answer.data == CONTENT
    assert answer.headers["Content-Disposition"] == "attachment; filename=a.zip"
    assert answer.headers["Content-Type"] == "application/zip"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert downloads(app) == ["bob"]


def test_a_part_of_the_file_can_be_asked_for(app: Flask, wiring: Wiring, bob: Browser) -> None:
    answer = bob.get(f"/restore-points/{store(app, wiring)}/download", headers={"Range": "bytes=1-4"})

    assert (answer.status_code, answer.data) == (206, b"html")


def test_a_viewer_and_a_stranger_get_nothing(app: Flask, wiring: Wiring, charlie: Browser, mallory: Browser) -> None:
    path = f"/restore-points/{store(app, wiring)}/download"

    assert charlie.get(path).status_code == 403
    assert mallory.get(path).status_code in (302, 303)
    assert downloads(app) == []


@pytest.mark.parametrize("relative_path", ["../../etc/passwd", "/etc/passwd", "1-acme-prod/../../secret", "a\\b", ""])
def test_a_path_that_leads_out_of_the_store_is_refused(
    app: Flask, wiring: Wiring, bob: Browser, relative_path: str
) -> None:
    answer = bob.get(f"/restore-points/{store(app, wiring, relative_path)}/download")

    assert answer.status_code == 503
    assert downloads(app) == []


def test_a_link_in_the_store_is_not_followed(app: Flask, wiring: Wiring, bob: Browser, tmp_path: Path) -> None:
    archive_id = store(app, wiring)
    (tmp_path / "secret").write_text("secret")
    path = Path(wiring.archive_directory, "1-acme-prod/a/a.zip")
    path.unlink()
    path.symlink_to(tmp_path / "secret")

    assert bob.get(f"/restore-points/{archive_id}/download").status_code == 503


@pytest.mark.parametrize("state", [ArchiveState.DELETED, ArchiveState.DELETING, ArchiveState.MISSING])
def test_what_is_gone_is_not_found(app: Flask, wiring: Wiring, bob: Browser, state: ArchiveState) -> None:
    assert bob.get(f"/restore-points/{store(app, wiring, state=state)}/download").status_code == 404
    assert downloads(app) == []


def test_the_lists_are_safe_for_spreadsheets(app: Flask, wiring: Wiring, charlie: Browser) -> None:
    store(app, wiring, instance_name="=HYPERLINK(1)")

    assert "'=HYPERLINK(1)" in charlie.get("/restore-points.csv").text
