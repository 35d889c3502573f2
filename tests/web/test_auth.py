"""Signing in and out through the browser: cookies, where it leads, and sessions that end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from flask import Flask

from tests.support.app import Browser, open_browser, signed_in_browser
from tests.support.cast import PASSWORD
from webapp.store.db import db
from webapp.store.models import UserSession
from webapp.web.next_page import safe_next

# Each would leave the site, run a script, split a header or hit something that is no page of ours.
HOSTILE_TARGETS = (
    "//evil.example",
    "///evil.example",
    "////evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "\\/evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "/\r/evil.example",
    "\t//evil.example",
    " //evil.example",
    "/ /evil.example",
    "http://evil.example",
    "https://evil.example",
    "https:evil.example",
    "https:/evil.example",
    "http:\\\\evil.example",
    "HTTPS://EVIL.EXAMPLE",
    "ftp://evil.example",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\nscript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "//evil.example/%2f..",
    "//localhost@evil.example",
    "http://localhost@evil.example",
    "/%0d%0aSet-Cookie:%20a=b",
    "/users\r\nSet-Cookie: a=b",
    "/users%0d%0aLocation:%20//evil.example",
    "/%2f%2fevil.example",
    "/%5cevil.example",
    "/%09/evil.example",
    "/.//evil.example",
    "/..//evil.example",
    "/;@evil.example",
    "@evil.example",
    "evil.example",
    "?next=//evil.example",
    "#//evil.example",
    "./users",
    "../users",
    "\u2028//evil.example",
    "/\u2028/evil.example",
    "/\u3002evil.example",
    "//evil\u3002example",
    "\x00//evil.example",
    "/users\x00",
    "/sign-out",
    "/sign-in",
    "/reauthenticate",
    "/setup",
    "/healthz",
    "/static/css/base.css",
    "/api/v1/admin/background-tasks",
    "/no-such-page",
    "/users/abc",
    "/" + "a" * 3000,
    "",
)


@pytest.mark.parametrize("target", HOSTILE_TARGETS)
def test_a_hostile_next_leads_to_the_overview(app: Flask, target: str) -> None:
    with app.test_request_context():
        assert safe_next(target) == "/"


@pytest.mark.parametrize("target", ["/", "/users", "/users/2", "/audit?actor=alice&event=user.added", "/settings"])
def test_a_page_of_ours_is_led_back_to(app: Flask, target: str) -> None:
    with app.test_request_context():
        assert safe_next(target) == target


def sign_in(browser: Browser, username: str = "bob", password: str = PASSWORD, **more: str) -> object:
    return browser.submit("/sign-in", username=username, password=password, **more)


def test_a_stranger_is_led_to_the_sign_in_page_and_back(mallory: Browser) -> None:
    asked = mallory.get("/audit?actor=alice")
    assert asked.status_code == 303
    assert asked.location == "/sign-in?next=/audit?actor%3Dalice"

    page = mallory.get(asked.location)
    assert 'name="next" value="/audit?actor=alice"' in page.text
    signed = sign_in(mallory, "alice", next="/audit?actor=alice")

    assert (signed.status_code, signed.location) == (303, "/audit?actor=alice")
    assert mallory.get("/audit?actor=alice").status_code == 200


def test_a_hostile_next_does_nothing_after_signing_in(mallory: Browser) -> None:
    assert sign_in(mallory, next="//evil.example").location == "/"


def test_the_session_cookie_is_for_servers_only(mallory: Browser) -> None:
    answer = sign_in(mallory)

    cookie = next(text for text in answer.headers.getlist("Set-Cookie") if text.startswith("holdfast="))
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie


def test_signing_in_never_takes_over_a_token_that_was_there(mallory: Browser, app: Flask) -> None:
    mallory.hold("planted-by-somebody-else")

    sign_in(mallory)

    assert mallory.session_token() != "planted-by-somebody-else"
    assert open_browser(app).hold("planted-by-somebody-else").get("/account").status_code == 303


def test_signing_in_again_ends_the_session_that_was_open(bob: Browser, app: Flask) -> None:
    old = bob.session_token()
    assert old is not None

    sign_in(bob, "charlie")

    assert open_browser(app).hold(old).get("/account").status_code == 303
    assert "charlie" in bob.get("/account").text


def test_signing_out_ends_the_session_and_tells_the_browser_to_forget(bob: Browser, app: Flask) -> None:
    token = bob.session_token()
    assert token is not None

    answer = bob.submit("/sign-out")

    assert (answer.status_code, answer.location) == (303, "/sign-in")
    assert answer.headers["Clear-Site-Data"] == '"cache", "cookies", "storage"'
    assert bob.session_token() is None
    assert open_browser(app).hold(token).get("/account").status_code == 303


def test_a_link_cannot_sign_anybody_out(bob: Browser) -> None:
    assert bob.get("/sign-out").status_code == 405
    assert bob.get("/account").status_code == 200


def test_wrong_password_and_unknown_user_look_the_same(mallory: Browser) -> None:
    def told(username: str) -> str:
        answer = sign_in(mallory, username, "wrong password")
        assert answer.status_code == 401
        return answer.text.replace(username, "").replace(mallory.csrf_token(), "")

    def without_token(text: str) -> list[str]:
        return [line for line in text.splitlines() if "csrf_token" not in line and "csrf-token" not in line]

    assert without_token(told("bob")) == without_token(told("nobody"))


def test_too_many_tries_say_how_long_to_wait(mallory: Browser) -> None:
    for _ in range(5):
        sign_in(mallory, password="wrong password")

    answer = sign_in(mallory)

    assert answer.status_code == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 16
    assert "Too many tries" in answer.text


def test_a_made_up_forwarding_header_does_not_help(mallory: Browser) -> None:
    for number in range(5):
        token = mallory.csrf_token()
        data = {"csrf_token": token, "username": "bob", "password": "wrong password"}
        mallory.post("/sign-in", data=data, headers={"X-Forwarded-For": f"203.0.113.{number}"})

    assert sign_in(mallory).status_code == 429


def test_the_password_is_never_shown_again(mallory: Browser) -> None:
    answer = sign_in(mallory, password="my secret typed wrong")

    assert "my secret typed wrong" not in answer.text


def test_while_nobody_is_set_up_signing_in_leads_to_the_setup(app: Flask, mallory: Browser) -> None:
    with app.app_context(), db.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM user")

    assert mallory.get("/sign-in").location == "/setup"


def test_a_session_ends_by_itself(app: Flask) -> None:
    start = datetime.now(UTC)
    bob = signed_in_browser(app, "bob", at=start)

    with time_machine.travel(start + timedelta(minutes=29), tick=False):
        assert bob.get("/account").status_code == 200
    with time_machine.travel(start + timedelta(minutes=60), tick=False):
        assert bob.get("/account").status_code == 303


def test_something_dangerous_asks_for_the_password_after_ten_minutes(app: Flask) -> None:
    start = datetime.now(UTC)
    alice = signed_in_browser(app, "alice", at=start)
    old = alice.session_token()

    with time_machine.travel(start + timedelta(minutes=11), tick=False):
        refused = alice.get("/users/new")
        assert refused.location == "/reauthenticate?next=/users/new"
        posted = alice.post(
            "/users/2/deactivate",
            data={"csrf_token": alice.csrf_token()},
            headers={"Referer": "http://localhost/users/2"},
        )
        assert posted.location == "/reauthenticate?next=/users/2"
        assert alice.submit("/reauthenticate", password="wrong password").status_code == 401

        answer = alice.submit("/reauthenticate", password=PASSWORD, next="/users/new")

        assert answer.location == "/users/new"
        assert alice.session_token() != old
        assert alice.get("/users/new").status_code == 200
        assert open_browser(app).hold(str(old)).get("/account").status_code == 303


def test_the_api_says_so_instead_of_leading_elsewhere(mallory: Browser) -> None:
    answer = mallory.get("/api/v1/admin/background-tasks")

    assert answer.status_code == 401
    assert answer.json["error"] == "unauthorized"


def test_a_part_of_a_page_moves_the_whole_page_when_the_session_has_ended(mallory: Browser) -> None:
    answer = mallory.get("/users", headers={"HX-Request": "true", "Referer": "http://localhost/audit"})

    assert answer.status_code == 401
    assert answer.headers["HX-Redirect"] == "/sign-in?next=/audit"


def test_own_sessions_are_listed_and_can_be_ended(bob: Browser, app: Flask) -> None:
    other = signed_in_browser(app, "bob")
    assert bob.get("/account").text.count("this browser") == 1
    with app.app_context():
        newest = db.session.query(UserSession).order_by(UserSession.id.desc()).first()
        assert newest is not None
        number = newest.id

    answer = bob.submit(f"/account/sessions/{number}/revoke")

    assert answer.status_code == 303
    assert other.get("/account").status_code == 303
    assert bob.get("/account").status_code == 200


def test_nobody_ends_the_sessions_of_others(bob: Browser, alice: Browser, app: Flask) -> None:
    with app.app_context():
        number = db.session.query(UserSession).filter_by(user_id=1).one().id

    assert bob.submit(f"/account/sessions/{number}/revoke").status_code == 404
    assert alice.get("/account").status_code == 200


def test_a_new_password_leaves_this_browser_signed_in_and_no_other(bob: Browser, app: Flask) -> None:
    other = signed_in_browser(app, "bob")
    old = bob.session_token()
    new = "another good sentence"

    answer = bob.submit("/account/password", current_password=PASSWORD, new_password=new, repeated=new)

    assert answer.status_code == 303
    assert bob.get("/account").status_code == 200
    assert other.get("/account").status_code == 303
    assert open_browser(app).hold(str(old)).get("/account").status_code == 303


def test_theme_and_time_zone_are_kept(bob: Browser) -> None:
    answer = bob.submit("/account/preferences", display_name="Bob", theme="dark", time_zone="Europe/Brussels")

    assert answer.status_code == 303
    page = bob.get("/account").text
    assert 'data-theme="dark"' in page
    assert 'selected value="Europe/Brussels"' in page


def test_strangers_choose_colours_too(mallory: Browser) -> None:
    token = mallory.csrf_token()
    answer = mallory.post(
        "/preferences/theme",
        data={"csrf_token": token, "theme": "dark"},
        headers={"Referer": "http://localhost/sign-in"},
    )

    assert answer.location == "/sign-in"
    assert 'data-theme="dark"' in mallory.get("/sign-in").text
