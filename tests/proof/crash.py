"""`make proof-crash`: strike the worker at every system call of a run's commit path; then at random, with all else failing too.

1. *Kill*: the worker's main thread is traced, and for every call of every kind in ``points.CALLS`` it is killed (SIGKILL) at
   exactly that call, once per point, on a fresh copy of the stage. Then the sweeper comes, the run is repeated, and we look.
2. *Stall*: the same with SIGSTOP. While it stands still its run is settled and repeated by others; then it goes on, a zombie.
3. *Negative control*: the same kills on a naive variant, which must fail, or the harness is blind.
4. *Calendar* (tests/proof/calendar.py): three schedulers on a fast clock, killed at random over ten thousand slots.
5. *Chaos* (tests/proof/chaos.py): workers, schedulers and Redis are killed at random while slots fall due.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.proof.calendar import run_calendar
from tests.proof.chaos import run_chaos
from tests.proof.invariants import Execute, check_server, execute_run
from tests.proof.naive import execute_run_naively
from tests.proof.points import Manner, Point, Verdict, list_points, seconds_since, try_point
from tests.proof.stage import Stage, built_stage


@dataclass(frozen=True, slots=True)
class Sample:
    """How many of the points to try (0: all; -1: none), drawn at random from this seed, on so many threads."""

    limit: int
    seed: int = 1
    threads: int = 2

    def of(self, points: list[Point]) -> list[Point]:
        """The points to try."""
        if self.limit == 0 or self.limit >= len(points):
            return points
        return random.Random(self.seed).sample(points, max(0, self.limit))


def enumerate_points(stage: Stage, execute: Execute, manner: Manner, sample: Sample) -> list[Verdict]:
    """Try all points, or a sample of them."""
    points = list_points(stage, execute)
    chosen = sample.of(points)
    print(f"{manner.value}: {len(points)} points in one run, {len(chosen)} to try", flush=True)
    began = time.monotonic()
    verdicts: list[Verdict] = []
    with ThreadPoolExecutor(sample.threads) as pool:
        for verdict in pool.map(lambda point: try_point(stage, point, execute, manner), chosen):
            verdicts.append(verdict)
            if verdict.broken:
                print(f"  {verdict.point}: {'; '.join(verdict.broken)}", flush=True)
            if len(verdicts) % 50 == 0:
                print(f"  {len(verdicts)} of {len(chosen)}, {seconds_since(began)}", flush=True)
    return verdicts


def summarise(name: str, verdicts: list[Verdict]) -> int:
    """Print the counts; how many points broke something."""
    hit = sum(verdict.hit for verdict in verdicts)
    broken = sum(bool(verdict.broken) for verdict in verdicts)
    false = sum(any("false success" in word for word in verdict.broken) for verdict in verdicts)
    print(f"{name}: {len(verdicts)} points, {hit} hit, {broken} with violations, {false} false successes", flush=True)
    return broken


def main() -> int:
    """The whole proof; 0 when our code holds and the naive variant does not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--limit", type=int, default=0, help="points to kill at, drawn at random; 0 for all, -1 for none"
    )
    parser.add_argument("--stalls", type=int, default=0, help="points to stall at; 0 for all, -1 for none")
    parser.add_argument("--naive-limit", type=int, default=60)
    parser.add_argument("--minutes", type=int, default=200, help="minutes of the calendar; 0 to leave it out")
    parser.add_argument("--kills", type=int, default=200, help="blows of the chaos; 0 to leave it out")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    wanted = parser.parse_args()

    def sample(limit: int) -> Sample:
        return Sample(limit, wanted.seed, wanted.threads)

    with built_stage() as stage:
        kills = summarise("ours, killed", enumerate_points(stage, execute_run, Manner.KILL, sample(wanted.limit)))
        stalls = summarise("ours, stalled", enumerate_points(stage, execute_run, Manner.STALL, sample(wanted.stalls)))
        left = check_server(stage)
        naive_points = enumerate_points(stage, execute_run_naively, Manner.KILL, sample(wanted.naive_limit))
        naive = summarise("naive, killed", naive_points)
        calendar = run_calendar(stage, jobs=50, minutes=wanted.minutes, seed=wanted.seed) if wanted.minutes else []
        chaos = run_chaos(stage, kills=wanted.kills, seed=wanted.seed) if wanted.kills else []
    for line in [*left, *calendar, *chaos]:
        print(f"violation: {line}")
    good = not (kills or stalls or left or calendar or chaos) and naive > 0
    print("proved" if good else "NOT proved")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
