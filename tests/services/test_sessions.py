"""Signing in, and sessions that end when they must."""

from __future__ import annotations

import statistics
import time
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher
from flask import Flask

from tests.support.app import ALICE, Installation, make_wiring
from tests.support.cast import PASSWORD
from webapp.core.errors import NotFound
from webapp.core.plans import Secret
from webapp.core.status import Role
from webapp.services import audit, sessions, users
from webapp.services.audit import AuditFilter
from webapp.services.sessions import SignInRefused, Visitor
from webapp.services.throttle import TooManyTries
from webapp.services.wiring import Wiring, wired
from webapp.store.db import db, writing
from webapp.store.models import User, UserSession

HERE = Visitor("192.0.2.7", "Firefox")
MINUTE = timedelta(minutes=1)


def sign_in(now: datetime, username: str = "bob", password: str = PASSWORD, visitor: Visitor = HERE) -> str:
    return sessions.sign_in(username, password, visitor, now=now)


def events(event: str) -> int:
    return audit.list_events(AuditFilter(event=event))[1]


def test_only_the_digest_of_a_token_is_stored(service: Flask, now: datetime) -> None:
    token = sign_in(now)

    stored = db.session.scalars(sa.select(UserSession.token_digest)).all()

    assert stored == [sessions.digest(token)]
    assert token not in str(stored)
    assert len(token) >= 43


def test_a_session_says_who_it_is(service: Flask, now: datetime) -> None:
    person = sessions.find_session(sign_in(now), now=now)

    assert person is not None
    assert (person.username, person.role, person.authenticated_at) == ("bob", Role.OPERATOR, now)


def test_the_user_name_may_be_written_in_capitals_and_with_spaces_around(service: Flask, now: datetime) -> None:
    assert sessions.find_session(sign_in(now, " BOB "), now=now) is not None


def test_an_idle_session_ends_after_thirty_minutes(service: Flask, now: datetime) -> None:
    token = sign_in(now)

    assert sessions.find_session(token, now=now + 29 * MINUTE) is not None
    assert sessions.find_session(token, now=now + 58 * MINUTE) is not None
    assert sessions.find_session(token, now=now + 89 * MINUTE) is None


def test_a_page_that_polls_does_not_keep_a_session_alive(service: Flask, now: datetime) -> None:
    token = sign_in(now)

    for minute in range(0, 30, 5):
        assert sessions.find_session(token, now=now + minute * MINUTE, counts=False) is not None

    assert sessions.find_session(token, now=now + 31 * MINUTE, counts=False) is None


def test_a_session_in_use_ends_after_twelve_hours(service: Flask, now: datetime) -> None:
    token = sign_in(now)
    moment = now

    while moment - now < timedelta(hours=12):
        assert sessions.find_session(token, now=moment) is not None
        moment += 20 * MINUTE

    assert sessions.find_session(token, now=moment) is None


def test_limits_come_from_the_settings(service: Flask, wiring: Wiring, now: datetime) -> None:
    assert (wired().session_idle_minutes, wired().session_absolute_hours) == (30, 12)


def test_a_wrong_password_an_unknown_user_and_an_inactive_one_hear_the_same(service: Flask, now: datetime) -> None:
    users.deactivate_user(3, actor=ALICE, now=now)
    heard = set()

    for username, password in (("bob", "wrong"), ("mallory", "wrong"), ("charlie", PASSWORD)):
        with pytest.raises(SignInRefused) as refused:
            sign_in(now, username, password)
        heard.add((refused.value.message, refused.value.hint))

    assert len(heard) == 1
    assert events("session.refused") == 3


def test_the_sixth_try_at_once_waits_even_with_the_right_password(service: Flask, now: datetime) -> None:
    for _ in range(5):
        with pytest.raises(SignInRefused):
            sign_in(now, password="wrong")

    with pytest.raises(TooManyTries) as refused:
        sign_in(now)

    assert 1 <= refused.value.retry_after_seconds <= 16
    assert sessions.find_session(sign_in(now + timedelta(seconds=20)), now=now + timedelta(seconds=20)) is not None
    assert events("session.throttled") == 1


def test_waiting_grows_to_fifteen_minutes_and_no_further(service: Flask, now: datetime) -> None:
    waits, moment = [], now
    for _ in range(14):
        try:
            sign_in(moment, password="wrong")
        except TooManyTries as error:
            waits.append(error.retry_after_seconds)
            moment += timedelta(seconds=error.retry_after_seconds)
        except SignInRefused:
            pass

    assert waits == sorted(waits)
    assert max(waits) <= 901


def test_a_throttle_survives_a_restart(
    installation: Installation, service: Flask, wiring: Wiring, now: datetime
) -> None:
    for _ in range(5):
        with pytest.raises(SignInRefused):
            sign_in(now, password="wrong")
    db.session.remove()
    db.engine.dispose()

    with pytest.raises(TooManyTries):
        sign_in(now)


