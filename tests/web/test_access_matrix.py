"""Every route, every role, every kind of CSRF token: generated from the URL map, so a new route is in it at once."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

from tests.support.app import (
    Browser,
    Installation,
    RecordingQueue,
    make_settings,
    make_wiring,
    open_browser,
    signed_in_browser,
)
from tests.support.factories import make_archive, make_instance, make_job, make_run
from webapp.app import create_app
from webapp.core.status import Role
from webapp.services.wiring import Wiring
from webapp.store.db import db
from webapp.web import access
from webapp.web.access import Declared, declared

USERNAMES = {Role.VIEWER: "charlie", Role.OPERATOR: "bob", Role.ADMIN: "alice"}
# Who may do what is decided in the routes; these lists make a careless decision visible.
OPEN_TO_ALL = {
    "static",
    "auth.sign_in",
    "auth.submit_sign_in",
    "setup.show",
    "setup.submit",
    "health.alive",
    "health.ready",
    "preferences.change_theme",
}
VIEWERS_MAY_POST = {
    "auth.sign_out",
    "auth.submit_reauthenticate",
    "account.change_password",
    "account.change_preferences",
    "account.revoke_session",
}
ONLY_ADMINS = ("users.", "audit.", "settings.", "patterns.")
RECORDED_GETS = {
    "archives.download",
    "restores.download",
    "snapshots.download",
}  # a download leaves a line in the audit log


@dataclass(frozen=True)
class Case:
    """One route with one method, and what it declares."""

    endpoint: str
    method: str
    path: str
    access: Declared

    @property
    def is_api(self) -> bool:
        return self.path.startswith("/api/")


def all_cases() -> list[Case]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        app = create_app(make_settings(path), make_wiring(path, RecordingQueue()))
    found = []
    for rule in app.url_map.iter_rules():
        what = declared(app.view_functions[rule.endpoint])
        assert what is not None
        values: dict[str, Any] = {name: "css/base.css" if name == "filename" else 1 for name in rule.arguments}
        _, path_text = rule.build(values)
        found += [
            Case(rule.endpoint, method, path_text, what)
            for method in rule.methods & {"GET", "POST", "PUT", "PATCH", "DELETE"}
        ]
    return sorted(found, key=lambda case: (case.path, case.method))


CASES = all_cases()
CLOSED = [case for case in CASES if case.access.role is not None]
WRITES = [case for case in CASES if case.method != "GET"]


def name_of(case: Case) -> str:
    return f"{case.method} {case.path}"


@pytest.fixture(scope="session")
def furnished_installation(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """One of each thing, all with the id 1."""
    directory = tmp_path_factory.mktemp("furnished")
    app = installation.restore(make_wiring(directory, RecordingQueue()))
    now = datetime.now(UTC)
    with app.app_context():
        make_archive(make_run(make_job(make_instance(now), now), now), now)
    return installation.keep(directory / "furnished.sqlite")


@pytest.fixture
def furnished(furnished_installation: Installation, wiring: Wiring) -> Flask:
    """The app over the furnished database."""
    return furnished_installation.restore(wiring)


def ask(browser: Browser, case: Case, token: str | None) -> TestResponse:
    data = {} if token is None else {"csrf_token": token}
    return browser.open(case.path, method=case.method, data=data if case.method != "GET" else None)


def allowed(app: Flask, case: Case, **when: Any) -> Browser:
    return signed_in_browser(app, USERNAMES[case.access.role or Role.VIEWER], **when)


def everything(app: Flask, *, without: tuple[str, ...] = ()) -> dict[str, list[Any]]:
    """Every row of every table."""
    with app.app_context():
        tables = [table for table in db.metadata.sorted_tables if table.name not in without]
        found = {table.name: sorted(map(repr, db.session.execute(sa.select(table)))) for table in tables}
        db.session.remove()
    return found


def test_what_is_open_to_all_is_on_the_list() -> None:
    assert {case.endpoint for case in CASES if case.access.role is None} == OPEN_TO_ALL


def test_viewers_change_nothing_but_their_own_account() -> None:
    assert {case.endpoint for case in WRITES if case.access.role is Role.VIEWER} == VIEWERS_MAY_POST


def test_users_audit_and_settings_are_for_admins() -> None:
    for case in CASES:
        if case.endpoint.startswith(ONLY_ADMINS):
            assert case.access.role is Role.ADMIN, case.endpoint


@pytest.mark.parametrize("case", CLOSED, ids=name_of)
def test_a_stranger_gets_nothing(furnished: Flask, case: Case) -> None:
    before = everything(furnished)
    mallory = open_browser(furnished)

    answer = ask(mallory, case, mallory.csrf_token())

    if case.is_api:
        assert answer.status_code == 401
        assert answer.is_json
    else:
        assert answer.status_code == 303
        assert answer.location.startswith("/sign-in")
    assert everything(furnished) == before


@pytest.mark.parametrize("case", [case for case in CLOSED if case.access.role is not Role.VIEWER], ids=name_of)
def test_a_role_too_low_is_refused_and_recorded(furnished: Flask, case: Case) -> None:
    assert case.access.role is not None
    for role, username in USERNAMES.items():
        if role.rank >= case.access.role.rank:
            continue
        browser = signed_in_browser(furnished, username)
        before = everything(furnished, without=("audit_event",))

        answer = ask(browser, case, browser.csrf_token())

        assert answer.status_code == 403
        assert everything(furnished, without=("audit_event",)) == before
        assert f"('{username}', 'access.denied')" in str(_denials(furnished))


@pytest.mark.parametrize("case", CLOSED, ids=name_of)
def test_the_declared_role_gets_through(furnished: Flask, case: Case) -> None:
    browser = allowed(furnished, case)

    answer = ask(browser, case, browser.csrf_token())

    assert answer.status_code not in (400, 401, 403, 405, 500), answer.text[:300]
    assert not (answer.location or "").startswith(("/sign-in?", "/reauthenticate"))


@pytest.mark.parametrize("case", WRITES, ids=name_of)
def test_without_the_token_of_the_own_session_nothing_is_written(furnished: Flask, case: Case) -> None:
    browser, other = allowed(furnished, case), signed_in_browser(furnished, "bob")
    before = everything(furnished)

    for token in (None, "nonsense", other.csrf_token(), open_browser(furnished).csrf_token()):
        assert ask(browser, case, token).status_code == 403

    assert everything(furnished) == before


@pytest.mark.parametrize("case", WRITES, ids=name_of)
@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}], ids=str)
def test_another_site_writes_nothing(furnished: Flask, case: Case, headers: dict[str, str]) -> None:
    browser = allowed(furnished, case)
    before = everything(furnished)

    answer = browser.open(case.path, method=case.method, data={"csrf_token": browser.csrf_token()}, headers=headers)

    assert answer.status_code == 403
    assert everything(furnished) == before


@pytest.mark.parametrize("case", [case for case in CASES if case.access.recent], ids=name_of)
def test_what_is_dangerous_needs_a_recent_password(furnished: Flask, case: Case) -> None:
    browser = allowed(furnished, case, at=datetime.now(UTC) - timedelta(minutes=11))
    before = everything(furnished, without=("user_session",))

    answer = ask(browser, case, browser.csrf_token())

    if case.is_api:
        assert answer.json["error"] == "reauthentication_required"
    else:
        assert answer.location.startswith("/reauthenticate")
    assert everything(furnished, without=("user_session",)) == before


@pytest.mark.parametrize("case", [case for case in CASES if case.method == "GET"], ids=name_of)
def test_looking_changes_nothing(furnished: Flask, case: Case) -> None:
    browser = allowed(furnished, case)
    without = ("audit_event",) if case.endpoint in RECORDED_GETS else ()
    before = everything(furnished, without=without)

    ask(browser, case, None)

    assert everything(furnished, without=without) == before


def test_a_route_that_declares_nothing_stops_the_start() -> None:
    app = Flask("bare", static_folder=None)
    app.add_url_rule("/secret", "secret", lambda: "secret")

    with pytest.raises(RuntimeError, match="secret"):
        access.refuse_undeclared(app)


def test_a_view_that_lost_its_declaration_is_denied(furnished: Flask) -> None:
    view = furnished.view_functions["settings.show"]
    furnished.view_functions["settings.show"] = partial(view)
    try:
        assert signed_in_browser(furnished, "alice").get("/settings").status_code == 404
    finally:
        furnished.view_functions["settings.show"] = view


def _denials(app: Flask) -> list[tuple[str, str]]:
    with app.app_context():
        rows = db.session.execute(sa.text("SELECT actor, event FROM audit_event")).all()
        db.session.remove()
    return [(row[0], row[1]) for row in rows]
