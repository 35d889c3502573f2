"""The negative control of `make proof-hosts`: a snapshot as it is often taken. The checks must find it wanting.

1. *Random*: one installation lives through it all. In each round the source changes, a worker snapshots it, prunes, or looks on
   disk, and is killed (SIGKILL) at a random moment; half of the snapshots near their end. The source may change again before
   the attempt is repeated. Then the sweeper comes, what is pending is executed, and everything is compared with the model.
2. *Points*: the same at every system call of the worker's main thread from the first word of the manifest to the end: the
   promotion and the commit.
3. *Stall*: the worker stands still (SIGSTOP) at such a call until others had their turn, and then goes on.
4. *Negative control* (tests/proof/host_naive.py): a worker that records first and writes in place must be caught.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.proof.host_checks import check_trees, check_world
from tests.proof.host_naive import execute_run_naively
from tests.proof.host_world import World, built_world
from tests.proof.points import CALLS, Point, attach, is_writable
from tests.proof.stage import exit_code
from tests.support.redis import wait_for

MOST_SNAPSHOTS = 6
LIST = "files.list"
MANIFEST = "snapshot.json"


@dataclass
class Tally:
    """What was done and seen."""

    done: collections.Counter[str] = field(default_factory=collections.Counter)
    broken: list[str] = field(default_factory=list)

    def note(self, what: str, killed: bool, broken: list[str]) -> None:
        """One round."""
        self.done[f"{what}, {'killed' if killed else 'not hit'}"] += 1
        for line in broken:
            self.broken.append(f"{what}: {line}")
            print(f"  {what}: {line}", flush=True)


def kill_at_random(world: World, *, kills: int, seed: int) -> Tally:
    """So many kills, of all kinds of work."""
    chance, tally, last = random.Random(seed), Tally(), time.monotonic()
    whole = time_one(world)
    while sum(count for name, count in tally.done.items() if name.endswith(", killed")) < kills:
        world.wait(chance.choice((0.0, 0.0, 40_000.0, 130_000.0)))
        act = one_act(world, chance)
        what, killed = act(world, chance, whole)
        world.recover()
        tally.note(what, killed, check_world(world))
        if time.monotonic() - last > 30:
            last = time.monotonic()
            print(f"  {dict(tally.done)}, {len(tally.broken)} broken", flush=True)
    tally.broken += check_world(world, deeply=True)
    print(f"at random: {dict(tally.done)}, {len(tally.broken)} broken", flush=True)
    return tally


def time_one(world: World) -> float:
    """The first snapshot, in peace; how long it took."""
    started = world.start(world.request_snapshot())
    began = time.monotonic()
    started.go()
    assert exit_code(started.child) == 0
    took = time.monotonic() - began
    world.recover()
    assert check_world(world) == []
    return took


Act = Callable[[World, random.Random, float], tuple[str, bool]]


def one_act(world: World, chance: random.Random) -> Act:
    """What is done next; with many snapshots some go."""
    if is_full(world):
        return prune
    return chance.choices((snapshot, discover), weights=(3, 1))[0]


def is_full(world: World) -> bool:
    """Whether some should go; what is in the trash lies on disk too and does not count."""
    return len(world.list_names()) >= MOST_SNAPSHOTS and world.count_stored() >= MOST_SNAPSHOTS


def snapshot(world: World, chance: random.Random, whole: float) -> tuple[str, bool]:
    """A day later; killed at any moment or near the end; the source may change again before the repetition."""
    world.pass_a_day()
    world.forget_the_past()
    started = world.start(world.request_snapshot())
    started.go()
    near_the_end = chance.random() < 0.5
    if near_the_end:
        wait_for(lambda: has_a_list(world) or has_ended(started.child), "the list is written", 60)
        killed = kill_after(started.child, chance.uniform(0, min(0.25, whole * 0.3)))
    else:
        killed = kill_after(started.child, chance.uniform(0, whole))
    if killed and chance.random() < 0.5:
        world.pass_a_day()
    return "promotion" if near_the_end else "snapshot", killed


def prune(world: World, chance: random.Random, whole: float) -> tuple[str, bool]:
    """The oldest ones are deleted; the removal of one is killed."""
    world.forget_the_past()
    removals = world.delete(chance.randint(1, MOST_SNAPSHOTS - 2))
    started = world.start(removals[0])
    started.go()
    return "pruning", kill_after(started.child, chance.uniform(0, 0.25))


def discover(world: World, chance: random.Random, whole: float) -> tuple[str, bool]:
    """Rows are lost; the discovery that brings them back is killed."""
    world.forget_the_past()
    names = world.list_names()
    world.forget(chance.sample(names, chance.randint(1, len(names))))
    started = world.start(world.request_discovery())
    started.go()
    return "discovery", kill_after(started.child, chance.uniform(0, 0.25))


def has_a_list(world: World) -> bool:
    """Whether the run has come as far as its list."""
    return any(world.snapshots.glob(f".partial/*/*{LIST}*"))


def has_ended(child: int) -> bool:
    """Whether the child is over; it stays to be waited for."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def kill_after(child: int, seconds: float) -> bool:
    """SIGKILL; whether it came to that."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not has_ended(child):
        time.sleep(min(0.002, seconds))
    os.kill(child, signal.SIGKILL)
    return exit_code(child) == -signal.SIGKILL


def list_points(world: World) -> list[Point]:
    """Every call from the manifest's first word on, in a run that is only watched."""
    world.pass_a_day()
    world.forget_the_past()
    trace = world.directory / "trace"
    run_id = world.request_snapshot()
    started = world.start(run_id)
    tracer = attach(started.child, CALLS, ["-s", "200", "-o", str(trace)])
    started.go()
    assert exit_code(started.child) == 0
    tracer.communicate(timeout=30)
    world.recover()
    assert check_world(world) == []
    counts: collections.Counter[str] = collections.Counter()
    points: list[Point] = []
    begun = False
    for line in trace.read_text(errors="replace").splitlines():
        found = re.match(r"^(?:\d+ +)?(\w+)\(", line)
        if found:
            counts[found[1]] += 1
            begun = begun or (MANIFEST in line and "O_CREAT" in line)
            points += [Point(found[1], counts[found[1]])] if begun else []
    trace.unlink()
    return points


