"""``holdfast retention`` and the verbs of ``holdfast archive`` that pin, delete and take back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cli.conftest import Shell
from tests.support.factories import make_archive, make_instance, make_job, make_run
from webapp.assembly import bare_app
from webapp.core.naming import archive_directory_name
from webapp.core.status import RetentionMode
from webapp.engine.shelf import open_shelf
from webapp.services.wiring import wired
from webapp.settings import read_settings
from webapp.store.db import release


@pytest.fixture
def filled(shell: Shell) -> Shell:
    """A job that keeps the last 2 and has made 5 archives, ids 1 (oldest) to 5."""
    now = datetime.now(UTC)
    with bare_app(read_settings()).app_context():
        open_shelf(str(wired().archive_directory), create=True)
        job = make_job(make_instance(now), now, retention_mode=RetentionMode.KEEP_LAST_N, retention_value=2)
        for age in range(5, 0, -1):
            run = make_run(job, now - timedelta(days=age))
            name = f"1-acme-prod/{archive_directory_name(now, 'acme', run.id, 1)}/acme.zip"
            make_archive(run, now - timedelta(days=age), relative_path=name)
            path = Path(wired().archive_directory, name)
            path.parent.mkdir(parents=True)
            path.write_bytes(b"archive")
        release()
    return shell


def test_a_plan_is_shown_and_then_that_plan_is_applied(filled: Shell) -> None:
    plan = filled.json("retention", "plan", "--job", "1")

    assert [one["archive_id"] for one in plan["drop"]] == [3, 2, 1]
    assert plan["policy"] == {"mode": "keep_last_n", "value": 2}
    assert "2 newer verified backups are kept" in filled("retention", "plan", "--job", "1").out
    assert filled("retention", "apply", "--job", "1").code == 2
    assert filled("retention", "apply", "--job", "1", "--yes", "--digest", "0" * 64).code == 4
    assert filled("retention", "apply", "--job", "1", "--yes", "--max-delete", "0").code == 2
    assert filled.json("archive", "list")["archives"][-1]["state"] == "stored"

    done = filled.json("retention", "apply", "--job", "1", "--yes", "--max-delete", "2", "--digest", plan["digest"])

    assert (done["trashed"], done["remaining"]) == ([1, 2], 1)
    assert filled("retention", "apply", "--job", "1", "--yes", "--digest", plan["digest"]).code == 4
    assert filled("retention", "plan", "--job", "9").code == 3


def test_a_frozen_job_is_said_and_let_go_on(filled: Shell) -> None:
    assert filled.json("retention", "freeze", "--job", "1", "--reason", "odd sizes")["reason"] == "odd sizes"

    plan = filled.json("retention", "plan", "--job", "1")
    assert (plan["frozen"], plan["drop"], len(plan["held"])) == ("odd sizes", [], 3)
    assert filled("retention", "apply", "--job", "1", "--yes").code == 4
    assert "Frozen: odd sizes" in filled("retention", "plan", "--job", "1").out
    assert filled.json("retention", "unfreeze", "--job", "1")["frozen_at"] is None


def test_nobody_doubts_a_clock_that_was_never_wrong(filled: Shell) -> None:
    assert filled.json("retention", "confirm-clock")["doubt"] == ""


def test_an_archive_is_pinned_deleted_and_taken_back(filled: Shell) -> None:
    assert filled.json("archive", "pin", "1", "--note", "before 19")["pin_note"] == "before 19"
    assert filled("archive", "delete", "1", "--yes").code == 4
    assert filled.json("archive", "unpin", "1")["pinned_at"] is None
    assert filled("archive", "delete", "1").code == 2
    assert filled.json("archive", "delete", "1", "--yes")["state"] == "trashed"
    assert filled.json("archive", "take-back", "1")["state"] == "stored"
    filled.json("archive", "delete", "1", "--yes")
    assert filled.json("archive", "delete", "1", "--yes", "--for-good")["state"] == "deleted"
    assert filled("archive", "take-back", "1").code == 4


def test_the_last_one_needs_the_databases_name(filled: Shell) -> None:
    for number in ("1", "2", "3", "4"):
        filled.json("archive", "delete", number, "--yes")

    refused = filled("archive", "delete", "5", "--yes")

    assert refused.code == 2
    assert "Type acme to confirm" in refused.err
    assert filled.json("archive", "delete", "5", "--yes", "--typed", "acme")["state"] == "trashed"
