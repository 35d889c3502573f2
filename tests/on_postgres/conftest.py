"""The suites of the services once more, with PostgreSQL as the app's own database: only ``installation`` differs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.app_on_postgres import PostgresInstallation, installed_on_postgres
from tests.support.host_places import host_server, place

__all__ = ["host_server", "place"]


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresInstallation]:
    """One app over a PostgreSQL database that the migrations built, with the cast in it."""
    with installed_on_postgres(tmp_path_factory.mktemp("on_postgres")) as found:
        yield found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of these wait for a server."""
    for item in items:
        if "on_postgres" in item.path.parts:
            item.add_marker(pytest.mark.slow)
