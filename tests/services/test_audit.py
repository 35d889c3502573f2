"""The audit log: append-only, chained, one line, no secrets."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.exc import DatabaseError

from tests.support.app import ALICE, BOB
from webapp.core.plans import Secret
from webapp.services import audit
from webapp.services.audit import AuditFilter
from webapp.store.db import db, writing

PAYLOADS = (
    "name\r\n2026-01-01 alice user.added",
    "\x1b[2J\x1b[31mred",
    "\u202egnp.exe",
    "nul\x00byte",
    "tab\tand\x0bvertical",
    "\x9b31mC1",
    "line\u2028separator",
)


def record(event: str = "job.changed", **rest: object) -> None:
    audit.record_alone(rest.pop("actor", ALICE), event, **rest)  # type: ignore[arg-type]


def _change_that_fails(now: datetime) -> None:
    with writing():
        audit.record(ALICE, "job.changed", now=now)
        raise ZeroDivisionError


def newest() -> audit.AuditRow:
    return audit.list_events(AuditFilter(), limit=1)[0][0]


def test_a_record_belongs_to_the_transaction_of_the_change(service: Flask, now: datetime) -> None:
    with pytest.raises(RuntimeError, match="transaction"):
        audit.record(ALICE, "job.changed", now=now)

    with pytest.raises(ZeroDivisionError):
        _change_that_fails(now)

    assert audit.list_events(AuditFilter())[1] == 0


@pytest.mark.parametrize("statement", ["UPDATE audit_event SET actor = 'bob'", "DELETE FROM audit_event"])
def test_the_database_itself_refuses_to_change_the_log(service: Flask, now: datetime, statement: str) -> None:
    record(now=now)

    with pytest.raises(DatabaseError, match="append-only"), writing() as session:
        session.execute(sa.text(statement))


def test_the_chain_of_an_honest_log_is_intact(service: Flask, now: datetime) -> None:
    for number in range(5):
        record(subject_id=number, details={"n": number, "at": now, "list": ["a", "b"]}, now=now)

    report = audit.verify_chain()

    assert report.intact
    assert report.events == 5


@pytest.mark.parametrize(
    "forgery",
    [
        "UPDATE audit_event SET actor = 'bob' WHERE id = 3",
        "UPDATE audit_event SET details = '{}' WHERE id = 3",
        "UPDATE audit_event SET at = '2020-01-01 00:00:00.000000' WHERE id = 3",
        "DELETE FROM audit_event WHERE id = 2",
    ],
)
def test_who_goes_around_the_triggers_breaks_the_chain(service: Flask, now: datetime, forgery: str) -> None:
    for number in range(5):
        record(details={"n": number}, now=now)
    with writing() as session:
        for verb in ("update", "delete"):
            session.execute(sa.text(f"DROP TRIGGER audit_event_no_{verb}"))
        session.execute(sa.text(forgery))

    assert audit.verify_chain().broken_at == 3


def test_many_at_once_make_one_chain(service: Flask, now: datetime) -> None:
    def write() -> None:
        with service.app_context():
            for _ in range(5):
                record(now=now)
            db.session.remove()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert audit.verify_chain() == audit.ChainReport(20, None)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_names_become_one_harmless_line(service: Flask, now: datetime, payload: str) -> None:
    record(actor=payload, subject_name=payload, details={payload: payload}, now=now)

    row = newest()

    text = "".join((row.actor, row.subject_name, *row.details, *row.details.values()))
    assert not [char for char in text if ord(char) < 32 or 127 <= ord(char) < 160 or char in "\u202e\u2028\u2029"]


def test_secrets_never_get_in(service: Flask, now: datetime) -> None:
    details = {
        "master_password": "canary-1",
        "pg_password": ["canary-2", "canary-3"],
        "api_key": "canary-4",
        "value": Secret("canary-5"),
        "stored": "sealed1:canary-6",
        "nested": {"ssh_private_key": "canary-7", "token": "canary-8"},
        "url": "https://bob:canary-9@example.com/",
        "empty_password": "",
    }

    record(details=details, now=now)

    assert "canary" not in str(newest().details)
    assert newest().details["empty_password"] == ""


def test_long_things_are_cut(service: Flask, now: datetime) -> None:
    record(subject_name="n" * 5000, details={f"k{n}": "v" * 5000 for n in range(500)}, now=now)

    assert len(newest().subject_name) == 160
    assert len(str(newest().details)) < 25_000


def test_filters_combine(service: Flask, now: datetime) -> None:
    record("job.changed", subject_kind="job", subject_name="Nightly", now=now)
    record("job.deleted", subject_kind="job", subject_name="Nightly", actor=BOB, now=now + timedelta(days=1))
    record("user.added", subject_kind="user", subject_name="100%_sure", now=now + timedelta(days=2))

    def found(**wanted: object) -> list[str]:
        return [row.event for row in audit.list_events(AuditFilter(**wanted))[0]]  # type: ignore[arg-type]

    assert found() == ["user.added", "job.deleted", "job.changed"]
    assert found(actor="bob") == ["job.deleted"]
    assert found(event="job.") == ["job.deleted", "job.changed"]
    assert found(subject="night") == ["job.deleted", "job.changed"]
    assert found(subject="%_") == ["user.added"]
    assert found(since=now + timedelta(hours=1), until=now + timedelta(days=2)) == ["job.deleted"]
    assert found(actor="bob", event="user") == []


def test_all_events_can_be_read_in_batches(service: Flask, now: datetime) -> None:
    with writing():
        for number in range(1100):
            audit.record(ALICE, "job.changed", subject_id=number, now=now)

    numbers = [row.subject_id for row in audit.iterate_events(AuditFilter())]

    assert numbers == list(range(1099, -1, -1))
