"""The setup: one token, one winner."""

from __future__ import annotations

import stat
import threading
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.support.app import Installation, RecordingQueue, build_installation, make_wiring
from webapp.core.errors import InvalidInput
from webapp.core.plans import Secret
from webapp.core.status import Role
from webapp.services import audit, sessions, setup, users
from webapp.services.audit import AuditFilter
from webapp.services.sessions import Visitor
from webapp.services.setup import FirstAdmin, SetupRefused
from webapp.services.throttle import TooManyTries
from webapp.services.wiring import wired
from webapp.store.db import db
from webapp.store.models import Setting

HERE = Visitor("192.0.2.7")
ADMIN = FirstAdmin("alice", Secret("tulips on the window"))


@pytest.fixture(scope="session")
def empty_installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return build_installation(tmp_path_factory.mktemp("empty"), with_cast=False)


@pytest.fixture
def fresh(empty_installation: Installation, tmp_path: Path) -> object:
    app = empty_installation.restore(make_wiring(tmp_path, RecordingQueue()))
    with app.app_context():
        yield app
        db.session.remove()


def test_a_restart_prints_the_same_link(fresh: Flask, now: datetime) -> None:
    token = setup.ensure_setup_token(now)

    assert token is not None
    assert setup.ensure_setup_token(now) == token
    assert len(token) >= 43


def test_the_token_is_for_its_owner_only_and_the_database_has_its_digest(fresh: Flask, now: datetime) -> None:
    token = setup.ensure_setup_token(now)

    file = wired().data_directory / "setup.token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert token not in str(db.session.scalars(sa.select(Setting.value)).all())


def test_a_lost_file_makes_a_new_link_and_the_old_one_void(fresh: Flask, now: datetime) -> None:
    old = setup.ensure_setup_token(now)
    (wired().data_directory / "setup.token").unlink()

    new = setup.ensure_setup_token(now)

    assert new is not None
    assert old is not None
    assert setup.is_setup_token(new)
    assert not setup.is_setup_token(old)


def test_the_first_admin_is_made_once(fresh: Flask, now: datetime) -> None:
    token = str(setup.ensure_setup_token(now))

    session_token = setup.complete_setup(token, ADMIN, HERE, now=now)

    person = sessions.find_session(session_token, now=now)
    assert person is not None
    assert person.role is Role.ADMIN
    assert not (wired().data_directory / "setup.token").exists()
    assert setup.ensure_setup_token(now) is None
    with pytest.raises(SetupRefused):
        setup.complete_setup(token, FirstAdmin("mallory", ADMIN.password), HERE, now=now)
    assert [user.username for user in users.list_users()] == ["alice"]
    assert audit.list_events(AuditFilter(event="setup.completed"))[1] == 1


def test_a_wrong_token_is_refused_recorded_and_throttled(fresh: Flask, now: datetime) -> None:
    setup.ensure_setup_token(now)

    for _ in range(5):
        with pytest.raises(SetupRefused):
            setup.complete_setup("guess", ADMIN, HERE, now=now)
    with pytest.raises(TooManyTries):
        setup.complete_setup("guess", ADMIN, HERE, now=now)

    assert users.list_users() == []
    assert audit.list_events(AuditFilter(event="setup.refused"))[1] == 5


def test_no_token_exists_before_one_was_printed(fresh: Flask, now: datetime) -> None:
    for token in ("", "None", "null"):
        assert not setup.is_setup_token(token)


def test_a_mistake_in_the_form_does_not_use_the_token_up(fresh: Flask, now: datetime) -> None:
    token = str(setup.ensure_setup_token(now))

    with pytest.raises(InvalidInput):
        setup.complete_setup(token, FirstAdmin("alice", Secret("short")), HERE, now=now)

    assert setup.is_setup_token(token)


def test_of_two_people_with_the_link_one_wins(fresh: Flask, now: datetime) -> None:
    token = str(setup.ensure_setup_token(now))
    start, outcomes = threading.Barrier(4), []

    def try_it(name: str) -> None:
        with fresh.app_context():
            start.wait()
            try:
                setup.complete_setup(token, FirstAdmin(name, ADMIN.password), HERE, now=now)
                outcomes.append("won")
            except SetupRefused:
                outcomes.append("refused")
            db.session.remove()

    threads = [threading.Thread(target=try_it, args=(f"admin{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["refused", "refused", "refused", "won"]
    assert len(users.list_users()) == 1