def strike_at(world: World, point: Point, *, stall: bool = False, change: bool = False) -> tuple[bool, list[str]]:
    """A day's snapshot, struck at this call. Whether it was, and what is broken after the recovery."""
    world.pass_a_day()
    world.forget_the_past()
    started = world.start(world.request_snapshot())
    word = "SIGSTOP" if stall else "SIGKILL"
    trace = world.directory / "trace"
    injection = f"inject={point.call}:signal={word}:when={point.number}"
    tracer = attach(started.child, CALLS, ["-e", injection, "-o", str(trace)])
    started.go()
    hit = _stall(world, started.child, tracer, trace) if stall else exit_code(started.child) == -signal.SIGKILL
    tracer.communicate(timeout=30)
    if hit and change:
        world.pass_a_day()
    world.recover()
    broken = check_world(world)
    if is_full(world):
        world.delete(MOST_SNAPSHOTS - 2)
        world.recover()
    return hit, broken


def _stall(world: World, child: int, tracer: object, trace: Path) -> bool:
    wait_for(lambda: has_ended(child) or b"stopped by SIGSTOP" in trace.read_bytes(), "the worker stops", 60)
    tracer.terminate()  # type: ignore[attr-defined]
    if has_ended(child):
        exit_code(child)
        return False
    if is_writable(
        world.place
    ):  # Stopped inside a write transaction it keeps everybody from writing: then it just goes on.
        world.recover(passes=2)
    os.kill(child, signal.SIGCONT)
    exit_code(child)
    return True


def around_the_rename(points: list[Point]) -> list[Point]:
    """The calls at which a tree becomes a snapshot, and the database does not know yet."""
    renamed = max(number for number, point in enumerate(points) if point.call == "renameat2")
    return [*points[renamed - 1 : renamed + 2], points[-4]]


def kill_at_points(world: World, *, limit: int, seed: int, stall: bool = False) -> Tally:
    """All points of the promotion (limit 0), or so many of them, those around the rename first; -1: none."""
    if limit < 0:
        return Tally()
    points, tally = list_points(world), Tally()
    others = random.Random(seed).sample(points, len(points))
    chosen = [*around_the_rename(points), *others][:limit] if limit else points
    word = "stalled" if stall else "killed"
    print(f"{word} in turn: {len(points)} system calls from the manifest on, {len(chosen)} to try", flush=True)
    for number, point in enumerate(chosen):
        hit, broken = strike_at(world, point, stall=stall, change=number % 3 == 0)
        tally.note(f"{word} at {point}" if broken else f"{word} at a call", hit, broken)
    print(f"{word} in turn: {dict(tally.done)}, {len(tally.broken)} broken", flush=True)
    return tally


def main() -> int:
    """The whole proof; 0 when our code holds and the naive variant does not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="kills at random moments")
    parser.add_argument("--points", type=int, default=0, help="system calls to kill at; 0 for all, -1 for none")
    parser.add_argument("--stalls", type=int, default=10, help="system calls to stall at; 0 for all, -1 for none")
    parser.add_argument("--keep", type=int, default=100, help="what the job's retention keeps; the trash keeps longer")
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    found: list[Tally] = []
    with built_world(keep=wanted.keep) as world:
        found.append(kill_at_random(world, kills=wanted.kills, seed=wanted.seed))
        found.append(kill_at_points(world, limit=wanted.points, seed=wanted.seed))
        found.append(kill_at_points(world, limit=wanted.stalls, seed=wanted.seed, stall=True))
    caught = catch_the_naive(wanted.seed)
    for tally in found:
        print(
            ", ".join(f"{count} × {name}" for name, count in tally.done.most_common()), f"; {len(tally.broken)} broken"
        )
    print(f"naive: {len(caught)} broken")
    good = not any(tally.broken for tally in found) and bool(caught)
    print("proved" if good else "NOT proved")
    return 0 if good else 1


def catch_the_naive(seed: int, kills: int = 6) -> list[str]:
    """Which trees are like nothing the source was when the worker writes in place and records first; in peace none is."""
    chance = random.Random(seed)
    broken: list[str] = []
    with built_world() as world:
        for number in range(kills + 1):
            world.pass_a_day()
            world.forget_the_past()
            there = count_trees(world)
            started = world.start(world.request_snapshot(), execute_run_naively)
            started.go()
            if number == 0:
                assert exit_code(started.child) == 0
                assert check_trees(world) == []
                continue
            wait_for(lambda there=there: count_trees(world) > there, "rsync begins", 60)  # type: ignore[misc]
            kill_after(started.child, chance.uniform(0, 0.03))
            broken += [line for line in check_trees(world) if "like nothing" in line]
    return broken


def count_trees(world: World) -> int:
    """Promoted ones, or what looks like it."""
    return len(world.list_names()) if world.snapshots.is_dir() else 0


if __name__ == "__main__":
    sys.exit(main())
