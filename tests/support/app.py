"""The app as tests use it: a real SQLite file built by the migrations once and copied, a queue that remembers, browsers.

Fixtures in tests/conftest.py::

    def test_x(alice: Browser):          # signed in: alice (admin), bob (operator), charlie (viewer); mallory is not
        page = alice.get("/users")
        answer = alice.submit("/users/new", username="dave", ...)   # POST with the right CSRF token

    def test_y(service: Flask, queue: RecordingQueue, now: datetime):   # inside an app context, no web
        jobs.create_job(..., actor=ALICE, now=now)
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import flask_migrate
from cryptography.fernet import Fernet
from flask import Flask
from flask.testing import FlaskClient
from itsdangerous import URLSafeTimedSerializer
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from tests.support.cast import CAST, PASSWORD
from webapp.app import create_app
from webapp.core.actors import Actor
from webapp.core.errors import QueueDown
from webapp.core.status import Role
from webapp.engine.shelf import open_shelf
from webapp.queue.monitor import QueueReport, QueueSeen, WorkerSeen
from webapp.services import passwords, sessions, users
from webapp.services.sessions import Visitor
from webapp.services.wiring import Wiring, install
from webapp.settings import Settings
from webapp.store.db import db, writing
from webapp.store.models import User
from webapp.vault import Vault
from webapp.web import cookies

ALICE = Actor("alice", Role.ADMIN, "127.0.0.1", 1)
BOB = Actor("bob", Role.OPERATOR, "127.0.0.1", 2)
CHARLIE = Actor("charlie", Role.VIEWER, "127.0.0.1", 3)


@dataclass
class RecordingQueue:
    """A TaskQueue without Redis that keeps the promises of services.wiring.TaskQueue, and remembers.

    ``down`` True: every method raises QueueDown.
    """

    pushed: list[dict[str, Any]] = field(default_factory=list)
    later: list[dict[str, Any]] = field(default_factory=list)
    down: bool = False
    workers: int = 1
    listens_to: tuple[str, ...] = ("default", "backups")

    def push(self, **entry: Any) -> None:
        self._ask()
        if entry["queue_task_id"] not in self.known([entry["queue_task_id"]]):
            self.pushed.append(entry)

    def push_later(self, **entry: Any) -> None:
        self._ask()
        if entry["queue_task_id"] not in self.known([entry["queue_task_id"]]):
            self.later.append(entry)

    def known(self, queue_task_ids: list[str]) -> set[str]:
        self._ask()
        return {entry["queue_task_id"] for entry in (*self.pushed, *self.later)} & set(queue_task_ids)

    def drop(self, queue_task_id: str) -> None:
        self._ask()
        self.pushed = [entry for entry in self.pushed if entry["queue_task_id"] != queue_task_id]
        self.later = [entry for entry in self.later if entry["queue_task_id"] != queue_task_id]

    def look(self, now: datetime) -> QueueReport:
        """What the monitor would see: ``workers`` living ones."""
        if self.down:
            return QueueReport(reachable=False, error="Redis cannot be reached.", hint="Start Redis.")
        names = [f"worker-{number}" for number in range(1, self.workers + 1)]
        workers = tuple(WorkerSeen(name, self.listens_to, "idle", now, alive=True) for name in names)
        return QueueReport(reachable=True, queues=(QueueSeen("default", 0, 0, None),), workers=workers)

    def _ask(self) -> None:
        if self.down:
            raise QueueDown("Redis cannot be reached.", hint="Start Redis.")


@dataclass(frozen=True)
class Installation:
    """One app and its database file, which tests bring back to how it was before."""

    app: Flask
    database: Path
    pristine: Path

    def restore(self, wiring: Wiring) -> Flask:
        """The app over a fresh copy of the database, with this wiring."""
        with self.app.app_context():
            db.engine.dispose()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.database}{suffix}").unlink(missing_ok=True)
        shutil.copyfile(self.pristine, self.database)
        install(wiring)
        return self.app

    def keep(self, pristine: Path) -> Installation:
        """From now on go back to what is in the database now (a copy is kept there)."""
        with self.app.app_context():
            settle()
        shutil.copyfile(self.database, pristine)
        return replace(self, pristine=pristine)


def settle() -> None:
    """Write everything into the database file itself, and let go of it."""
    db.session.remove()
    with db.engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.exec_driver_sql("BEGIN")
    db.engine.dispose()


def make_settings(directory: Path, **changes: Any) -> Settings:
    """Settings for tests: everything below the directory, nobody listens."""
    values: dict[str, Any] = {
        "data_directory": directory,
        "archive_directory": directory / "archives",
        "database_url": f"sqlite:///{directory / 'holdfast.sqlite'}",
        "redis_url": "redis://127.0.0.1:1/0",
        "redis_embedded": False,
        "host": "127.0.0.1",
        "port": 8000,
        "secret_key": "only for tests, which nobody can reach from outside",
        "vault_keys": (Fernet.generate_key().decode(),),
        "poll_scale": 0.1,
    }
    return Settings(**(values | changes))


def make_wiring(directory: Path, queue: RecordingQueue) -> Wiring:
    """Wiring with its own directories and the recording queue."""
    archives = directory / "archives"
    open_shelf(str(archives), create=True)
    return Wiring(
        data_directory=directory,
        archive_directory=archives,
        vault=Vault([Fernet.generate_key().decode()]),
        queue=queue,
        look_at_queue=queue.look,
    )


def build_installation(directory: Path, *, with_cast: bool = True) -> Installation:
    """Migrate a new database (and let the cast in), once."""
    settings = make_settings(directory)
    app = create_app(settings, make_wiring(directory, RecordingQueue()))
    app.testing = True
    with app.app_context():
        flask_migrate.upgrade()
        if with_cast:
            let_in_the_cast()
        settle()
    database = directory / "holdfast.sqlite"
    return Installation(app, database, database).keep(directory / "pristine.sqlite")


def let_in_the_cast() -> None:
    """Users 1, 2 and 3, all with the same password (hashing is slow by design)."""
    stored = passwords.hash_password(PASSWORD)
    with writing() as session:
        for username, (name, role) in CAST.items():
            users.insert_user(
                session, username, stored, role=role, display_name=name, now=datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
            )


class Browser(FlaskClient):
    """A browser: keeps cookies, and sends forms with the CSRF token of its session."""

    def submit(self, path: str, data: dict[str, Any] | None = None, **fields: Any) -> TestResponse:
        """POST a form as a page of ours would."""
        return self.post(path, data={"csrf_token": self.csrf_token(), **(data or {}), **fields})

    def submit_json(self, path: str, body: Any, method: str = "POST") -> TestResponse:
        """Send JSON as a script in our page would."""
        return self.open(path, method=method, json=body, headers={"X-CSRFToken": self.csrf_token()})

    def csrf_token(self) -> str:
        """The token that this session's pages carry."""
        token = self.session_token()
        with self.application.app_context():
            if token and sessions.find_session(token, now=datetime.now(UTC), counts=False):
                raw = cookies.derive("csrf", token)
            else:
                with self.session_transaction() as page_cookie:
                    raw = page_cookie.setdefault("csrf_token", "anonymous-visit")
        return str(URLSafeTimedSerializer(self.application.secret_key, salt="wtf-csrf-token").dumps(raw))

    def session_token(self) -> str | None:
        """The token of the session cookie."""
        cookie = self.get_cookie("holdfast")
        return cookie.value if cookie else None

    def hold(self, token: str) -> Browser:
        """Carry this session token from now on."""
        self.set_cookie("holdfast", token, path="/")
        return self


def open_browser(app: Flask) -> Browser:
    """A browser that has been nowhere yet."""
    return Browser(app, use_cookies=True)


def signed_in_browser(app: Flask, username: str, *, at: datetime | None = None) -> Browser:
    """A browser of this user, without the password being hashed again."""
    with app.app_context(), writing() as session:
        token = sessions.open_session(
            session, find(session, username), Visitor("127.0.0.1", "Tests"), now=at or datetime.now(UTC)
        )
    return open_browser(app).hold(token)


def find(session: Session, username: str) -> User:
    """The row of a member of the cast."""
    return session.query(User).filter_by(username=username).one()


@contextmanager
def service_context(app: Flask) -> Iterator[Flask]:
    """An app context without a request, as workers have it."""
    with app.app_context():
        try:
            yield app
        finally:
            db.session.remove()
