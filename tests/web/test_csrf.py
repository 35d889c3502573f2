"""Another site cannot make a browser write here."""

from __future__ import annotations

import pytest
from flask import Flask
from itsdangerous import URLSafeTimedSerializer

from tests.support.app import Browser
from webapp.services import users

FIELDS = {"username": "dave", "role": "viewer", "password": "a sentence nobody knows"}


def added(app: Flask) -> bool:
    with app.app_context():
        return users.find_user("dave") is not None


def test_with_the_token_of_the_own_session_it_works(app: Flask, alice: Browser) -> None:
    assert alice.submit("/users/new", FIELDS).status_code == 303
    assert added(app)


def test_the_token_may_be_in_the_header(app: Flask, alice: Browser) -> None:
    answer = alice.post("/users/new", data=FIELDS, headers={"X-CSRFToken": alice.csrf_token()})

    assert answer.status_code == 303


def test_the_token_in_the_page_is_the_one_that_is_taken(app: Flask, alice: Browser) -> None:
    token = alice.get("/users/new").text.split('name="csrf-token" content="')[1].split('"')[0]

    assert alice.post("/users/new", data={**FIELDS, "csrf_token": token}).status_code == 303


def test_without_or_with_a_wrong_token_nothing_happens(app: Flask, alice: Browser, bob: Browser) -> None:
    signed_elsewhere = str(URLSafeTimedSerializer("another key", salt="wtf-csrf-token").dumps("x"))

    for token in ("", "nonsense", bob.csrf_token(), signed_elsewhere):
        answer = alice.post("/users/new", data={**FIELDS, "csrf_token": token})
        assert answer.status_code == 403

    assert not added(app)


def test_a_planted_page_cookie_does_not_make_a_planted_token_good(app: Flask, alice: Browser, mallory: Browser) -> None:
    token = mallory.csrf_token()
    planted = mallory.get_cookie("holdfast-page")
    assert planted is not None
    alice.set_cookie("holdfast-page", planted.value)

    assert alice.post("/users/new", data={**FIELDS, "csrf_token": token}).status_code == 403
    assert not added(app)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "CROSS-SITE"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "http://localhost:9999"},
        {"Origin": "null"},
    ],
)
def test_another_origin_is_refused_even_with_the_right_token(
    app: Flask, alice: Browser, headers: dict[str, str]
) -> None:
    answer = alice.post("/users/new", data={**FIELDS, "csrf_token": alice.csrf_token()}, headers=headers)

    assert answer.status_code == 403
    assert not added(app)


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://localhost"}])
def test_the_own_origin_is_fine(app: Flask, alice: Browser, headers: dict[str, str]) -> None:
    answer = alice.post("/users/new", data={**FIELDS, "csrf_token": alice.csrf_token()}, headers=headers)

    assert answer.status_code == 303


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/json", "multipart/form-data; boundary=x", "application/xml"]
)
def test_no_content_type_gets_around_it(app: Flask, alice: Browser, kind: str) -> None:
    body = '{"username": "dave", "csrf_token": "x"}'

    assert alice.post("/users/new", data=body, content_type=kind).status_code == 403
    assert not added(app)


def test_signing_in_needs_a_token_too(mallory: Browser) -> None:
    assert mallory.post("/sign-in", data={"username": "bob", "password": "x"}).status_code == 403


def test_a_token_from_before_signing_in_is_worth_nothing_afterwards(mallory: Browser) -> None:
    before = mallory.csrf_token()
    mallory.submit("/sign-in", username="bob", password="tulips on the window")

    assert mallory.post("/account/sessions/1/revoke", data={"csrf_token": before}).status_code == 403
