"""Fixtures of the pages' tests: a host with snapshots, for those that ask for one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from flask import Flask

from tests.support.app import Installation, RecordingQueue, make_wiring, service_context
from tests.support.host_pages import SeededHost, seed_host
from webapp.services.wiring import Wiring


@pytest.fixture(scope="session")
def seeded(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> tuple[Installation, SeededHost]:
    """A database with a host whose snapshots lie outside any test's own directories."""
    directory = tmp_path_factory.mktemp("hosts")
    app = installation.restore(make_wiring(directory / "data", RecordingQueue()))
    with service_context(app):
        host = seed_host(directory / "source", datetime.now(UTC), backup_root=str(directory / "snapshots"))
    return installation.keep(directory / "seeded.sqlite"), host


@pytest.fixture
def app(request: pytest.FixtureRequest, installation: Installation, wiring: Wiring) -> Flask:
    """The app; with the host in it where the test asks for one."""
    wanted = request.getfixturevalue("seeded")[0] if "host" in request.fixturenames else installation
    found: Flask = wanted.restore(wiring)
    return found


@pytest.fixture
def host(seeded: tuple[Installation, SeededHost]) -> SeededHost:
    """A host with three snapshots that lie on disk."""
    return seeded[1]
