"""A sample of `make proof-restore` that is small enough for every day."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.proof.interrupted import Scene, built_scene, kill_at_calls, kill_at_random
from tests.proof.restored import restore_and_compare
from tests.support.postgres import PostgresServer, running_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def target() -> Iterator[PostgresServer]:
    with running_server() as server:
        yield server


@pytest.fixture(scope="module")
def scene(target: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with built_scene(target, tmp_path_factory.mktemp("scene")) as built:
        yield built


def test_restores_are_the_source_at_the_snapshot(target: PostgresServer, tmp_path: Path) -> None:
    with running_server() as source:
        wrong = [line for number in range(3) for line in restore_and_compare(source, target, tmp_path, number)]

    assert wrong == []


@pytest.mark.timeout(300)
def test_killed_restores_leave_the_target_as_before_or_replaced_whole(scene: Scene) -> None:
    assert kill_at_random(scene, 4, seed=20261122) == []
    assert kill_at_calls(scene, 4, replacing=True) == []
