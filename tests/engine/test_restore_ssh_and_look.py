"""A filestore that lands on another host; and the look at a target before anything is done to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.database_restores import (
    Journal,
    Struck,
    databases,
    files_below,
    identity,
    new_plan,
    replace_plan,
    with_journal,
)
from tests.support.odoo_database import OdooDatabase, build_odoo_database
from tests.support.postgres import PostgresServer
from tests.support.restore_pieces import Shelved
from tests.support.sshd import SshServer
from webapp.core.plans import FilestorePlan, PostgresPlan, Secret
from webapp.core.reports import Check, CheckState
from webapp.core.restore_plans import RestorePlan
from webapp.core.status import ErrorCode, FilestoreKind, RestoreOutcome
from webapp.engine.report import SilentReporter
from webapp.engine.restore.checks import look_at_target
from webapp.engine.restore.run import run
from webapp.engine.restore.settle import settle


@pytest.fixture
def clean(second_server: PostgresServer) -> Iterator[PostgresServer]:
    """The target's server, emptied afterwards."""
    yield second_server
    for name in databases(second_server):
        second_server.execute(f'ALTER DATABASE "{name}" IS_TEMPLATE false')
        second_server.drop_database(name)


def over_ssh(server: PostgresServer, host: SshServer, root: Path) -> PostgresPlan:
    return server.plan(FilestorePlan(FilestoreKind.SSH, str(root), host.plan()))


@pytest.mark.parametrize("step", ["", "files", "swap", "exchange"])
def test_a_filestore_behind_ssh_is_replaced_whole_or_not_at_all(
    step: str, clean: PostgresServer, prod: OdooDatabase, ssh_server: SshServer, prod_archive: Shelved, tmp_path: Path
) -> None:
    root = tmp_path / "remote odd' dir"
    old = files_below(build_odoo_database(clean, "far", root, rows=5, files=3, seed=5).filestore)
    plan = replace_plan(prod_archive, over_ssh(clean, ssh_server, root), "far", file_mode="600")
    journal = Journal(step)

    if step:
        with pytest.raises(Struck):
            run(plan, journal, SilentReporter())
        outcome = settle(with_journal(plan, journal), SilentReporter()).outcome
    else:
        outcome = run(plan, journal, SilentReporter()).outcome

    if step in ("", "exchange"):
        assert outcome is RestoreOutcome.REPLACED
        assert files_below(root / "far") == files_below(prod.filestore)
        assert files_below(root / "far__before") == old
        modes = {path.stat().st_mode & 0o777 for path in (root / "far").rglob("*") if path.is_file()}
        assert modes == {0o600}
        assert (root / "far").stat().st_mode & 0o777 == 0o700
    else:
        assert outcome is RestoreOutcome.UNTOUCHED
        assert files_below(root / "far") == old
        assert [path.name for path in root.iterdir()] == ["far"]


def test_an_instance_whose_path_is_one_filestore_itself_gets_the_copy_beside_it(
    clean: PostgresServer, prod: OdooDatabase, prod_archive: Shelved, tmp_path: Path
) -> None:
    (tmp_path / "live" / "ab").mkdir(parents=True)

    run(new_plan(prod_archive, clean.plan(tmp_path / "live"), "copy"), Journal(), SilentReporter())

    assert files_below(tmp_path / "copy") == files_below(prod.filestore)
    assert [path.name for path in (tmp_path / "live").iterdir()] == ["ab"]


def test_owner_and_mode_of_files_are_as_asked(clean: PostgresServer, prod_archive: Shelved, tmp_path: Path) -> None:
    plan = new_plan(prod_archive, clean.plan(tmp_path), "moded", file_mode="660", file_owner="65534:65534")

    run(plan, Journal(), SilentReporter())

    found = {(p.stat().st_uid, p.stat().st_mode & 0o777, p.is_dir()) for p in (tmp_path / "moded").rglob("*")}
    assert found == {(65534, 0o660, False), (65534, 0o770, True)}
    assert (tmp_path / "moded").stat().st_uid == 65534


def failed(plan: RestorePlan) -> dict[str, ErrorCode | None]:
    report = look_at_target(plan, SilentReporter())
    assert report.allowed is not any(check.state is CheckState.FAILED for check in report.checks)
    return {check.key: check.code for check in report.checks if check.state is CheckState.FAILED}


