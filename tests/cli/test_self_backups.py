"""``holdfast self-backup`` and ``holdfast doctor`` about it."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.cli.conftest import Shell
from webapp.assembly import bare_app
from webapp.services import self_backups
from webapp.services.store import set_up_store
from webapp.settings import read_settings


def test_one_is_asked_for_made_and_listed(shell: Shell) -> None:
    task = shell.json("self-backup", "now")
    with bare_app(read_settings()).app_context():
        set_up_store()
        self_backups.execute_self_backup(task["id"], clock=lambda: datetime.now(UTC))
    (copy,) = shell.json("self-backup", "list")["self_backups"]

    assert (task["type"], task["status"]) == ("self_backup", "pending")
    assert copy["holds_keys"] is False
    assert copy["name"] in shell("self-backup", "list").out
    checks = shell("doctor", "--json").data["checks"]
    (check,) = [check for check in checks if check["key"] == "self_backup"]
    assert check["state"] == "ok"