def test_others_may_still_try_the_same_account_from_elsewhere(service: Flask, now: datetime) -> None:
    for _ in range(6):
        with pytest.raises((SignInRefused, TooManyTries)):
            sign_in(now, password="wrong")

    token = sign_in(now, visitor=Visitor("198.51.100.9"))

    assert sessions.find_session(token, now=now) is not None


def test_one_address_cannot_try_every_account(service: Flask, now: datetime) -> None:
    for number in range(20):
        with pytest.raises(SignInRefused):
            sign_in(now, f"user{number}", "wrong")

    with pytest.raises(TooManyTries):
        sign_in(now, "user99", "wrong")


def test_signing_in_hashes_a_password_anew_when_its_settings_were_weaker(service: Flask, now: datetime) -> None:
    weak = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD)
    with writing() as session:
        session.execute(sa.update(User).where(User.id == 2).values(password_hash=weak))

    sign_in(now)

    db.session.expire_all()
    stored = db.session.get_one(User, 2).password_hash
    assert stored != weak
    assert "m=65536,t=2,p=1" in stored


def test_reauthenticating_gives_a_new_token_and_kills_the_old_one(service: Flask, now: datetime) -> None:
    token = sign_in(now)
    person = sessions.find_session(token, now=now)
    assert person is not None
    later = now + 11 * MINUTE

    fresh = sessions.reauthenticate(person.session_id, PASSWORD, HERE, now=later)

    assert sessions.find_session(token, now=later) is None
    found = sessions.find_session(fresh, now=later)
    assert found is not None
    assert found.authenticated_at == later
    with pytest.raises(SignInRefused):
        sessions.reauthenticate(person.session_id, "wrong", HERE, now=later)
    assert events("session.reauthenticated") == 1
    assert events("session.reauthentication_refused") == 1


@pytest.mark.parametrize("reason", ["sign-out", "revoked", "password reset", "own password", "role", "deactivated"])
def test_a_token_is_dead_afterwards(service: Flask, now: datetime, reason: str) -> None:
    token = sign_in(now)
    person = sessions.find_session(token, now=now)
    assert person is not None

    match reason:
        case "sign-out":
            sessions.sign_out(person.session_id, actor=ALICE, now=now)
        case "revoked":
            sessions.revoke_session(person.session_id, user_id=2, actor=ALICE, now=now)
        case "password reset":
            users.reset_password(2, Secret("another good sentence"), actor=ALICE, now=now)
        case "own password":
            new = Secret("another good sentence")
            users.change_own_password(2, current=Secret(PASSWORD), new=new, visitor=HERE, actor=ALICE, now=now)
        case "role":
            users.change_user(2, role=Role.VIEWER, display_name="Bob", version=None, actor=ALICE, now=now)
        case "deactivated":
            users.deactivate_user(2, actor=ALICE, now=now)

    assert sessions.find_session(token, now=now) is None


def test_nobody_ends_a_session_that_is_not_of_the_named_user(service: Flask, now: datetime) -> None:
    token = sign_in(now)
    person = sessions.find_session(token, now=now)
    assert person is not None

    with pytest.raises(NotFound):
        sessions.revoke_session(person.session_id, user_id=3, actor=ALICE, now=now)

    assert sessions.find_session(token, now=now) is not None


def test_live_sessions_are_listed_without_the_dead_ones(service: Flask, now: datetime) -> None:
    sign_in(now)
    gone = sessions.find_session(sign_in(now), now=now)
    assert gone is not None
    sessions.sign_out(gone.session_id, actor=ALICE, now=now)

    rows = sessions.list_sessions(2, now=now)

    assert [(row.ip, row.user_agent) for row in rows] == [("192.0.2.7", "Firefox")]


def test_a_token_of_another_database_is_nobody(service: Flask, installation: Installation, now: datetime) -> None:
    token = sign_in(now)
    db.session.remove()

    installation.restore(make_wiring(wired().data_directory, wired().queue))  # type: ignore[arg-type]

    assert sessions.find_session(token, now=now) is None


def test_an_unknown_user_takes_as_long_as_a_wrong_password(service: Flask, now: datetime) -> None:
    def seconds(username: str, number: int) -> float:
        start = time.perf_counter()
        with pytest.raises(SignInRefused):
            sign_in(now, username, "wrong", Visitor(f"198.51.100.{number}"))
        return time.perf_counter() - start

    seconds("nobody", 0)  # makes the hash that stands for nobody
    known = statistics.median(seconds("bob", number) for number in range(1, 6))
    unknown = statistics.median(seconds("nobody", number) for number in range(6, 11))

    assert 0.4 < known / unknown < 2.5
