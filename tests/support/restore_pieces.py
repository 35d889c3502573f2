"""Archives on a shelf and plans to restore them, and a child process that is killed at every step of its way."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.postgres import PostgresServer
from webapp.core.manifest import Manifest, parse_manifest
from webapp.core.restore_plans import RestoreOptions, RestorePlan, RestoreResult
from webapp.core.status import RestoreTarget
from webapp.engine.intake import IntakePlan, take_in
from webapp.engine.pgtools import find_tools
from webapp.engine.process import clean_environment, run
from webapp.engine.report import SilentReporter
from webapp.engine.shelf import open_shelf

# The attachments of the Odoo that pieces are restored from: small, more than one block, empty.
FILES = [b"one", b"two" * 70_000, b""]
# What an audit hook hears of the calls that change the disk.
CHANGES = ("os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.chmod", "os.chown", "shutil.rmtree")


@dataclass(frozen=True)
class Shelved:
    """An archive that went through the intake."""

    path: str
    manifest: Manifest

    def plan(self, target: RestoreTarget, **changes: Any) -> RestorePlan:
        """A plan to restore it; the options' fields may be given beside the plan's."""
        known = RestoreOptions.__dataclass_fields__
        options = RestoreOptions(**{name: changes.pop(name) for name in list(changes) if name in known})
        values: dict[str, Any] = {"task_id": 418, "fence": 1, "options": options, **changes}
        return RestorePlan(
            archive_path=self.path,
            archive_format=self.manifest.archive_format,
            manifest=self.manifest,
            target=target,
            **values,
        )


def shelve(directory: Path, data: bytes, *, name: str = "prod_2026-11-22_02-30-04.zip") -> Shelved:
    """Put an archive into a store of its own, with the manifest that the intake makes."""
    store = str(directory / "store")
    open_shelf(store, create=True)
    plan = IntakePlan(
        intake_id=1,
        file_name=name,
        instance_id=7,
        instance_name="Acme",
        instance_directory="7-acme",
        store_directory=store,
        received_at=datetime(2026, 11, 22, 9, tzinfo=UTC),
        reserve_bytes=0,
    )
    result = take_in(io.BytesIO(data), plan, SilentReporter())
    assert not result.quarantined, result.report
    return Shelved(f"{store}/{result.relative_path}", parse_manifest(json.loads(json.dumps(result.manifest))))


def dump_of(server: PostgresServer, database: str, *arguments: str) -> bytes:
    """What pg_dump makes of a database."""
    program = max(find_tools(), key=lambda one: one.major).program("pg_dump")
    finished = run(
        [program, *arguments],
        env=clean_environment(server.environment(database)),
        timeout_seconds=60,
        max_output=64 * 1024 * 1024,
    )
    assert finished.returncode == 0, finished.stderr_tail
    return finished.stdout


class Written:
    """A journal that keeps what it is told."""

    def __init__(self) -> None:
        self.entries: list[Mapping[str, Any]] = []

    def __call__(self, data: Mapping[str, Any]) -> None:
        self.entries.append(json.loads(json.dumps(dict(data))))


def check_and_run(module: Any, plan: RestorePlan) -> RestoreResult:
    """Restore a piece with one of the engine's modules, whose check must allow it."""
    report = module.check(plan, SilentReporter())
    assert report.allowed, report
    result = module.run(plan, Written(), SilentReporter())
    assert isinstance(result, RestoreResult)
    return result


def tree(root: Path) -> dict[str, bytes | None]:
    """Everything below a directory; None for what is no file."""
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


def contents(root: Path) -> dict[str, bytes]:
    """The files below a directory."""
    return {name: content for name, content in tree(root).items() if content is not None}


def killed_at(step: int, work: Callable[[Callable[[Mapping[str, Any]], None]], object], journal: Path) -> bool:
    """Do the work in a child that dies, as by SIGKILL, right before its ``step``-th change of the disk or of the journal.

    Returns whether it died; False when it had fewer steps. What it wrote into its journal lies in ``journal``.
    """
    child = os.fork()
    if child == 0:
        _live_until(step, work, journal)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 9), f"the child failed by itself: {code}"
    return code == 9


def _live_until(step: int, work: Callable[[Callable[[Mapping[str, Any]], None]], object], journal: Path) -> None:
    left = step

    def count(event: str, arguments: object) -> None:
        nonlocal left
        if event in CHANGES or event == "holdfast.journal":
            left -= 1
            if left == 0:
                os._exit(9)

    def write(data: Mapping[str, Any]) -> None:
        sys.audit("holdfast.journal")
        journal.write_text(json.dumps(dict(data)))
        sys.audit("holdfast.journal")

    code = 1
    try:
        sys.addaudithook(count)
        work(write)
        code = 0
    finally:
        os._exit(code)


def journal_in(path: Path) -> dict[str, Any]:
    """What the child wrote."""
    return json.loads(path.read_text()) if path.exists() else {}
