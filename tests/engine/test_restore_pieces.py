"""Pieces of an archive as files: a directory, the filestore, one attachment; whole or not at all, wherever it is killed."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.archives import odoo_dump, odoo_zip, sha1, store_name
from tests.support.postgres_backups import StoppingReporter
from tests.support.restore_pieces import (
    FILES,
    Shelved,
    Written,
    check_and_run,
    contents,
    journal_in,
    killed_at,
    shelve,
    tree,
)
from webapp.core.errors import ArchiveError, HoldfastError, StoreError, TaskStopped
from webapp.core.reports import CheckState
from webapp.core.status import ErrorCode, RestoreOutcome, RestoreTarget
from webapp.engine.report import SilentReporter
from webapp.engine.restore import files, table
from webapp.engine.snapshots.places import open_root


@pytest.fixture
def odoo(tmp_path: Path) -> Shelved:
    """An Odoo's archive."""
    return shelve(tmp_path, odoo_zip(FILES))


def test_a_directory_gets_dump_manifest_and_filestore(odoo: Shelved, ground: Path) -> None:
    result = check_and_run(files, odoo.plan(RestoreTarget.DIRECTORY, directory=str(ground / "acme")))

    found = contents(ground / "acme")
    assert {name: found[f"filestore/{name}"] for name in map(store_name, FILES)} == dict(
        zip(map(store_name, FILES), FILES, strict=True)
    )
    assert found["dump.sql"] == odoo_dump(FILES)
    assert json.loads(found["manifest.json"])["db_name"] == "prod"
    assert json.loads(found["holdfast-manifest.json"])["sha256"] == odoo.manifest.sha256
    assert result.outcome is RestoreOutcome.CREATED
    assert result.files == 5
    assert os.listdir(ground) == ["acme"]


def test_a_directory_that_is_there_and_empty_will_do(odoo: Shelved, ground: Path) -> None:
    check_and_run(files, odoo.plan(RestoreTarget.DIRECTORY, directory=str(ground), with_filestore=False))

    assert sorted(contents(ground)) == ["dump.sql", "holdfast-manifest.json", "manifest.json"]


def test_the_filestore_alone_goes_into_a_directory(odoo: Shelved, ground: Path) -> None:
    plan = odoo.plan(RestoreTarget.FILESTORE, directory=str(ground / "files"), file_mode="600")

    result = check_and_run(files, plan)

    assert contents(ground / "files") == dict(zip(map(store_name, FILES), FILES, strict=True))
    assert result.checks[0].state is CheckState.PASSED
    assert {stat.S_IMODE(path.stat().st_mode) for path in [ground / "files", *ground.glob("files/*")]} == {0o700}


def test_an_attachment_is_one_file(odoo: Shelved, ground: Path) -> None:
    name = store_name(FILES[1])

    result = check_and_run(files, odoo.plan(RestoreTarget.ATTACHMENT, directory=str(ground / "new"), piece=name))

    assert contents(ground) == {f"new/{sha1(FILES[1])}": FILES[1]}
    assert result.files == 1


def test_an_attachment_that_is_not_there_is_said_so(odoo: Shelved, ground: Path) -> None:
    for piece in (store_name(b"other"), "../../etc/passwd", ""):
        plan = odoo.plan(RestoreTarget.ATTACHMENT, directory=str(ground), piece=piece)

        assert not files.check(plan, SilentReporter()).allowed
        with pytest.raises(HoldfastError):
            files.run(plan, Written(), SilentReporter())
    assert os.listdir(ground) == []


@pytest.mark.parametrize("target", [RestoreTarget.DIRECTORY, RestoreTarget.FILESTORE])
def test_a_directory_that_is_not_empty_is_left_alone(target: RestoreTarget, odoo: Shelved, ground: Path) -> None:
    (ground / "mine").write_bytes(b"mine")
    plan = odoo.plan(target, directory=str(ground))

    report = files.check(plan, SilentReporter())
    with pytest.raises(StoreError) as caught:
        files.run(plan, Written(), SilentReporter())

    assert not report.allowed
    assert caught.value.code is ErrorCode.TARGET_EXISTS
    assert tree(ground) == {"mine": b"mine"}


def test_files_that_exist_are_never_overwritten(odoo: Shelved, ground: Path) -> None:
    (ground / sha1(b"one")).write_bytes(b"mine")
    (ground / "20261122-023004_prod_public.res_users.csv").write_bytes(b"mine")
    before = tree(ground)

    for module, target, piece in (
        (files, RestoreTarget.ATTACHMENT, store_name(b"one")),
        (table, RestoreTarget.TABLE, "res_users"),
    ):
        with pytest.raises(StoreError) as caught:
            module.run(odoo.plan(target, directory=str(ground), piece=piece), Written(), SilentReporter())
        assert caught.value.code is ErrorCode.TARGET_EXISTS
    assert tree(ground) == before


