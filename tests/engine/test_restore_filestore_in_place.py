"""The filestore at an instance's own place, here and on another host: the old one or the new one, and the old one is kept."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.archives import odoo_zip, store_name
from tests.support.restore_pieces import FILES, Shelved, Written, check_and_run, contents, journal_in, killed_at, shelve
from tests.support.sshd import SshServer
from webapp.core.plans import NO_SECRET, FilestorePlan, PostgresPlan
from webapp.core.reports import CheckState
from webapp.core.restore_plans import RestorePlan
from webapp.core.status import FilestoreKind, RestoreOutcome, RestoreTarget
from webapp.engine.report import SilentReporter
from webapp.engine.restore import files

NEW = {f"prod/{name}": content for name, content in zip(map(store_name, FILES), FILES, strict=True)}


@pytest.fixture
def odoo(tmp_path: Path) -> Shelved:
    """An Odoo's archive."""
    return shelve(tmp_path, odoo_zip(FILES))


@pytest.fixture
def local(ground: Path) -> FilestorePlan:
    """Where a local instance keeps filestores."""
    return FilestorePlan(FilestoreKind.LOCAL, str(ground))


def _at_instance(odoo: Shelved, filestore: FilestorePlan, **changes: Any) -> RestorePlan:
    server = PostgresPlan("127.0.0.1", 1, "nobody", NO_SECRET, filestore=filestore)
    names = {"temporary_name": "prod__restoring_418_1", "kept_name": "prod__before_20261122_023004"}
    return odoo.plan(RestoreTarget.FILESTORE, server=server, database="prod", **names, **changes)


def test_a_new_filestore_appears_at_its_place(odoo: Shelved, local: FilestorePlan, ground: Path) -> None:
    result = check_and_run(files, _at_instance(odoo, local))

    assert contents(ground) == NEW
    assert (result.outcome, result.kept_filestore, result.files) == (RestoreOutcome.CREATED, "", 3)


def test_a_filestore_that_is_there_is_kept_beside(odoo: Shelved, local: FilestorePlan, ground: Path) -> None:
    (ground / "prod" / "aa").mkdir(parents=True)
    (ground / "prod" / "aa" / "old").write_bytes(b"old")
    plan = _at_instance(odoo, local)

    report = files.check(plan, SilentReporter())
    result = files.run(plan, Written(), SilentReporter())

    assert [check.state for check in report.checks if check.key == "filestore_before"] == [CheckState.WARNING]
    assert contents(ground) == {**NEW, "prod__before_20261122_023004/aa/old": b"old"}
    assert result.outcome is RestoreOutcome.REPLACED
    assert result.kept_filestore == str(ground / "prod__before_20261122_023004")


def test_a_filestore_killed_at_any_step_is_the_old_or_the_new(
    odoo: Shelved, local: FilestorePlan, ground: Path, tmp_path: Path
) -> None:
    plan, journal = _at_instance(odoo, local), tmp_path / "journal"
    outcomes = set()

    for step in range(1, 200):
        shutil.rmtree(ground)
        (ground / "prod" / "aa").mkdir(parents=True)
        (ground / "prod" / "aa" / "old").write_bytes(b"old")
        journal.unlink(missing_ok=True)
        died = killed_at(step, lambda write: files.run(plan, write, SilentReporter()), journal)
        outcome = files.settle(replace(plan, journal=journal_in(journal)), SilentReporter()).outcome
        replaced = {**NEW, "prod__before_20261122_023004/aa/old": b"old"}
        assert contents(ground) == (replaced if outcome is RestoreOutcome.REPLACED else {"prod/aa/old": b"old"}), step
        outcomes.add(outcome)
        if not died:
            break

    assert outcomes == {RestoreOutcome.UNTOUCHED, RestoreOutcome.REPLACED}


def test_a_filestore_on_another_host_is_put_in_place_there(odoo: Shelved, ssh_server: SshServer, scratch: Path) -> None:
    base = scratch / "filestores"
    (base / "prod" / "aa").mkdir(parents=True)
    (base / "prod" / "aa" / "old").write_bytes(b"old")
    plan = _at_instance(odoo, FilestorePlan(FilestoreKind.SSH, str(base), ssh_server.plan()))

    result = check_and_run(files, plan)

    assert contents(base) == {**NEW, "prod__before_20261122_023004/aa/old": b"old"}
    assert result.outcome is RestoreOutcome.REPLACED
    settled = files.settle(replace(plan, journal={}), SilentReporter())
    assert settled.outcome is RestoreOutcome.UNTOUCHED
