"""A restore that is ended between any two steps, or killed: the target is as before or replaced whole, and settle says so."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.database_restores import (
    Journal,
    Struck,
    databases,
    files_below,
    hashes,
    in_child_until_killed,
    new_plan,
    replace_plan,
    with_journal,
)
from tests.support.odoo_database import OdooDatabase, build_odoo_database
from tests.support.postgres import PostgresServer
from tests.support.restore_pieces import Shelved
from webapp.core.errors import HoldfastError, TaskStopped
from webapp.core.restore_plans import RestorePlan
from webapp.core.status import ErrorCode, RestoreOutcome
from webapp.engine.report import SilentReporter
from webapp.engine.restore.kept import remove_kept
from webapp.engine.restore.run import run
from webapp.engine.restore.settle import settle

NEW_STEPS = ("load", "place")
REPLACE_STEPS = ("create", "load", "files", "bar", "swap", "exchange")


@dataclass(frozen=True)
class Live:
    """A database with its filestore that a restore is to replace."""

    server: PostgresServer
    root: Path
    content: Mapping[str, str]
    files: Mapping[str, bytes]

    def plan(self, prod_archive: Shelved) -> RestorePlan:
        """To replace it."""
        return replace_plan(prod_archive, self.server.plan(self.root), "live")

    def is_as_before(self) -> bool:
        """To the last row and file, with nothing beside it."""
        return (
            databases(self.server) == {"live"}
            and hashes(self.server, "live") == self.content
            and files_below(self.root / "live") == self.files
            and [path.name for path in self.root.iterdir()] == ["live"]
        )

    def is_replaced_by(self, content: Mapping[str, str], files: Mapping[str, bytes]) -> bool:
        """To the last row and file, with the old one kept beside it."""
        return (
            databases(self.server) == {"live", "live__before"}
            and hashes(self.server, "live") == content
            and files_below(self.root / "live") == files
            and files_below(self.root / "live__before") == self.files
            and sorted(path.name for path in self.root.iterdir()) == ["live", "live__before"]
        )


@pytest.fixture
def live(second_server: PostgresServer, tmp_path: Path) -> Iterator[Live]:
    """One that is there, and gone afterwards."""
    root = tmp_path / "filestore"
    built = build_odoo_database(second_server, "live", root, rows=10, files=4, seed=11)
    yield Live(second_server, root, hashes(second_server, "live"), files_below(built.filestore))
    for name in databases(second_server):
        second_server.execute(f'ALTER DATABASE "{name}" IS_TEMPLATE false')
        second_server.drop_database(name)


@pytest.mark.parametrize(
    ("step", "before"), [*((step, False) for step in REPLACE_STEPS), ("create", True), ("swap", True)]
)
def test_a_replacement_struck_at_a_step_is_undone_or_finished(
    live: Live, postgres_server: PostgresServer, prod: OdooDatabase, prod_archive: Shelved, step: str, before: bool
) -> None:
    plan, journal = live.plan(prod_archive), Journal(step, before)
    with pytest.raises(Struck):
        run(plan, journal, SilentReporter())

    settled = settle(with_journal(plan, journal), SilentReporter())
    again = settle(with_journal(plan, journal), SilentReporter())

    assert settled.outcome is again.outcome
    if step == "exchange":
        assert settled.outcome is RestoreOutcome.REPLACED
        assert settled.kept_identity == plan.identity
        assert live.is_replaced_by(hashes(postgres_server, "prod"), files_below(prod.filestore))
    else:
        assert settled.outcome is RestoreOutcome.UNTOUCHED
        assert live.is_as_before()


@pytest.mark.parametrize("step", NEW_STEPS)
def test_a_new_database_struck_at_a_step_is_not_there(
    second_server: PostgresServer, prod_archive: Shelved, step: str, tmp_path: Path
) -> None:
    plan, journal = new_plan(prod_archive, second_server.plan(tmp_path / "files"), "fresh"), Journal(step)
    with pytest.raises(Struck):
        run(plan, journal, SilentReporter())

    settled = settle(with_journal(plan, journal), SilentReporter())

    assert settled.outcome is RestoreOutcome.UNTOUCHED
    assert databases(second_server) == set()
    assert not list((tmp_path / "files").glob("*"))


@pytest.mark.parametrize("step", ["files", "exchange"])
def test_a_worker_killed_at_a_step_leaves_a_target_that_can_be_settled(
    live: Live, postgres_server: PostgresServer, prod: OdooDatabase, prod_archive: Shelved, step: str, tmp_path: Path
) -> None:
    plan = live.plan(prod_archive)
    written = tmp_path / "journal"

    def journal(entry: Mapping[str, Any]) -> None:
        written.write_text(repr(dict(entry)))
        if entry["step"] == step:
            os.kill(os.getpid(), signal.SIGKILL)

    code = in_child_until_killed(lambda: (run(plan, journal, SilentReporter()), None)[1])

    assert code == -signal.SIGKILL
    left = replace(plan, journal=eval(written.read_text()))
    settled = settle(left, SilentReporter())
    if settled.outcome is RestoreOutcome.REPLACED:
        assert step == "exchange"
        assert live.is_replaced_by(hashes(postgres_server, "prod"), files_below(prod.filestore))
    else:
        assert live.is_as_before()


def test_an_error_before_the_swap_is_undone_at_once(live: Live, prod_archive: Shelved) -> None:
    def cancelled(entry: Mapping[str, Any]) -> None:
        if entry["step"] == "bar":
            raise TaskStopped("Cancelled.")

    with pytest.raises(TaskStopped):
        run(live.plan(prod_archive), cancelled, SilentReporter())

    assert live.is_as_before()


def test_an_error_after_the_swap_is_finished_at_once(
    live: Live, postgres_server: PostgresServer, prod: OdooDatabase, prod_archive: Shelved
) -> None:
    def cancelled(entry: Mapping[str, Any]) -> None:
        if entry["step"] == "exchange":
            raise TaskStopped("Cancelled.")

    result = run(live.plan(prod_archive), cancelled, SilentReporter())

    assert result.outcome is RestoreOutcome.REPLACED
    assert live.is_replaced_by(hashes(postgres_server, "prod"), files_below(prod.filestore))


def test_who_has_lost_the_lease_touches_nothing(live: Live, prod_archive: Shelved) -> None:
    plan, journal = live.plan(prod_archive), Journal()

    def lost(entry: Mapping[str, Any]) -> None:
        journal(entry)
        if entry["step"] == "bar":
            raise TaskStopped("Another has it.", code=ErrorCode.LEASE_LOST)

    with pytest.raises(TaskStopped):
        run(plan, lost, SilentReporter())

    assert databases(live.server) == {"live", plan.temporary_name}
    assert settle(with_journal(plan, journal), SilentReporter()).outcome is RestoreOutcome.UNTOUCHED
    assert live.is_as_before()


def test_nothing_written_down_means_nothing_done(live: Live, prod_archive: Shelved) -> None:
    assert settle(live.plan(prod_archive), SilentReporter()).outcome is RestoreOutcome.UNTOUCHED


def test_a_target_that_cannot_be_reached_is_settled_later(live: Live, prod_archive: Shelved) -> None:
    plan, journal = live.plan(prod_archive), Journal("files")
    with pytest.raises(Struck):
        run(plan, journal, SilentReporter())
    assert plan.server is not None
    away = replace(with_journal(plan, journal), server=replace(plan.server, port=1))

    with pytest.raises(HoldfastError):
        settle(away, SilentReporter())

    assert settle(with_journal(plan, journal), SilentReporter()).outcome is RestoreOutcome.UNTOUCHED
    assert live.is_as_before()


def test_a_kept_database_is_removed_once_and_only_if_it_is_the_one(live: Live, prod_archive: Shelved) -> None:
    plan = live.plan(prod_archive)
    result = run(plan, Journal(), SilentReporter())
    assert result.kept_identity is not None
    server, kept = live.server.plan(live.root), result.kept_identity

    with pytest.raises(HoldfastError):
        wrong = replace(kept, database_oid=(kept.database_oid or 0) + 1)
        remove_kept(server, result.kept_name, wrong, result.kept_filestore, SilentReporter())
    with pytest.raises(HoldfastError):
        remove_kept(server, result.kept_name, kept, str(live.root / "live"), SilentReporter())
    assert databases(live.server) == {"live", "live__before"}
    for _ in range(2):
        remove_kept(server, result.kept_name, kept, result.kept_filestore, SilentReporter())

    assert databases(live.server) == {"live"}
    assert [path.name for path in live.root.iterdir()] == ["live"]
