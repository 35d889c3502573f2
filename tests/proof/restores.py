"""`make proof-restore`: restores are the source at the snapshot, to the last row and byte; and killed ones leave no ruin.

1. *Equal*: generated databases are backed up while two writers are busy in each, and restored in turn to a new database,
   as a replacement, and from a custom-format dump by parallel jobs. A witness joins the backup's own snapshot and hashes
   every table and sequence; names and SHA-256 of every file are compared too.
2. *Kills*: restores are killed (SIGKILL) after a random time; ``settle`` must say what the target is, and be right.
3. *Calls*: the same at every system call of the swap, from the shutting of the old database to the end; and of the last
   steps of a new database.
4. *Soups*: random mixtures of all that makes SQL lexers stumble, with commands for psql in them. What the filter lets pass
   goes to a real psql, which must run none.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.proof.interrupted import built_scene, kill_at_calls, kill_at_random
from tests.proof.psql_soup import stir
from tests.proof.restored import restore_and_compare
from tests.support.postgres import running_server


def main() -> int:
    """The whole proof; 0 when nothing differs and nothing is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="restores of generated databases; 0 to leave them out")
    parser.add_argument(
        "--kills", type=int, default=200, help="restores killed after a random time; 0 to leave them out"
    )
    parser.add_argument(
        "--calls", type=int, default=0, help="system calls to kill at, drawn at random; 0 for all, -1 none"
    )
    parser.add_argument("--soups", type=int, default=2000, help="hostile dumps that the filter lets pass; 0 for none")
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    wrong: list[str] = []
    # In memory where that is possible: what is proved here is order and content, not the disk.
    place = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="holdfast-restores-", dir=place) as name, running_server() as target:
        directory = Path(name)
        directory.chmod(0o755)
        if wanted.count:
            wrong += _compare(wanted.count, wanted.seed, directory)
        with built_scene(target, directory / "scene") as scene:
            if wanted.kills:
                wrong += kill_at_random(scene, wanted.kills, wanted.seed)
                print(f"kills: {wanted.kills}, {dict(scene.seen)}", flush=True)
                scene.seen.clear()
            if wanted.calls >= 0:
                wrong += kill_at_calls(scene, wanted.calls, replacing=True)
                wrong += kill_at_calls(scene, wanted.calls, replacing=False)
                print(f"calls: {dict(scene.seen)}", flush=True)
    if wanted.soups:
        wrong += stir(wanted.soups, wanted.seed)
    for line in wrong:
        print(f"violation: {line}")
    print("NOT proved" if wrong else "proved")
    return 1 if wrong else 0


def _compare(count: int, seed: int, directory: Path) -> list[str]:
    began = time.monotonic()
    wrong: list[str] = []
    unequal = 0
    with running_server() as source, running_server() as target:
        for number in range(count):
            found = restore_and_compare(source, target, directory, seed * 100_000 + number)
            wrong += found
            unequal += bool(found)
            if (number + 1) % 20 == 0:
                print(f"  {number + 1} of {count}, {time.monotonic() - began:.0f} s, {unequal} unequal", flush=True)
    print(f"equal: {count - unequal} of {count}", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
