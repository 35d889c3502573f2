"""Pages of snapshots that are unlike most: of another program, and of a host that was deleted."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from flask import Flask

from tests.support.app import ALICE, Browser, service_context
from tests.support.host_pages import SeededHost
from webapp.services import snapshot_discovery, snapshots
from webapp.services.instances import delete_instance, get_instance
from webapp.services.snapshot_places import place_of
from webapp.services.snapshots import SnapshotFilter
from webapp.store.db import release


@pytest.fixture
def plain(app: Flask, host: SeededHost, tmp_path: Path) -> int:
    """A snapshot that another program made, found on disk below a root of its own."""
    with service_context(app):
        directory = snapshots.get_snapshot(host.snapshot_ids[0]).directory
        tree = tmp_path / "other" / directory / "2026-01-05_02-15-00"
        (tree / "etc").mkdir(parents=True)
        (tree / "etc/hosts").write_text("127.0.0.1 localhost\n")
        task_id = snapshot_discovery.request_discovery(
            host.instance_id, backup_root=str(tmp_path / "other"), actor=ALICE, now=datetime.now(UTC)
        ).id
        snapshot_discovery.execute_discovery(task_id, clock=lambda: datetime.now(UTC))
        found, _ = snapshots.list_snapshots(SnapshotFilter(host.instance_id))
        return next(one.archive_id for one in found if place_of(one).path == str(tree))


def test_nothing_is_claimed_of_a_snapshot_that_another_program_made(bob: Browser, plain: int) -> None:
    page = bob.get(f"/snapshots/{plain}").text

    assert "no list says what it must hold" in page
    assert "nothing to compare it with" in page
    for wrong in ("Read it again", "manifest.json", "only a sample so far", "stands alone", "it is the first"):
        assert wrong not in page
    assert "Compare now" in page
    assert bob.get(f"/snapshots/{plain}/files?path=/etc").status_code == 200


def test_the_snapshots_of_a_deleted_host_can_be_read_and_carried_away(
    app: Flask, bob: Browser, host: SeededHost
) -> None:
    with service_context(app):
        instance = get_instance(host.instance_id)
        delete_instance(host.instance_id, typed_name=instance.name, actor=ALICE, now=datetime.now(UTC))
        release()
    last = f"/snapshots/{host.snapshot_ids[-1]}"

    page, form = bob.get(last).text, bob.get(f"{last}/restore").text

    assert "Compare now" not in page
    assert "Read it again" in page
    assert "The host that it came from." not in form
    assert 'value="directory" checked' in form
    assert bob.get(f"{last}/files").status_code == 200
