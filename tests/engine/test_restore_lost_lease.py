"""A worker that was believed dead wakes up: whoever has its lease now puts the target in order, and it touches nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.archives import odoo_zip, store_name
from tests.support.odoo_like import OdooLike
from tests.support.odoo_runs import http_plan
from tests.support.odoo_zip import attachments
from tests.support.odoo_zip import odoo_zip as whole_zip
from tests.support.restore_pieces import Shelved, Written, shelve
from webapp.core.errors import TaskStopped
from webapp.core.plans import NO_SECRET, FilestorePlan, PostgresPlan
from webapp.core.restore_plans import RestorePlan
from webapp.core.status import ErrorCode, FilestoreKind, RestoreOutcome, RestoreTarget
from webapp.engine.report import SilentReporter
from webapp.engine.restore.run import run
from webapp.engine.restore.settle import settle

FILES = [b"one", b"two" * 70_000]


@pytest.fixture
def shelved(tmp_path: Path) -> Shelved:
    """An Odoo's archive."""
    return shelve(tmp_path, odoo_zip(FILES))


def lose_at(plan: RestorePlan, entry: int) -> RestorePlan:
    """Run until the journal's ``entry``-th word, at which the lease proves lost; the plan as the next holder has it."""
    written = Written()

    def lost(data: Mapping[str, Any]) -> None:
        written(data)
        if len(written.entries) == entry:
            raise TaskStopped("Another has it.", code=ErrorCode.LEASE_LOST)

    with pytest.raises(TaskStopped):
        run(plan, lost, SilentReporter())
    return replace(plan, journal=written.entries[-1])


@pytest.mark.parametrize("target", [RestoreTarget.DIRECTORY, RestoreTarget.ATTACHMENT])
def test_what_was_unpacked_is_left_to_the_next_holder(target: RestoreTarget, shelved: Shelved, ground: Path) -> None:
    directory = ground if target is RestoreTarget.ATTACHMENT else ground / "acme"
    plan = shelved.plan(target, directory=str(directory), piece=store_name(FILES[1]))

    taken_over = lose_at(plan, 2)

    assert [path.name for path in ground.iterdir()] == [Path(taken_over.journal["temporary"]).name]
    assert settle(taken_over, SilentReporter()).outcome is RestoreOutcome.UNTOUCHED
    assert list(ground.iterdir()) == []


def test_a_filestore_about_to_move_is_moved_by_the_next_holder_alone(shelved: Shelved, ground: Path) -> None:
    server = PostgresPlan(
        "127.0.0.1", 1, "nobody", NO_SECRET, filestore=FilestorePlan(FilestoreKind.LOCAL, str(ground))
    )
    names = {"temporary_name": "prod__restoring_418_1", "kept_name": "prod__before_20261122_023004"}

    taken_over = lose_at(shelved.plan(RestoreTarget.FILESTORE, server=server, database="prod", **names), 2)

    assert taken_over.journal["step"] == "exchange"
    assert [path.name for path in ground.iterdir()] == ["prod__restoring_418_1"]
    assert settle(taken_over, SilentReporter()).outcome is RestoreOutcome.CREATED
    assert (ground / "prod" / store_name(FILES[1])).read_bytes() == FILES[1]


def test_a_database_that_odoo_made_is_not_dropped_by_who_lost_the_lease(tmp_path: Path) -> None:
    """Odoo knows databases by name only: what has that name now may be another's."""
    shelved = shelve(tmp_path, whole_zip("prod", files=attachments(3)))
    with OdooLike() as odoo:
        plan = shelved.plan(RestoreTarget.ODOO, odoo=http_plan(odoo), database="copy")

        taken_over = lose_at(plan, 2)

        assert taken_over.journal["step"] == "made"
        assert "copy" in odoo.databases
        assert settle(taken_over, SilentReporter()).outcome is RestoreOutcome.UNTOUCHED
        assert "copy" not in odoo.databases
