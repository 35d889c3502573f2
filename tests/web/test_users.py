"""The users pages."""

from __future__ import annotations

import pytest
from flask import Flask

from tests.support.app import Browser, signed_in_browser
from webapp.services import users

GOOD = "a sentence nobody knows"
PAYLOADS = (
    "<script>window.__pwned=1</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7777*7 }}",
    "</title><svg/onload=alert(1)>",
    "javascript:alert(1)",
    "<!--",
    "&lt;b&gt;",
)


def test_an_admin_adds_a_user(alice: Browser) -> None:
    answer = alice.submit("/users/new", username="dave", display_name="Dave", role="operator", password=GOOD)

    assert answer.status_code == 303
    page = alice.get(answer.location)
    assert "dave can sign in now." in page.text


def test_a_refusal_stands_at_its_field_with_what_was_typed(alice: Browser) -> None:
    answer = alice.submit("/users/new", username="bob", display_name="Second Bob", role="viewer", password=GOOD)

    assert answer.status_code == 422
    assert "There is already a user bob." in answer.text
    assert "Second Bob" in answer.text
    assert GOOD not in answer.text


def test_a_new_role_counts_at_once_and_ends_the_sessions(alice: Browser, bob: Browser, app: Flask) -> None:
    version = str(_version(app, 2))

    answer = alice.submit("/users/2", display_name="Bob", role="viewer", version=version)

    assert answer.status_code == 303
    assert bob.get("/account").status_code == 303
    assert "viewer" in signed_in_browser(app, "bob").get("/account").text


def test_a_stale_form_is_a_conflict(alice: Browser, app: Flask) -> None:
    version = str(_version(app, 2))
    alice.submit("/users/2", display_name="Robert", role="operator", version=version)

    answer = alice.submit("/users/2", display_name="Rob", role="operator", version=version)

    assert answer.status_code == 409
    assert "meantime" in answer.text


def test_the_last_admin_stays(alice: Browser, app: Flask) -> None:
    assert alice.submit("/users/1/deactivate").status_code == 409
    assert alice.submit("/users/1", display_name="", role="viewer", version=str(_version(app, 1))).status_code == 409


def test_fields_that_the_form_does_not_have_do_nothing(alice: Browser, app: Flask) -> None:
    alice.submit(
        "/users/new",
        {"id": "1", "is_active": "", "password_hash": "x", "created_at": "2020-01-01", "version": "99"},
        username="dave",
        role="viewer",
        password=GOOD,
    )

    with app.app_context():
        dave = users.find_user("dave")
        assert dave is not None
        assert (dave.is_active, dave.version, dave.id) == (True, 1, 4)


@pytest.mark.parametrize("role", ["root", "", "ADMIN", "admin "])
def test_only_known_roles_are_taken(alice: Browser, app: Flask, role: str) -> None:
    assert alice.submit("/users/new", username="dave", role=role, password=GOOD).status_code == 422


@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_names_are_shown_as_text(alice: Browser, app: Flask, payload: str) -> None:
    alice.submit("/users/2", display_name=payload, role="operator", version=str(_version(app, 2)))
    bob = signed_in_browser(app, "bob")

    pages = [alice.get(path).text for path in ("/users", "/users/2", "/audit", "/audit.csv")] + [
        bob.get("/account").text
    ]

    with app.app_context():
        assert users.get_user(2).display_name == payload
    for page in pages[:3] + pages[4:]:
        for raw in ("<script>window", "<img src=x", "' onmouseover='", "54439", "<svg/onload", "<!--"):
            assert raw not in page


def test_sessions_of_others_can_be_ended(alice: Browser, bob: Browser) -> None:
    page = alice.get("/users/2").text
    number = page.split("/users/2/sessions/")[1].split("/")[0]

    assert alice.submit(f"/users/2/sessions/{number}/revoke").status_code == 303
    assert bob.get("/account").status_code == 303
    assert alice.submit(f"/users/1/sessions/{number}/revoke").status_code == 404


def test_a_reset_password_is_told_to_nobody(alice: Browser, bob: Browser) -> None:
    answer = alice.submit("/users/2/password", password=GOOD)

    assert answer.status_code == 303
    assert bob.get("/account").status_code == 303
    assert GOOD not in alice.get("/users/2").text + alice.get("/audit").text


def _version(app: Flask, user_id: int) -> int:
    with app.app_context():
        return users.get_user(user_id).version