def found(plan: RestorePlan) -> dict[str, Check]:
    return {check.key: check for check in look_at_target(plan, SilentReporter()).checks}


def test_a_target_that_will_do_passes_and_nothing_is_changed(
    clean: PostgresServer, prod_archive: Shelved, tmp_path: Path
) -> None:
    server = clean.plan(tmp_path / "files")
    plan = new_plan(prod_archive, server, "fine", neutralise=True)

    report = look_at_target(plan, SilentReporter())

    assert report.allowed, report.checks
    assert {check.state for check in report.checks} == {CheckState.PASSED}
    assert report.facts.identity == identity(server, "fine")
    assert report.facts.needed_bytes == prod_archive.manifest.filestore_bytes
    assert databases(clean) == set()
    assert not (tmp_path / "files").exists()


def test_a_replacement_shows_what_is_there_and_who_is_in_it(
    clean: PostgresServer, prod_archive: Shelved, tmp_path: Path
) -> None:
    clean.create_database("busy")
    plan = replace_plan(prod_archive, clean.plan(tmp_path), "busy")

    with clean.connect("busy"), clean.connect("busy"):
        report = look_at_target(plan, SilentReporter())

    assert report.allowed
    assert report.facts.connections == ("holdfast_test from 127.0.0.1 (2)",)
    assert (report.facts.database_bytes or 0) > 1_000_000
    assert report.facts.identity == plan.identity


def test_what_forbids_a_restore_is_said_before_it(clean: PostgresServer, prod_archive: Shelved, tmp_path: Path) -> None:
    server = clean.plan(tmp_path)
    clean.create_database("there")
    (tmp_path / "lying" / "ab").mkdir(parents=True)
    newer = replace(prod_archive, manifest=replace(prod_archive.manifest, versions={"postgresql": "99.1"}))
    short = replace(
        prod_archive, manifest=replace(prod_archive.manifest, size_bytes=prod_archive.manifest.size_bytes + 1)
    )
    plain = replace(prod_archive, manifest=replace(prod_archive.manifest, is_odoo=False))
    clean.execute("CREATE ROLE weak LOGIN PASSWORD 'weak'; CREATE ROLE strong")
    weak = clean.plan(tmp_path, user="weak", password=Secret("weak"))

    assert failed(new_plan(prod_archive, server, "there")) == {"name": ErrorCode.TARGET_EXISTS}
    assert failed(replace_plan(prod_archive, server, "not_there")) == {"name": ErrorCode.DATABASE_NOT_FOUND}
    assert failed(new_plan(prod_archive, server, "lying")) == {"filestore": ErrorCode.TARGET_EXISTS}
    assert failed(new_plan(newer, server, "x")) == {"version": ErrorCode.TARGET_TOO_OLD}
    assert failed(new_plan(short, server, "x")) == {"archive": ErrorCode.TRUNCATED}
    assert failed(new_plan(plain, server, "x", neutralise=True)) == {"copy": ErrorCode.INVALID_CONFIGURATION}
    assert failed(new_plan(prod_archive, server, "x", owner="nobody_here")) == {
        "owner": ErrorCode.INVALID_CONFIGURATION
    }
    assert failed(new_plan(prod_archive, weak, "x")) == {"rights": ErrorCode.PERMISSION_DENIED}
    assert failed(new_plan(prod_archive, weak, "x", owner="strong"))["owner"] is ErrorCode.PERMISSION_DENIED
    assert failed(replace_plan(prod_archive, weak, "there"))["name"] is ErrorCode.PERMISSION_DENIED
    assert failed(new_plan(prod_archive, clean.plan(), "x")) == {"filestore": ErrorCode.INVALID_CONFIGURATION}
    assert failed(new_plan(prod_archive, clean.plan(tmp_path, port=1), "x")) == {"login": ErrorCode.CONNECTION_FAILED}


def test_an_uploaded_archive_is_a_warning(clean: PostgresServer, prod_archive: Shelved, tmp_path: Path) -> None:
    labels = {"origin": "upload", "file_name": "from a friend.zip"}
    uploaded = replace(prod_archive, manifest=replace(prod_archive.manifest, labels=labels))

    check = found(new_plan(uploaded, clean.plan(tmp_path), "x"))["provenance"]

    assert check.state is CheckState.WARNING
    assert "from a friend.zip" in check.detail
