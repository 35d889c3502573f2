"""The clock that retention trusts: the latest time ever seen is kept, and neither a step back nor a great leap is believed.

A wrong clock makes everything look old, or hides what is. While it is in doubt nothing is deleted, in any job, until a person
says that the clock is right (reliability: freeze rather than delete).
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from webapp.core.actors import Actor
from webapp.core.retention_guards import judge_clock
from webapp.services import audit
from webapp.store.db import db, release, writing
from webapp.store.models import Setting

KEY = "retention_clock"
WRITE_SECONDS = 600


def last_seen_at() -> datetime | None:
    """The latest time that was believed, None before the first."""
    stored = db.session.scalar(sa.select(Setting.value).where(Setting.key == KEY))
    return datetime.fromisoformat(stored) if isinstance(stored, str) else None


def find_clock_fault(now: datetime) -> str:
    """Why nothing may be deleted by what the clock says now, as a sentence; "" when it may be believed."""
    return judge_clock(now, last_seen_at())


def watch_clock(now: datetime) -> str:
    """Remember that it is now, unless that cannot be believed; then the sentence that says so. Asked every minute."""
    seen = last_seen_at()
    fault = judge_clock(now, seen)
    if not fault and (seen is None or (now - seen).total_seconds() >= WRITE_SECONDS):
        with writing() as session:
            seen = last_seen_at()
            if not judge_clock(now, seen) and (seen is None or now > seen):
                session.merge(Setting(key=KEY, value=now.isoformat(), updated_at=now))
    release()
    return fault


def confirm_clock(*, actor: Actor, now: datetime) -> None:
    """A person has looked at a clock: what it says now is right, and counts from here on."""
    with writing() as session:
        seen = last_seen_at()
        session.merge(Setting(key=KEY, value=now.isoformat(), updated_at=now))
        details = {"seen": seen.isoformat() if seen else "", "now": now.isoformat()}
        audit.record(actor, "retention.clock_confirmed", subject_kind="settings", details=details, now=now)