def _in_a_store(odoo: Shelved, ground: Path) -> str:
    return os.path.dirname(odoo.path) + "/restored"


def _in_a_root_of_snapshots(odoo: Shelved, ground: Path) -> str:
    root = ground.parent / "snapshots"
    open_root(str(root), create=True)
    (root / "web-01").mkdir()
    return str(root / "web-01" / "restored")


def _through_a_link(odoo: Shelved, ground: Path) -> str:
    (ground / "link").symlink_to("/tmp")
    return str(ground / "link" / "holdfast-evil")


PLACES: dict[str, Callable[[Shelved, Path], str]] = {
    "relative": lambda odoo, ground: "restored",
    "nothing": lambda odoo, ground: "",
    "with dots": lambda odoo, ground: f"{ground}/../evil",
    "below nothing": lambda odoo, ground: f"{ground}/a/b",
    "a file": lambda odoo, ground: odoo.path,
    "in a store": _in_a_store,
    "among snapshots": _in_a_root_of_snapshots,
    "through a link": _through_a_link,
    "kernel's": lambda odoo, ground: "/proc/holdfast",
}


@pytest.mark.parametrize("name", PLACES)
def test_places_that_will_not_do_are_refused(name: str, odoo: Shelved, ground: Path) -> None:
    plan = odoo.plan(RestoreTarget.DIRECTORY, directory=PLACES[name](odoo, ground))

    allowed = files.check(plan, SilentReporter()).allowed
    with pytest.raises(StoreError):
        files.run(plan, Written(), SilentReporter())

    assert not allowed or name == "kernel's"
    assert contents(ground) == {}


@pytest.mark.parametrize("module", [files, table], ids=["files", "table"])
def test_a_damaged_archive_is_refused_before_the_target_is_touched(module: Any, odoo: Shelved, ground: Path) -> None:
    data = bytearray(Path(odoo.path).read_bytes())
    data[len(data) // 2] ^= 1
    Path(odoo.path).write_bytes(data)
    journal = Written()

    for target, piece in ((RestoreTarget.DIRECTORY, ""), (RestoreTarget.TABLE, "res_users")):
        with pytest.raises(ArchiveError):
            module.run(odoo.plan(target, directory=str(ground / "x"), piece=piece), journal, SilentReporter())

    assert journal.entries == []
    assert os.listdir(ground) == []


@pytest.mark.parametrize(
    ("module", "target", "piece"),
    [
        (files, RestoreTarget.DIRECTORY, ""),
        (files, RestoreTarget.ATTACHMENT, store_name(b"one")),
        (table, RestoreTarget.TABLE, "res_users"),
    ],
    ids=["directory", "attachment", "table"],
)
def test_a_stop_in_the_middle_leaves_nothing(
    module: Any, target: RestoreTarget, piece: str, odoo: Shelved, ground: Path
) -> None:
    reporter = StoppingReporter()
    plan = odoo.plan(target, directory=str(ground / "x"), piece=piece)

    with pytest.raises(TaskStopped):
        module.run(plan, lambda data: reporter.stop(), reporter)

    assert os.listdir(ground) == []


# Killed anywhere.


@pytest.mark.parametrize(
    ("module", "target", "piece"),
    [
        (files, RestoreTarget.DIRECTORY, ""),
        (files, RestoreTarget.ATTACHMENT, store_name(b"one")),
        (table, RestoreTarget.TABLE, "res_users"),
    ],
    ids=["directory", "attachment", "table"],
)
def test_killed_at_any_step_it_is_there_whole_or_not_at_all(
    module: Any, target: RestoreTarget, piece: str, odoo: Shelved, ground: Path, tmp_path: Path
) -> None:
    plan = odoo.plan(target, directory=str(ground / "x"), piece=piece)
    check_and_run(module, plan)
    whole = tree(ground)
    outcomes = []

    for step in range(1, 200):
        shutil.rmtree(ground / "x", ignore_errors=True)
        (tmp_path / "journal").unlink(missing_ok=True)
        died = killed_at(step, lambda journal: module.run(plan, journal, SilentReporter()), tmp_path / "journal")
        left = replace(plan, journal=journal_in(tmp_path / "journal"))
        first, again = module.settle(left, SilentReporter()), module.settle(left, SilentReporter())
        assert first.outcome is again.outcome
        assert tree(ground) == (whole if first.outcome is RestoreOutcome.CREATED else {}), step
        outcomes.append(first.outcome)
        if not died:
            break

    assert len(outcomes) > 6
    assert outcomes[0] is RestoreOutcome.UNTOUCHED
    assert outcomes[-1] is RestoreOutcome.CREATED
