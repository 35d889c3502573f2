"""Headers on everything that is answered: pages, errors, API, files."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask

from tests.support.app import Browser, RecordingQueue, make_settings, make_wiring, open_browser
from webapp.app import create_app

PATHS = (
    "/",
    "/sign-in",
    "/users",
    "/users/999",
    "/no-such-page",
    "/api/v1/nothing",
    "/healthz",
    "/readyz",
    "/audit.csv",
    "/static/css/base.css",
    "/static/vendor/htmx/htmx.min.js",
    "/static/no-such-file.css",
    "/static/../wsgi.py",
    "/.git/config",
)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("who", ["mallory", "alice"])
def test_every_answer_carries_the_security_headers(request: pytest.FixtureRequest, path: str, who: str) -> None:
    browser: Browser = request.getfixturevalue(who)

    headers = browser.get(path).headers

    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "camera=()" in headers["Permissions-Policy"]
    assert "Strict-Transport-Security" not in headers
    assert "Server" not in headers or "Werkzeug" not in headers["Server"]


def test_what_only_signed_in_people_see_is_stored_nowhere(alice: Browser) -> None:
    for path in ("/users", "/account", "/audit", "/audit.csv", "/settings", "/users/999"):
        assert alice.get(path).headers["Cache-Control"] == "no-store"


def test_static_files_are_kept_for_good_and_never_sniffed(mallory: Browser) -> None:
    answer = mallory.get("/static/css/base.css")

    assert answer.status_code == 200
    assert "immutable" in answer.headers["Cache-Control"]
    assert answer.mimetype == "text/css"
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_every_answer_has_an_id_and_keeps_a_sensible_one(mallory: Browser) -> None:
    own = mallory.get("/sign-in").headers["X-Request-ID"]
    kept = mallory.get("/sign-in", headers={"X-Request-ID": "abc-12345678"}).headers["X-Request-ID"]
    refused = mallory.get("/sign-in", headers={"X-Request-ID": "<script>alert(1)</script>"}).headers["X-Request-ID"]

    assert len(own) == 16
    assert kept == "abc-12345678"
    assert "<" not in refused


@pytest.mark.parametrize("method", ["TRACE", "TRACK", "OPTIONS", "PUT", "DELETE", "PATCH", "PROPFIND", "FOO"])
def test_methods_that_no_page_knows_are_refused(mallory: Browser, method: str) -> None:
    for path in ("/sign-in", "/healthz"):
        assert mallory.open(path, method=method).status_code in (403, 405)


def test_a_method_cannot_be_put_into_a_header_or_field(alice: Browser) -> None:
    answer = alice.get("/users/2/deactivate?_method=POST", headers={"X-HTTP-Method-Override": "POST"})

    assert answer.status_code == 405


def test_a_large_body_is_refused(mallory: Browser) -> None:
    answer = mallory.post("/sign-in", data={"username": "x" * 2_000_000, "csrf_token": mallory.csrf_token()})

    assert answer.status_code == 413


def test_an_error_page_has_a_number_and_nothing_else(app: Flask, alice: Browser) -> None:
    view = app.view_functions["users.list"]

    def broken() -> str:
        raise ZeroDivisionError("canary detail")

    broken.__dict__.update(view.__dict__)
    app.view_functions["users.list"] = broken
    try:
        answer = alice.get("/users")
    finally:
        app.view_functions["users.list"] = view

    assert answer.status_code == 500
    assert answer.headers["X-Request-ID"] in answer.text
    assert "canary" not in answer.text
    assert "Traceback" not in answer.text


def test_with_https_cookies_are_bound_to_the_host_and_https_is_kept(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, cookie_secure=True, trusted_proxies=1)
    app = create_app(settings, make_wiring(tmp_path, RecordingQueue()))
    browser = open_browser(app)

    answer = browser.get("/healthz", headers={"X-Forwarded-Proto": "https"})
    plain = browser.get("/healthz")

    assert answer.headers["Strict-Transport-Security"].startswith("max-age=31536000")
    assert "Strict-Transport-Security" not in plain.headers
    assert app.config["SESSION_COOKIE_NAME"] == "__Host-holdfast-page"


def test_a_host_that_is_not_ours_is_refused_when_hosts_are_named(tmp_path: Path) -> None:
    app = create_app(
        make_settings(tmp_path, allowed_hosts=("backups.example",)), make_wiring(tmp_path, RecordingQueue())
    )
    browser = open_browser(app)

    assert browser.get("/healthz", base_url="http://backups.example").status_code == 200
    assert browser.get("/healthz", base_url="http://evil.example").status_code == 400


def test_no_forwarded_host_is_believed(mallory: Browser) -> None:
    answer = mallory.get("/users", headers={"X-Forwarded-Host": "evil.example"})

    assert "evil.example" not in answer.location
