"""A sample of `make proof-crash` that is small enough for every day: it keeps the harness alive, and us honest."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.proof.chaos import run_chaos
from tests.proof.invariants import check_server, execute_run
from tests.proof.naive import execute_run_naively
from tests.proof.points import Manner, Point, list_points, try_point
from tests.proof.stage import Stage, built_stage

pytestmark = pytest.mark.slow
SEED = 20261122


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with built_stage(rows=30, files=10) as built:
        yield built


@pytest.fixture(scope="module")
def points(stage: Stage) -> list[Point]:
    return list_points(stage, execute_run)


def after_the_rename(points: list[Point]) -> list[Point]:
    """The archive has its place, and the database does not know yet."""
    renamed = max(number for number, point in enumerate(points) if point.call.startswith("rename"))
    return points[renamed + 1 : renamed + 3]


def test_a_worker_killed_anywhere_leaves_no_false_success_and_no_rubbish(stage: Stage, points: list[Point]) -> None:
    chosen = [*random.Random(SEED).sample(points, 16), *after_the_rename(points)]

    verdicts = [try_point(stage, point, execute_run, Manner.KILL) for point in chosen]

    assert all(verdict.hit for verdict in verdicts)
    assert [verdict for verdict in verdicts if verdict.broken] == []
    assert check_server(stage) == []


def test_a_worker_that_wakes_up_when_its_run_is_another_s_changes_nothing(stage: Stage, points: list[Point]) -> None:
    chosen = [*random.Random(SEED).sample(points, 4), *after_the_rename(points)]

    verdicts = [try_point(stage, point, execute_run, Manner.STALL) for point in chosen]

    assert any(verdict.hit for verdict in verdicts)
    assert [verdict for verdict in verdicts if verdict.broken] == []


def test_the_harness_sees_the_faults_of_a_naive_backup(stage: Stage) -> None:
    points = list_points(stage, execute_run_naively)
    chosen = random.Random(SEED).sample(points[len(points) // 3 :], 5)

    verdicts = [try_point(stage, point, execute_run_naively, Manner.KILL) for point in chosen]

    assert any("false success" in sentence for verdict in verdicts for sentence in verdict.broken)


@pytest.mark.timeout(300)
def test_kills_pauses_and_an_emptied_redis_lose_and_double_nothing(stage: Stage) -> None:
    assert run_chaos(stage, kills=10, seed=SEED) == []
