"""Kept databases: listed, and removed only by their name and a recent password."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask

from tests.support.app import Browser, RecordingQueue, signed_in_browser
from tests.support.factories import make_instance
from webapp.store.db import release, writing
from webapp.store.models import KeptDatabase

NAME = "acme__before_20261122_023004"


@pytest.fixture
def kept(app: Flask) -> int:
    """A kept database that is removed by itself in six days, and one that is gone."""
    with app.app_context():
        now = datetime.now(UTC)
        instance = make_instance(now)
        row = {"instance_id": instance.id, "instance_name": instance.name, "database_name": "acme", "created_at": now}
        row |= {"identity": {"system_identifier": "71", "database_oid": 16384}}
        with writing() as session:
            found = KeptDatabase(**row, kept_name=NAME, size_bytes=5_000_000, remove_after=now + timedelta(days=6))
            session.add(found)
            session.add(KeptDatabase(**row, kept_name="acme__before_gone", removed_at=now, removed_by="manual:bob"))
            session.flush()
            kept_id = found.id
        release()
    return kept_id


def test_the_list_shows_what_is_there(charlie: Browser, kept: int) -> None:
    text = charlie.get("/kept-databases").text

    assert NAME in text
    assert "in 6 d" in text
    assert "acme__before_gone" not in text
    assert "Remove…" not in text
    assert "acme__before_gone" in charlie.get("/kept-databases?removed=1").text


def test_an_empty_list_says_why(charlie: Browser) -> None:
    assert "Nothing is kept" in charlie.get("/kept-databases").text


@pytest.mark.parametrize("typed", ["", "acme", f"{NAME} "])
def test_removing_needs_the_name_exactly(bob: Browser, kept: int, queue: RecordingQueue, typed: str) -> None:
    assert NAME in bob.get(f"/kept-databases/{kept}/remove").text

    assert bob.submit(f"/kept-databases/{kept}/remove", typed=typed).status_code == 422
    assert queue.pushed == []


def test_removing_is_a_worker_s_task(bob: Browser, kept: int, queue: RecordingQueue) -> None:
    assert bob.submit(f"/kept-databases/{kept}/remove", typed=NAME).location.startswith("/tasks/")
    assert len(queue.pushed) == 1


def test_removing_needs_a_recent_password(app: Flask, kept: int, queue: RecordingQueue) -> None:
    late = signed_in_browser(app, "bob", at=datetime.now(UTC) - timedelta(minutes=11))

    assert late.get(f"/kept-databases/{kept}/remove").location.startswith("/reauthenticate")
    assert late.submit(f"/kept-databases/{kept}/remove", typed=NAME).location.startswith("/reauthenticate")
    assert queue.pushed == []


def test_what_is_gone_is_not_removed_again(bob: Browser, kept: int) -> None:
    assert "It was removed" in bob.get(f"/kept-databases/{kept + 1}/remove").text
    assert bob.get("/kept-databases/999/remove").status_code == 404
