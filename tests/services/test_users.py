"""Users: there is always an admin, and changes are recorded."""

from __future__ import annotations

import threading
from datetime import datetime

import pytest
from flask import Flask

from tests.support.app import ALICE
from tests.support.cast import PASSWORD
from webapp.core.errors import Conflict, InvalidInput, NotFound
from webapp.core.plans import Secret
from webapp.core.status import Role
from webapp.services import audit, sessions, users
from webapp.services.audit import AuditFilter
from webapp.services.sessions import Visitor
from webapp.services.throttle import TooManyTries
from webapp.services.users import NewUser

GOOD = Secret("a sentence nobody knows")


def test_a_new_user_can_sign_in(service: Flask, now: datetime) -> None:
    user = users.add_user(NewUser("Dave.Smith", GOOD, Role.VIEWER, "Dave"), actor=ALICE, now=now)

    token = sessions.sign_in("dave.smith", GOOD.reveal(), Visitor("192.0.2.1"), now=now)

    assert user.username == "dave.smith"
    assert sessions.find_session(token, now=now) is not None


@pytest.mark.parametrize(
    "username", ["", "a", "with space", "-dash", "new\nline", "ü", "a" * 65, "<b>bold</b>", "../etc"]
)
def test_strange_user_names_are_refused_at_their_field(service: Flask, now: datetime, username: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        users.add_user(NewUser(username, GOOD, Role.VIEWER), actor=ALICE, now=now)

    assert refused.value.field == "username"


def test_a_name_is_taken_once(service: Flask, now: datetime) -> None:
    with pytest.raises(InvalidInput, match="already"):
        users.add_user(NewUser("BOB", GOOD, Role.VIEWER), actor=ALICE, now=now)


def test_a_weak_password_is_refused_and_nothing_is_added(service: Flask, now: datetime) -> None:
    with pytest.raises(InvalidInput) as refused:
        users.add_user(NewUser("dave", Secret("Password123!"), Role.VIEWER), actor=ALICE, now=now)

    assert refused.value.field == "password"
    assert users.find_user("dave") is None


def test_the_last_admin_stays(service: Flask, now: datetime) -> None:
    with pytest.raises(Conflict, match="last active admin"):
        users.change_user(1, role=Role.VIEWER, display_name="", version=None, actor=ALICE, now=now)
    with pytest.raises(Conflict, match="last active admin"):
        users.deactivate_user(1, actor=ALICE, now=now)

    assert users.get_user(1).role is Role.ADMIN
    assert users.get_user(1).is_active


def test_of_two_admins_who_leave_at_the_same_moment_one_stays(service: Flask, now: datetime) -> None:
    users.change_user(2, role=Role.ADMIN, display_name="Bob", version=None, actor=ALICE, now=now)
    start, refused = threading.Barrier(2), []

    def leave(user_id: int) -> None:
        with service.app_context():
            start.wait()
            try:
                users.deactivate_user(user_id, actor=ALICE, now=now)
            except Conflict:
                refused.append(user_id)

    threads = [threading.Thread(target=leave, args=(user_id,)) for user_id in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(refused) == 1


def test_a_form_older_than_the_user_is_refused(service: Flask, now: datetime) -> None:
    seen = users.get_user(2).version
    users.change_user(2, role=Role.OPERATOR, display_name="Robert", version=seen, actor=ALICE, now=now)

    with pytest.raises(Conflict, match="meantime"):
        users.change_user(2, role=Role.OPERATOR, display_name="Rob", version=seen, actor=ALICE, now=now)

    assert users.get_user(2).display_name == "Robert"


def test_signing_in_does_not_make_an_open_form_old(service: Flask, now: datetime) -> None:
    seen = users.get_user(2).version

    sessions.sign_in("bob", PASSWORD, Visitor("192.0.2.1"), now=now)

    assert users.change_user(2, role=Role.OPERATOR, display_name="Rob", version=seen, actor=ALICE, now=now)


def test_changing_the_own_password_needs_the_current_one(service: Flask, now: datetime) -> None:
    visitor = Visitor("192.0.2.1")

    with pytest.raises(InvalidInput) as refused:
        users.change_own_password(2, current=Secret("wrong"), new=GOOD, visitor=visitor, actor=ALICE, now=now)

    assert refused.value.field == "current_password"
    token = users.change_own_password(2, current=Secret(PASSWORD), new=GOOD, visitor=visitor, actor=ALICE, now=now)
    assert sessions.find_session(token, now=now) is not None


def test_the_current_password_cannot_be_guessed_there_either(service: Flask, now: datetime) -> None:
    def guess() -> None:
        users.change_own_password(
            2, current=Secret("wrong"), new=GOOD, visitor=Visitor("192.0.2.1"), actor=ALICE, now=now
        )

    for _ in range(5):
        with pytest.raises(InvalidInput):
            guess()
    with pytest.raises(TooManyTries):
        guess()


def test_the_same_password_again_is_no_change(service: Flask, now: datetime) -> None:
    with pytest.raises(InvalidInput) as refused:
        users.change_own_password(
            2, current=Secret(PASSWORD), new=Secret(PASSWORD), visitor=Visitor(""), actor=ALICE, now=now
        )

    assert refused.value.field == "new_password"


def test_every_change_is_recorded_and_no_password_with_it(service: Flask, now: datetime) -> None:
    user = users.add_user(NewUser("dave", GOOD, Role.VIEWER), actor=ALICE, now=now)
    users.change_user(user.id, role=Role.OPERATOR, display_name="D", version=None, actor=ALICE, now=now)
    users.reset_password(user.id, Secret("yet another sentence"), actor=ALICE, now=now)
    users.deactivate_user(user.id, actor=ALICE, now=now)
    users.activate_user(user.id, actor=ALICE, now=now)
    users.change_preferences(user.id, display_name="D", theme="dark", time_zone="Europe/Brussels", actor=ALICE, now=now)

    rows, _ = audit.list_events(AuditFilter(subject="dave"))

    assert [row.event for row in reversed(rows)] == [
        "user.added",
        "user.changed",
        "user.password_reset",
        "user.deactivated",
        "user.activated",
        "user.preferences_changed",
    ]
    assert rows[4].details["role"] == ["viewer", "operator"]
    assert "sentence" not in str(rows)
    assert {row.actor for row in rows} == {"alice"}


def test_preferences_take_known_words_only(service: Flask, now: datetime) -> None:
    for theme, zone, field in (("pink", "", "theme"), ("dark", "Mars/Olympus", "time_zone")):
        with pytest.raises(InvalidInput) as refused:
            users.change_preferences(2, display_name="", theme=theme, time_zone=zone, actor=ALICE, now=now)
        assert refused.value.field == field


def test_there_is_no_such_user(service: Flask) -> None:
    with pytest.raises(NotFound):
        users.get_user(99)
