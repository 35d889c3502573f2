"""One estate for all rows: what pobsync's own commands do to it, in the order in which a person would type them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.app import Browser, Installation, open_browser, signed_in_browser
from tests.support.estate import Estate, running_estate
from tests.support.redis import RedisServer, redis_server, wait_for
from webapp.app import create_app
from webapp.services.schedule import reconcile
from webapp.settings import read_settings

__all__ = ["redis_server"]

Story = dict[str, Any]


@pytest.fixture(scope="module")
def estate(
    tmp_path_factory: pytest.TempPathFactory, installation: Installation, redis_server: RedisServer
) -> Iterator[Estate]:
    """An empty installation beside a host."""
    with running_estate(tmp_path_factory.mktemp("estate"), installation, redis_server.url) as made:
        yield made


@pytest.fixture(scope="module")
def story(estate: Estate) -> Story:
    """Two snapshots, an old one of another tool on the disk, and what each command answered."""
    told: Story = {"global": estate.json("configure-global", "--backup-root", str(estate.root))}
    told["added"] = estate.add_host()
    told["test"] = estate.json("instance", "test", "1", "--wait")
    told["created"] = estate.json("schedule", "web-01", "--cron", "15 2 * * *", "--prune", "--keep-last", "1")
    told["changed"] = estate.json("schedule", "web-01", "--cron", "30 3 * * *")
    told["first"] = _scheduled_run(estate)
    _plain_snapshot(estate.root / "web-01" / "2026-10-01T02-15-00")
    (estate.source / "etc" / "hosts").write_text("127.0.0.1 localhost web-01\n")
    told["second"] = estate.json("backup", "web-01", "--prune")
    told["found"] = estate.json("discover-snapshots", "--host", "web-01")
    told["again"] = estate.json("snapshot", "discover", "--host", "web-01", "--wait")
    told["snapshots"] = estate.json("snapshot", "list", "web-01", "--all")["snapshots"]
    return told


@dataclass(frozen=True)
class World:
    """Browsers over the estate: an admin, an operator, a viewer and a stranger."""

    alice: Browser
    bob: Browser
    charlie: Browser
    mallory: Browser


@pytest.fixture(scope="module")
def world(story: Story) -> World:
    """The pages over the same database."""
    assert story
    app = create_app(read_settings())
    users = [signed_in_browser(app, name) for name in ("alice", "bob", "charlie")]
    return World(*users, open_browser(app))


def _scheduled_run(estate: Estate) -> Any:
    """What a scheduler does when the job's time has come, and the run that it makes."""
    with estate.inside():
        reconcile(datetime.now(UTC) + timedelta(days=1))

    def ended() -> bool:
        runs = estate.json("run", "list")["runs"]
        return bool(runs) and all(run["completed_at"] for run in runs)

    wait_for(ended, "the scheduled run has ended", seconds=60)
    return estate.json("run", "list")["runs"][0]


def _plain_snapshot(path: Path) -> None:
    (path / "etc").mkdir(parents=True)
    (path / "etc" / "hosts").write_text("an older one\n")
