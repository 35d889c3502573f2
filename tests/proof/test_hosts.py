"""A sample of `make proof-hosts` that is small enough for every day."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.proof.host_world import World, built_world
from tests.proof.hosts import catch_the_naive, kill_at_points, kill_at_random

pytestmark = pytest.mark.slow
SEED = 20261122


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with built_world(files=20) as built:
        yield built


@pytest.mark.timeout(300)
def test_kills_at_random_leave_whole_snapshots_and_nothing_else(world: World) -> None:
    tally = kill_at_random(world, kills=3, seed=SEED)

    assert tally.broken == []


@pytest.mark.timeout(300)
def test_a_kill_at_any_call_of_the_promotion_leaves_a_whole_snapshot_or_none(world: World) -> None:
    tally = kill_at_points(world, limit=4, seed=SEED)

    assert tally.broken == []
    assert tally.done["killed at a call, killed"] >= 2


@pytest.mark.timeout(300)
def test_the_checks_see_the_faults_of_a_naive_snapshot() -> None:
    assert catch_the_naive(SEED, kills=3)
