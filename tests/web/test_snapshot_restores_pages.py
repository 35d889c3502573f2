"""Pages of restores of files: the dry run, what it says, the question, and what became of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from flask import Flask

from tests.support.app import ALICE, Browser, service_context
from tests.support.host_pages import HOST, SeededHost
from webapp.core.status import ErrorCode, TaskStatus
from webapp.services import snapshot_restores
from webapp.services.instances import create_instance
from webapp.store.db import db, writing
from webapp.store.models import SnapshotRestore


def tried(app: Flask, bob: Browser, host: SeededHost, *paths: str, folder: str = "looked-at") -> str:
    """The address of a dry run that a worker has ended."""
    form = {"path": list(paths), "target": "directory", "directory": folder}
    page: str = bob.submit(f"/snapshots/{host.snapshot_ids[-1]}/restore", data=form).location
    work(app)
    return page


def work(app: Flask) -> None:
    """Do what waits."""
    with service_context(app):
        waiting = db.session.query(SnapshotRestore.id).filter_by(status=TaskStatus.PENDING).all()
        for (number,) in waiting:
            snapshot_restores.execute_restore(number, clock=lambda: datetime.now(UTC))


def end_badly(app: Flask, code: ErrorCode) -> None:
    """Let the one that waits end without a result."""
    with service_context(app), writing() as session:
        restore = session.query(SnapshotRestore).filter_by(status=TaskStatus.PENDING).one()
        restore.status, restore.error_code, restore.error_message = TaskStatus.FAILED, code, "The host is away."


def test_a_restore_begins_with_a_dry_run(bob: Browser, host: SeededHost) -> None:
    base = f"/snapshots/{host.snapshot_ids[-1]}/restore"

    form = bob.get(f"{base}?path=/etc/hosts").text
    answer = bob.submit(base, data={"path": "/etc/hosts", "target": "directory", "directory": "looked-at"})
    page = bob.get(answer.location)

    assert 'value="/etc/hosts"' in form
    assert answer.status_code == 303
    assert page.status_code == 200
    assert "Dry run" in page.text
    assert "Restore these…" not in page.text


def test_a_restore_without_a_place_is_refused_at_its_field(bob: Browser, host: SeededHost) -> None:
    answer = bob.submit(f"/snapshots/{host.snapshot_ids[-1]}/restore", target="directory", directory="/etc/cron.d")

    assert answer.status_code == 422
    assert 'id="directory-error"' in answer.text


def test_a_dry_run_says_in_words_what_would_change(app: Flask, bob: Browser, host: SeededHost) -> None:
    preview = tried(app, bob, host, "/etc/hosts", "/home/bob/notes day 2.txt")

    page, question = bob.get(preview).text, bob.get(f"{preview}/confirm").text

    assert "Restore these…" in page
    for text in (page, question):
        assert "2 would be created" in text
        assert "deleted" not in text
        assert ": 0" not in text


def test_another_host_is_called_by_its_name_before_it_is_written_to(app: Flask, bob: Browser, host: SeededHost) -> None:
    with service_context(app):
        other_id = create_instance(replace(HOST, name="web-09"), actor=ALICE, now=datetime.now(UTC)).id
    form = {"path": "/etc/hosts", "target": "other_host", "target_instance_id": str(other_id), "target_path": "/"}
    preview = bob.submit(f"/snapshots/{host.snapshot_ids[-1]}/restore", data=form).location
    with service_context(app), writing() as session:
        restore = session.query(SnapshotRestore).filter_by(status=TaskStatus.PENDING).one()
        restore.status, restore.completed_at = TaskStatus.COMPLETED, datetime.now(UTC)
        restore.counts = {"changed": 1}

    page, question = bob.get(preview).text, bob.get(f"{preview}/confirm").text

    assert "web-09" in page
    assert "Restore to web-09?" in question
    assert "1 would be overwritten" in question


def test_what_was_done_is_said_as_done(app: Flask, bob: Browser, host: SeededHost) -> None:
    preview = tried(app, bob, host, "/etc/hosts")
    digest = bob.get(f"{preview}/confirm").text.split('name="digest" value="')[1].split('"')[0]

    done = bob.submit(f"{preview}/confirm", digest=digest).location
    work(app)

    page = bob.get(done).text
    assert "1 was created" in page
    assert "would" not in page


def test_where_nothing_would_change_there_is_nothing_to_confirm(app: Flask, bob: Browser, host: SeededHost) -> None:
    first = tried(app, bob, host, "/etc/hosts")
    digest = bob.get(f"{first}/confirm").text.split('name="digest" value="')[1].split('"')[0]
    bob.submit(f"{first}/confirm", digest=digest)
    work(app)

    again = tried(app, bob, host, "/etc/hosts")

    page = bob.get(again).text
    assert "Nothing would change." in page
    assert "Restore these…" not in page
    assert "Restore again…" in page
    assert bob.get(f"{again}/confirm").location == again


@pytest.mark.parametrize("code", [ErrorCode.CONNECTION_FAILED, ErrorCode.CANCELLED])
def test_what_a_dry_run_without_an_end_would_change_is_not_known(
    app: Flask, bob: Browser, host: SeededHost, code: ErrorCode
) -> None:
    form = {"path": "/etc/hosts", "target": "directory", "directory": "looked-at"}
    preview = bob.submit(f"/snapshots/{host.snapshot_ids[-1]}/restore", data=form).location

    waiting = bob.get(preview).text
    end_badly(app, code)
    ended = bob.get(preview).text

    assert "Nothing." not in waiting
    assert "not known" not in waiting
    assert "Nothing." not in ended
    assert "Not known: the dry run did not come to its end." in ended
