"""The setup through the browser."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from flask import Flask

from tests.support.app import Browser, Installation, RecordingQueue, build_installation, make_wiring, open_browser
from webapp.services import setup


@pytest.fixture(scope="session")
def empty_installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return build_installation(tmp_path_factory.mktemp("empty-web"), with_cast=False)


@pytest.fixture
def fresh(empty_installation: Installation, tmp_path: Path) -> Flask:
    return empty_installation.restore(make_wiring(tmp_path, RecordingQueue()))


@pytest.fixture
def token(fresh: Flask) -> str:
    with fresh.app_context():
        return str(setup.ensure_setup_token(datetime.now(UTC)))


def fill(browser: Browser, token: str, **changes: str) -> object:
    password = "tulips on the window"
    data = {"token": token, "username": "alice", "display_name": "Alice", "password": password, "repeated": password}
    return browser.submit("/setup", data | changes)


def test_without_the_link_the_page_says_where_it_is(fresh: Flask, token: str) -> None:
    page = open_browser(fresh).get("/setup")

    assert page.status_code == 200
    assert "printed" in page.text
    assert 'name="password"' not in page.text
    assert token not in page.text


def test_the_printed_link_makes_the_first_admin_who_is_signed_in(fresh: Flask, token: str) -> None:
    browser = open_browser(fresh)
    assert 'name="password"' in browser.get(setup.setup_path(token)).text

    answer = fill(browser, token)

    assert (answer.status_code, answer.location) == (303, "/")
    assert "alice" in browser.get("/users").text
    assert browser.get(setup.setup_path(token)).status_code == 303


def test_without_the_right_token_nobody_is_made(fresh: Flask, token: str) -> None:
    mallory = open_browser(fresh)

    assert fill(mallory, "").status_code == 403
    assert fill(mallory, "guess").status_code == 403
    assert mallory.session_token() is None


def test_a_mistake_is_shown_at_its_field_and_the_link_stays_good(fresh: Flask, token: str) -> None:
    browser = open_browser(fresh)

    short = fill(browser, token, password="short", repeated="short")
    different = fill(browser, token, repeated="something else")

    assert (short.status_code, different.status_code) == (422, 422)
    assert "at least 12 characters" in short.text
    assert "not the same" in different.text
    assert fill(browser, token).status_code == 303


def test_the_setup_is_over_once_somebody_exists(mallory: Browser) -> None:
    assert mallory.get("/setup").location == "/sign-in"
    assert fill(mallory, "anything").status_code == 403
