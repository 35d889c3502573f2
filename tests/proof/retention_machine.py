"""A state machine that tries to make retention lose something: runs, statuses, clocks, policies, pins, drills, people and kills.

Real services over a real SQLite file and a real store on disk. Before every act of retention the whole shelf is remembered and
read by the slow oracle (tests/core/retention_oracle.py); afterwards every archive must be where it may be. A kill is an exception
that no code of ours catches, raised at the n-th statement, commit, rename or unlink of the act.

The world is in ``retention_world``, the rules in ``retention_happenings``, ``retention_acts`` and ``retention_people``, what
must hold in ``retention_promises``.

    python -m tests.proof.retention_machine --steps 100000
"""

from __future__ import annotations

import argparse
import collections
import json
import logging
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from tests.proof.retention_acts import WhatRetentionDoes
from tests.proof.retention_happenings import WhatHappens
from tests.proof.retention_people import WhatPeopleDo
from tests.proof.retention_world import COUNTED, ON_DISK, clear_away
from webapp.core.status import ArchiveState
from webapp.services.wiring import wired
from webapp.store.db import db, release
from webapp.store.models import Archive


class RetentionMachine(WhatHappens, WhatRetentionDoes, WhatPeopleDo):
    """All rules, and what is true after every one of them."""

    @invariant()
    def every_row_has_its_file_and_every_file_its_row(self) -> None:
        """Nothing is said to be there that is not, and nothing lies there unsaid."""
        COUNTED["steps"] += 1
        release()
        found_rows = db.session.execute(sa.select(Archive.relative_path, Archive.state)).all()
        rows = {row.relative_path: row.state for row in found_rows}
        release()
        store = wired().archive_directory
        found = {str(path.relative_to(store)) for path in store.rglob("*.zip") if ".trash" not in path.parts}
        assert {path for path, state in rows.items() if state in ON_DISK} <= found, "a file is gone"
        allowed = {path for path, state in rows.items() if state in (*ON_DISK, ArchiveState.DELETING)}
        assert found <= allowed, "a file lies there that its row says is deleted"


def prove(steps: int, per_example: int = 100, *, shrink: bool = True) -> dict[str, Any]:
    """Run until so many steps were made. Raises AssertionError (with the shrunk story) when a promise was broken."""
    COUNTED.clear()
    logging.disable(logging.CRITICAL)
    try:
        return _walk(steps, per_example, (Phase.generate, Phase.shrink) if shrink else (Phase.generate,))
    finally:
        logging.disable(logging.NOTSET)
        clear_away()


def _walk(steps: int, per_example: int, phases: tuple[Phase, ...]) -> dict[str, Any]:
    began = time.monotonic()
    while COUNTED["steps"] < steps:
        wanted = settings(
            max_examples=max(1, min(50, (steps - COUNTED["steps"]) // per_example + 1)),
            stateful_step_count=per_example,
            deadline=None,
            database=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        )
        run_state_machine_as_test(RetentionMachine, settings=wanted)
    return {**COUNTED, "seconds": round(time.monotonic() - began, 1)}


def main() -> int:
    """The proof from the shell; its numbers as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    began, total = time.monotonic(), collections.Counter[str]()
    share = -(-given.steps // given.processes)
    with ProcessPoolExecutor(given.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for found in pool.map(prove, [share] * given.processes):
            total.update(found)
    print(json.dumps({**total, "seconds": round(time.monotonic() - began, 1)}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
