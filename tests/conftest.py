"""Fixtures that every part of the tests may use; tests/support/app.py says how."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from flask import Flask

from tests.support.app import (
    Browser,
    Installation,
    RecordingQueue,
    build_installation,
    make_wiring,
    open_browser,
    service_context,
    signed_in_browser,
)
from webapp.services.wiring import Wiring


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Every test begins with the usual umask: a door that was opened in an earlier one has set its own."""
    os.umask(0o022)


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """One app over a database that the migrations built, with the cast in it."""
    return build_installation(tmp_path_factory.mktemp("installation"))


@pytest.fixture
def now() -> datetime:
    """A moment for services, which take the time as an argument."""
    return datetime(2026, 11, 20, 9, 30, tzinfo=UTC)


@pytest.fixture
def queue() -> RecordingQueue:
    """The queue that the app pushes to."""
    return RecordingQueue()


@pytest.fixture
def wiring(tmp_path: Path, queue: RecordingQueue) -> Wiring:
    """Directories of this test alone, and its queue."""
    return make_wiring(tmp_path / "data", queue)


@pytest.fixture
def app(installation: Installation, wiring: Wiring) -> Flask:
    """The app, its database as new."""
    return installation.restore(wiring)


@pytest.fixture
def service(app: Flask) -> Iterator[Flask]:
    """Services without the web: inside an app context."""
    with service_context(app):
        yield app


@pytest.fixture
def alice(app: Flask) -> Browser:
    """Alice's browser (admin), signed in a moment ago."""
    return signed_in_browser(app, "alice")


@pytest.fixture
def bob(app: Flask) -> Browser:
    """Bob's browser (operator)."""
    return signed_in_browser(app, "bob")


@pytest.fixture
def charlie(app: Flask) -> Browser:
    """Charlie's browser (viewer)."""
    return signed_in_browser(app, "charlie")


@pytest.fixture
def mallory(app: Flask) -> Browser:
    """Mallory's browser: a stranger without an account."""
    return open_browser(app)
