"""Servers that the engine's tests share: started once, when the first test asks, and always stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.database_restores import take_archive
from tests.support.drills import empty_database, scratch_cluster
from tests.support.odoo_database import OdooDatabase, build_odoo_database
from tests.support.postgres import PostgresServer, running_server
from tests.support.restore_pieces import Shelved
from tests.support.sshd import SshServer, running_sshd
from webapp.engine.drill.cluster import Cluster


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of our own."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def second_server() -> Iterator[PostgresServer]:
    """Another one, to load dumps into."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def prod(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> OdooDatabase:
    """An Odoo-shaped database ``prod`` on ``postgres_server``, to be read only."""
    return build_odoo_database(postgres_server, "prod", tmp_path_factory.mktemp("filestores"))


@pytest.fixture(scope="session")
def prod_archive(
    postgres_server: PostgresServer, prod: OdooDatabase, tmp_path_factory: pytest.TempPathFactory
) -> Shelved:
    """A zip of ``prod`` with its filestore, as a backup leaves it in the store."""
    return take_archive(postgres_server.plan(prod.filestore.parent), "prod", tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="session")
def ssh_server() -> Iterator[SshServer]:
    """An sshd of our own."""
    with running_sshd() as server:
        yield server


@pytest.fixture(scope="session")
def drill_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A drill's cluster in its cage."""
    with scratch_cluster(tmp_path_factory.mktemp("drills")) as cluster:
        yield cluster


@pytest.fixture
def drill_database(drill_cluster: Cluster) -> Cluster:
    """The drill's cluster, its database as new."""
    empty_database(drill_cluster)
    return drill_cluster


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A directory that the servers' user can read."""
    for directory in (tmp_path, *list(tmp_path.parents)[:3]):
        if directory != Path("/tmp"):
            directory.chmod(0o755)
    return tmp_path


@pytest.fixture
def ground(tmp_path: Path) -> Path:
    """A directory for restores."""
    (tmp_path / "restored").mkdir()
    return tmp_path / "restored"
