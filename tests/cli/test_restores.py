"""Restoring, uploading and keeping from the shell."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.cli.conftest import Shell
from tests.cli.test_commands import INSTANCE, write
from tests.support.archives import odoo_zip
from webapp.assembly import bare_app
from webapp.core.status import TaskStatus, TaskType
from webapp.settings import read_settings
from webapp.store.db import db, release
from webapp.store.models import Task
from webapp.tasks import restores

DOORS = {TaskType.RESTORE_CHECK: restores.check_restore, TaskType.RESTORE: restores.restore}


@pytest.fixture
def archive(shell: Shell, tmp_path: Path) -> int:
    """An uploaded restore point."""
    path = tmp_path / "acme_2026-11-20_08-00-00.zip"
    path.write_bytes(odoo_zip([b"one", b"two"]))
    return int(shell.json("upload", str(path))["id"])


@pytest.fixture
def worker(shell: Shell) -> Iterator[None]:
    """Does what waits, in a thread of its own."""
    app, over = bare_app(read_settings()), threading.Event()

    def work() -> None:
        with app.app_context():
            while not over.wait(0.05):
                pending = db.session.execute(
                    sa.select(Task.id, Task.type).where(Task.status == TaskStatus.PENDING)
                ).all()
                release()
                for task_id, kind in pending:
                    DOORS[kind](task_id)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    over.set()
    thread.join(timeout=20)


def test_an_upload_is_listed_as_a_restore_point(shell: Shell, archive: int) -> None:
    found = shell.json("archive", "list")["archives"][0]

    assert (found["id"], found["state"], found["verification_status"]) == (archive, "stored", "passed")
    assert (found["instance_name"], found["database"]) == ("Uploads", "prod")


def test_an_upload_that_is_none_says_so(shell: Shell, tmp_path: Path) -> None:
    said = shell("upload", write(tmp_path, "acme.zip", "hello"), "--json")

    assert (said.code, said.error["code"]) == (1, "not_a_backup")
    assert shell("upload", str(tmp_path / "absent.zip")).code == 2


@pytest.mark.usefixtures("worker")
def test_one_command_checks_restores_and_waits(shell: Shell, archive: int) -> None:
    said = shell("restore", "--archive", str(archive), "--target", "directory", "--directory", "out", "--json")

    assert (said.code, said.data["target_is"]) == (0, "created"), said.err
    out = shell.directory / "restored" / "out"
    assert sorted(path.name for path in out.iterdir()) >= ["dump.sql", "filestore"]
    number = str(said.data["id"])
    assert shell.json("restore", "show", number)["archive_id"] == archive
    assert shell.json("restore", "wait", number)["status"] == "completed"
    assert [one["id"] for one in shell.json("restore", "list")["restores"]] == [said.data["id"]]
    assert "created" in shell("restore", "list").out
    again = shell("restore", "--archive", str(archive), "--target", "directory", "--directory", "out")
    assert again.code == 1
    assert "not empty" in again.out


@pytest.mark.usefixtures("worker")
def test_step_by_step_a_check_is_looked_at_before_it_is_started(shell: Shell, archive: int) -> None:
    checked = shell.json(
        "restore", "check", "--archive", str(archive), "--target", "table", "--piece", "public.ir_attachment"
    )

    assert checked["startable"] is True
    started = shell.json("restore", "start", str(checked["id"]), "--wait")
    assert started["status"] == "completed"
    directory = Path(started["options"]["directory"])
    assert directory.parent == shell.directory / "restored"
    assert [path.suffix for path in directory.iterdir()] == [".csv"]


def test_replacing_is_said_twice(shell: Shell, archive: int, tmp_path: Path) -> None:
    shell.json("instance", "create", write(tmp_path, "instance.json", INSTANCE))
    wish = ("restore", "--archive", str(archive), "--to-instance", "acme-prod", "--database", "acme_prod", "--replace")

    for words in ((), ("--yes-replace", "acme")):
        said = shell(*wish, *words)
        assert (said.code, "--yes-replace acme_prod" in said.err) == (2, True)
    assert shell.json("tasks", "list")["total"] == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["restore"], 2),
        (["restore", "--archive", "99", "--target", "directory"], 3),
        (["restore", "check", "--archive", "99", "--target", "directory"], 3),
        (["restore", "start", "99"], 3),
        (["restore", "show", "99"], 3),
        (["restore", "--archive", "1", "--to-instance", "nobody", "--database", "x"], 3),
        (["kept", "remove", "99", "--yes-remove", "x"], 3),
        (["kept", "remove", "99"], 2),
    ],
)
def test_what_is_not_there_is_said_by_the_exit_code(shell: Shell, words: list[str], code: int) -> None:
    assert shell(*words).code == code


def test_no_database_is_kept_at_first(shell: Shell) -> None:
    assert shell.json("kept", "list") == []
    assert "No database is kept" in shell("kept", "list").out


def test_a_refresh_job_is_made_from_json(shell: Shell, tmp_path: Path) -> None:
    for name in ("acme-prod", "acme-staging"):
        instance = {**INSTANCE, "name": name, "pg_host": f"{name}.example"}
        shell.json("instance", "create", write(tmp_path, "instance.json", instance))
    order: dict[str, Any] = {
        "name": "Staging",
        "source_instance_id": 1,
        "database": "acme_prod",
        "target_instance_id": 2,
        "target_database": "acme_staging",
        "neutralise": False,
        "new_identity": False,
        "keep_days": 2,
        "cron": "0 4 * * *",
    }

    job = shell.json("refresh", "create", write(tmp_path, "refresh.json", order))

    assert (job["instance_id"], job["name"], job["enabled"]) == (2, "Staging", True)
    wrong = shell("refresh", "create", write(tmp_path, "wrong.json", json.dumps({**order, "cron": 5, "enabled": "no"})))
    assert wrong.code == 2
    assert shell.json("job", "show", str(job["id"]))["id"] == job["id"]
