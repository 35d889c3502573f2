"""Self-backups as tasks: once per slot, with sealed keys, the newest ones kept."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from flask import Flask

from tests.support.app import ALICE, RecordingQueue
from webapp.core.errors import InvalidInput
from webapp.core.plans import Secret
from webapp.core.reports import CheckState
from webapp.core.status import TaskStatus
from webapp.services import self_backups, settings
from webapp.services.settings import AppSettings, change_settings
from webapp.services.sweeper import sweep
from webapp.services.wiring import Wiring, install
from webapp.store.db import db
from webapp.store.models import SelfBackup, User
from webapp.vault import Vault, VaultError, open_keys

PASSPHRASE = Secret("a passphrase of some length")
pytestmark = pytest.mark.usefixtures("service")


def clock() -> datetime:
    return datetime.now(UTC)


def backed_up() -> SelfBackup:
    task = self_backups.request_self_backup(actor=ALICE, now=clock())
    self_backups.execute_self_backup(task.id, clock=clock)
    db.session.commit()
    return db.session.get_one(SelfBackup, task.id, populate_existing=True)


def test_a_copy_holds_every_row_and_opens(wiring: Wiring) -> None:
    task = backed_up()

    (copy,) = self_backups.list_copies()
    assert (task.status, task.error_message) == (TaskStatus.COMPLETED, "")
    assert task.relative_path == f"self/{copy.name}/holdfast.sqlite"
    assert task.sha256 == copy.manifest.sha256
    assert copy.manifest.rows["user"] == db.session.scalar(sa.select(sa.func.count()).select_from(User))
    assert copy.manifest.key_id == wiring.vault.key_ids[0]
    with closing(sqlite3.connect(copy.database_path)) as connection:
        assert connection.execute("SELECT username FROM user ORDER BY id").fetchall() == [
            ("alice",),
            ("bob",),
            ("charlie",),
        ]


def test_without_a_passphrase_no_key_is_stored_and_the_log_says_what_to_do(wiring: Wiring) -> None:
    keys = [Fernet.generate_key().decode()]
    install(replace(wiring, vault=Vault(keys)))

    backed_up()

    (copy,) = self_backups.list_copies()
    assert copy.sealed_keys() == ""
    assert not any(keys[0].encode() in path.read_bytes() for path in Path(copy.directory).iterdir())
    assert "vault.key" in self_backups.check_newest(clock()).detail


def test_keys_are_sealed_with_the_passphrase_and_open_with_no_other(wiring: Wiring) -> None:
    keys = tuple(Fernet.generate_key().decode() for _ in range(2))
    install(replace(wiring, vault=Vault(keys), self_backup_passphrase=PASSPHRASE))

    backed_up()

    sealed = self_backups.list_copies()[0].sealed_keys()
    assert open_keys(sealed, PASSPHRASE) == keys
    assert not any(key in sealed for key in keys)
    with pytest.raises(VaultError, match="passphrase"):
        open_keys(sealed, Secret("another passphrase"))
    for damaged in ("", "{}", sealed[:-20], sealed.replace('"n": 65536', '"n": 1073741824')):
        with pytest.raises(VaultError, match="damaged"):
            open_keys(damaged, PASSPHRASE)


def test_each_slot_asks_once_whoever_asks_and_missed_ones_are_one(queue: RecordingQueue, now: datetime) -> None:
    assert self_backups.request_due(now) is None
    assert self_backups.request_due(now + timedelta(hours=1)) is None

    late = now + timedelta(days=3)
    asked = [self_backups.request_due(late + timedelta(seconds=second)) for second in range(5)]

    assert [task is not None for task in asked] == [True, False, False, False, False]
    assert [entry["task_type"] for entry in queue.pushed] == ["self_backup"]
    assert self_backups.request_due(late + timedelta(days=1)) == asked[0]  # it still waits for a worker


def test_a_clock_that_was_far_ahead_does_not_stop_them(now: datetime) -> None:
    self_backups.request_due(now + timedelta(days=3000))

    assert self_backups.request_due(now) is not None
    assert self_backups.request_due(now) is None


def test_they_can_be_switched_off(now: datetime) -> None:
    self_backups.request_due(now)
    change_settings(replace(AppSettings(), self_backup_cron=" "), actor=ALICE, now=now)

    assert self_backups.request_due(now + timedelta(days=3)) is None
    assert self_backups.check_newest(now).state is CheckState.WARNING


@pytest.mark.parametrize(("field", "value"), [("self_backup_cron", "every day"), ("self_backup_keep", 0)])
def test_settings_that_cannot_be_meant_are_refused(now: datetime, field: str, value: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        change_settings(replace(AppSettings(), **{field: value}), actor=ALICE, now=now)  # type: ignore[arg-type]

    assert caught.value.field == field
    assert settings.get_settings() == AppSettings()


def test_the_newest_are_kept(now: datetime) -> None:
    change_settings(replace(AppSettings(), self_backup_keep=2), actor=ALICE, now=now)

    names = [backed_up().relative_path.split("/")[1] for _ in range(3)]

    assert [copy.name for copy in self_backups.list_copies()] == names[:0:-1]


def test_the_sweeper_leaves_them_alone(service: Flask, caplog: pytest.LogCaptureFixture) -> None:
    backed_up()
    with caplog.at_level(logging.WARNING):
        sweep(clock())

    assert len(self_backups.list_copies()) == 1
    assert caplog.messages == []


def test_the_doctor_is_told_how_old_the_newest_is(wiring: Wiring) -> None:
    assert self_backups.check_newest(clock()).state is CheckState.WARNING
    install(replace(wiring, self_backup_passphrase=PASSPHRASE))
    backed_up()

    assert self_backups.check_newest(clock()).state is CheckState.PASSED
    old = self_backups.check_newest(clock() + timedelta(days=4))
    assert (old.state, old.detail) == (CheckState.WARNING, "The newest was taken 4 d ago.")
