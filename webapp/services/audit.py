"""The audit log: who did what to which thing, when and from where. Append-only, chained by hashes, never a secret.

Every service that changes something records it in its own transaction::

    with writing():
        ...
        audit.record(actor, "job.changed", subject_kind="job", subject_id=job.id, subject_name=job.name,
                     details=audit.changes(before, after), now=now)

Event words are "noun.verb" in the past tense: "user.added", "session.opened", "job.changed", "access.denied".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from webapp.core.actors import Actor
from webapp.core.plans import SEALED_PREFIX, Secret
from webapp.core.redact import redact
from webapp.core.text import strip_controls
from webapp.store.db import db, writing
from webapp.store.models import AuditEvent

LONGEST_DETAIL = 500
MOST_DETAILS = 40
_SECRET_WORDS = ("password", "secret", "token", "private_key", "passphrase", "credential", "api_key", "cookie")
# Any number will do; it must only be the same in every process. PostgreSQL's lock makes appending to the chain one at a time.
_CHAIN_LOCK = 0x0A0D17


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One event as pages show it."""

    id: int
    at: datetime
    actor: str
    event: str
    subject_kind: str
    subject_id: int | None
    subject_name: str
    ip: str
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which events to list; "" and None mean any. ``since`` is included, ``until`` is not."""

    actor: str = ""
    event: str = ""
    subject: str = ""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What reading the whole chain found. ``broken_at``: id of the first event that does not fit, or None."""

    events: int
    broken_at: int | None

    @property
    def intact(self) -> bool:
        """Whether nothing was changed, removed or inserted."""
        return self.broken_at is None


def record(
    actor: Actor | str,
    event: str,
    *,
    subject_kind: str = "",
    subject_id: int | None = None,
    subject_name: str = "",
    details: Mapping[str, Any] | None = None,
    ip: str = "",
    now: datetime,
) -> None:
    """Append one event, inside the caller's ``writing()``: the change and its record stand or fall together.

    Names are cut and stripped of control characters; values of secret-looking keys, ``Secret`` and sealed text become "***".
    """
    session = db.session()
    if not session.info.get("writing"):
        raise RuntimeError("audit.record belongs inside the transaction of the change")
    row = AuditEvent(
        at=now.astimezone(UTC),
        actor=_clean(actor.username if isinstance(actor, Actor) else actor, 80),
        event=_clean(event, 64),
        subject_kind=_clean(subject_kind, 32),
        subject_id=subject_id,
        subject_name=_clean(subject_name, 160),
        ip=_clean(ip or (actor.ip if isinstance(actor, Actor) else ""), 64),
        details=clean_details(details or {}),
    )
    row.previous_hash = _last_hash()
    row.hash = _digest(row)
    session.add(row)
    session.flush()


def record_alone(actor: Actor | str, event: str, **rest: Any) -> None:
    """As ``record``, in a transaction of its own: for what changed nothing, such as a denied access."""
    with writing():
        record(actor, event, **rest)


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """``{field: [old, new]}`` for every field that differs: the usual details of a "changed" event."""
    return {key: [before.get(key), value] for key, value in after.items() if before.get(key) != value}


def list_events(wanted: AuditFilter, *, offset: int = 0, limit: int = 50) -> tuple[list[AuditRow], int]:
    """A page of events, newest first, and how many match in all."""
    query = _matching(wanted)
    total = db.session.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0
    rows = db.session.scalars(query.order_by(AuditEvent.id.desc()).offset(offset).limit(limit))
    return [_as_row(row) for row in rows], total


def iterate_events(wanted: AuditFilter, *, most: int = 100_000) -> Iterator[AuditRow]:
    """All matching events, newest first, read in batches: for CSV."""
    last: int | None = None
    for _ in range(0, most, 500):
        query = _matching(wanted)
        if last is not None:
            query = query.where(AuditEvent.id < last)
        batch = [_as_row(row) for row in db.session.scalars(query.order_by(AuditEvent.id.desc()).limit(500))]
        if not batch:
            return
        yield from batch
        last = batch[-1].id


def list_words() -> tuple[list[str], list[str]]:
    """The actors and the event words that occur, in order: for the filter."""
    actors = db.session.scalars(sa.select(AuditEvent.actor).distinct().order_by(AuditEvent.actor)).all()
    events = db.session.scalars(sa.select(AuditEvent.event).distinct().order_by(AuditEvent.event)).all()
    return list(actors), list(events)


def verify_chain() -> ChainReport:
    """Read every event and compute its hash again."""
    previous, count, last = "", 0, 0
    while True:
        columns = AuditEvent.__table__.c
        batch = db.session.execute(sa.select(*columns).where(columns.id > last).order_by(columns.id).limit(1000)).all()
        if not batch:
            return ChainReport(count, None)
        for row in batch:
            if row.previous_hash != previous or row.hash != _digest(row):
                return ChainReport(count, row.id)
            previous, last, count = row.hash, row.id, count + 1


def clean_details(details: Mapping[str, Any]) -> dict[str, Any]:
    """Details as they may be stored: plain JSON, short, without secrets."""
    return {_clean(key, 64): _clean_value(key, value) for key, value in list(details.items())[:MOST_DETAILS]}


def _clean_value(key: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Secret) or any(word in key.lower() for word in _SECRET_WORDS):
        return "***" if value else ""
    if isinstance(value, Mapping):
        return clean_details(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean_value(key, item) for item in list(value)[:MOST_DETAILS]]
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return "***" if text.startswith(SEALED_PREFIX) else _clean(text, LONGEST_DETAIL)


def _clean(text: str, longest: int) -> str:
    """One line, no controls (they could forge lines or colours in a terminal), no known secret shape."""
    return " ".join(redact(strip_controls(text), ()).split())[:longest]


def _last_hash() -> str:
    """The end of the chain; other appenders wait until this transaction is over (SQLite: BEGIN IMMEDIATE did that)."""
    if db.engine.dialect.name == "postgresql":
        db.session.execute(sa.select(sa.func.pg_advisory_xact_lock(_CHAIN_LOCK)))
    return db.session.scalar(sa.select(AuditEvent.hash).order_by(AuditEvent.id.desc()).limit(1)) or ""


def _digest(row: Any) -> str:
    """The hash of an event (the mapped row or its plain columns), which covers the hash before it."""
    body = [
        row.previous_hash,
        row.at.astimezone(UTC).isoformat(timespec="microseconds"),
        row.actor,
        row.event,
        row.subject_kind,
        row.subject_id,
        row.subject_name,
        row.ip,
        row.details,
    ]
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def _matching(wanted: AuditFilter) -> sa.Select[AuditEvent]:
    query = sa.select(AuditEvent)
    if wanted.actor:
        query = query.where(AuditEvent.actor == wanted.actor)
    if wanted.event:
        query = query.where(AuditEvent.event.startswith(wanted.event, autoescape=True))
    if wanted.subject:
        query = query.where(
            sa.or_(
                AuditEvent.subject_kind == wanted.subject,
                AuditEvent.subject_name.icontains(wanted.subject, autoescape=True),
            )
        )
    if wanted.since:
        query = query.where(AuditEvent.at >= wanted.since)
    if wanted.until:
        query = query.where(AuditEvent.at < wanted.until)
    return query


def _as_row(row: AuditEvent) -> AuditRow:
    return AuditRow(
        row.id, row.at, row.actor, row.event, row.subject_kind, row.subject_id, row.subject_name, row.ip, row.details
    )
