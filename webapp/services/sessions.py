"""Sessions: signing in and out, and which browsers are signed in. The server keeps them, so ending one takes effect at once.

The browser holds a token of 256 random bits; the table holds its SHA-256 only. A session ends when it is idle too long, too
old, signed out, or revoked: by its user, by an admin, by a new password, a new role or a deactivation.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from webapp.core.actors import Actor
from webapp.core.errors import HoldfastError, NotFound
from webapp.core.status import Role
from webapp.core.text import strip_controls
from webapp.services import audit, passwords, throttle
from webapp.services.throttle import TooManyTries
from webapp.services.wiring import wired
from webapp.store.db import db, writing
from webapp.store.models import User, UserSession

KEPT_AFTER_END = timedelta(days=30)
LONGEST_NOTE_OF_SEEN = timedelta(seconds=60)


class SignInRefused(HoldfastError):
    """The name or the password is wrong, or the user is not active: never said which."""

    permanent = True

    def __init__(self, message: str = "The user name or the password is wrong.") -> None:
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Where a request comes from."""

    ip: str
    user_agent: str = ""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A live session and its user, as the web door knows them (flask-login's ``current_user``)."""

    session_id: int
    user_id: int
    username: str
    display_name: str
    role: Role
    time_zone: str
    theme: str
    created_at: datetime
    authenticated_at: datetime

    is_authenticated = True
    is_active = True
    is_anonymous = False

    def get_id(self) -> str:
        """What flask-login calls a user's id."""
        return str(self.user_id)


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A live session in a list, the newest sign of life first."""

    id: int
    user_id: int
    created_at: datetime
    last_seen_at: datetime
    ip: str
    user_agent: str


def sign_in(username: str, password: str, visitor: Visitor, *, now: datetime) -> str:
    """Open a session and return its token, shown nowhere again.

    Raises:
        SignInRefused: the same words, after the same time, whatever was wrong.
        TooManyTries: without having looked at the password.
    """
    name = username.strip().lower()[:64]
    blocks = count_try(name, visitor, now=now)
    user = db.session.scalar(sa.select(User).where(User.username == name))
    user_id, stored = (user.id, user.password_hash) if user and user.is_active else (None, None)
    match = passwords.match_password(stored, password)
    with writing() as session:
        if not match.fits or user_id is None:
            known = name if user is not None else "(unknown user)"
            audit.record(known, "session.refused", subject_kind="user", subject_name=known, ip=visitor.ip, now=now)
            if blocks:
                record_throttled(visitor, now=now)
        else:
            return _enter(session, user_id, visitor, new_hash=match.new_hash, stored=stored, now=now)
    raise SignInRefused


def reauthenticate(session_id: int, password: str, visitor: Visitor, *, now: datetime) -> str:
    """Ask for the password again: the session gets a new token and counts as freshly signed in.

    Raises:
        SignInRefused: the password is wrong.
        TooManyTries: as for signing in.
    """
    row = _get_live(session_id, now=now)
    name, stored = row.user.username, row.user.password_hash
    blocks = count_try(name, visitor, now=now)
    fits = passwords.match_password(stored, password).fits
    with writing() as session:
        event = "session.reauthenticated" if fits else "session.reauthentication_refused"
        audit.record(
            name, event, subject_kind="user", subject_id=row.user_id, subject_name=name, ip=visitor.ip, now=now
        )
        if fits:
            throttle.forgive(session, name, visitor.ip)
            row.token_digest, token = _new_token()
            row.authenticated_at = row.last_seen_at = now
            return token
        if blocks:
            record_throttled(visitor, now=now)
    raise SignInRefused("The password is wrong.")


def find_session(token: str, *, now: datetime, counts: bool = True) -> SignedIn | None:
    """The live session of a token, or None. ``counts``: whether this request is a sign of life (a page's own polling is none)."""
    row = db.session.scalar(
        sa.select(UserSession).options(joinedload(UserSession.user)).where(UserSession.token_digest == digest(token))
    )
    if row is None or not _is_live(row, now=now):
        return None
    if counts and now - row.last_seen_at > min(LONGEST_NOTE_OF_SEEN, _idle_limit() / 5):
        with writing():
            db.session.execute(sa.update(UserSession).where(UserSession.id == row.id).values(last_seen_at=now))
    user = row.user
    return SignedIn(
        session_id=row.id,
        user_id=user.id,
        username=user.username,
        display_name=user.display_name or user.username,
        role=user.role,
        time_zone=user.time_zone,
        theme=user.theme,
        created_at=row.created_at,
        authenticated_at=row.authenticated_at,
    )


def open_session(session: Session, user: User, visitor: Visitor, *, now: datetime) -> str:
    """A new session inside the caller's ``writing()``; returns the token."""
    stored, token = _new_token()
    session.add(
        UserSession(
            token_digest=stored,
            user_id=user.id,
            created_at=now,
            last_seen_at=now,
            authenticated_at=now,
            ip=visitor.ip[:64],
            user_agent=strip_controls(visitor.user_agent)[:256],
        )
    )
    return token


def sign_out(session_id: int, *, actor: Actor, now: datetime) -> None:
    """End one's own session. Twice is the same as once."""
    with writing() as session:
        row = session.get(UserSession, session_id)
        if row is None or row.revoked_at is not None:
            return
        row.revoked_at = now
        audit.record(
            actor, "session.closed", subject_kind="user", subject_id=row.user_id, subject_name=actor.username, now=now
        )


def list_sessions(user_id: int, *, now: datetime) -> list[SessionRow]:
    """The live sessions of a user, the most recently seen first."""
    query = sa.select(UserSession).options(joinedload(UserSession.user)).where(UserSession.user_id == user_id)
    rows = db.session.scalars(query.order_by(UserSession.last_seen_at.desc()))
    return [
        SessionRow(row.id, row.user_id, row.created_at, row.last_seen_at, row.ip, row.user_agent)
        for row in rows
        if _is_live(row, now=now)
    ]


def revoke_session(session_id: int, *, user_id: int, actor: Actor, now: datetime) -> None:
    """End one session of this user. Raises NotFound when it is not this user's."""
    with writing() as session:
        row = session.get(UserSession, session_id)
        if row is None or row.user_id != user_id:
            raise NotFound("There is no such session.")
        if row.revoked_at is None:
            row.revoked_at = now
            audit.record(
                actor,
                "session.revoked",
                subject_kind="user",
                subject_id=row.user_id,
                subject_name=row.user.username,
                now=now,
            )


def revoke_all(session: Session, user_id: int, *, but: int | None = None, now: datetime) -> int:
    """End all sessions of a user but one, inside the caller's ``writing()``; returns how many ended."""
    query = sa.update(UserSession).where(
        UserSession.user_id == user_id, UserSession.revoked_at.is_(None), UserSession.id != (but or 0)
    )
    ended = session.execute(query.values(revoked_at=now).execution_options(synchronize_session=False))
    session.expire_all()
    return int(ended.rowcount)  # type: ignore[attr-defined]


def count_try(name: str, visitor: Visitor, *, now: datetime) -> bool:
    """Before any look at a password: raise TooManyTries, or count this try. Returns whether the next one has to wait."""
    with writing() as session:
        wait = throttle.find_wait(session, name, visitor.ip, now=now)
        blocks = wait == 0 and throttle.count_try(session, name, visitor.ip, now=now)
    if wait:
        raise TooManyTries(wait)
    return blocks


def record_throttled(visitor: Visitor, *, now: datetime) -> None:
    """Inside ``writing()``: a wait begins. Tries during it leave no record, so a flood of them does not flood the log."""
    audit.record(
        "anonymous", "session.throttled", subject_kind="address", subject_name=visitor.ip, ip=visitor.ip, now=now
    )


def digest(token: str) -> str:
    """What the table keeps of a token: random bits need no salt and no slow hash."""
    return hashlib.sha256(token.encode()).hexdigest()


def _new_token() -> tuple[str, str]:
    token = secrets.token_urlsafe(32)
    return digest(token), token


def _enter(
    session: Session, user_id: int, visitor: Visitor, *, new_hash: str | None, stored: str | None, now: datetime
) -> str:
    """The password was right. The user is read again: a deactivation or a new password of this moment counts."""
    user = session.get_one(User, user_id)
    if not user.is_active or user.password_hash != stored:
        raise SignInRefused
    throttle.forgive(session, user.username, visitor.ip)
    # Not through the mapper: signing in must not raise the row's version, which guards the edit form.
    values = {"last_sign_in_at": now, "password_hash": new_hash or stored}
    session.execute(
        sa.update(User).where(User.id == user.id).values(values).execution_options(synchronize_session=False)
    )
    session.execute(sa.delete(UserSession).where(UserSession.last_seen_at < now - KEPT_AFTER_END))
    audit.record(
        user.username,
        "session.opened",
        subject_kind="user",
        subject_id=user.id,
        subject_name=user.username,
        details={"browser": visitor.user_agent[:200]},
        ip=visitor.ip,
        now=now,
    )
    return open_session(session, user, visitor, now=now)


def _get_live(session_id: int, *, now: datetime) -> UserSession:
    row = db.session.get(UserSession, session_id)
    if row is None or not _is_live(row, now=now):
        raise SignInRefused("Your session has ended.")
    return row


def _is_live(row: UserSession, *, now: datetime) -> bool:
    absolute = timedelta(hours=wired().session_absolute_hours)
    return (
        row.revoked_at is None
        and row.user.is_active
        and now - row.last_seen_at < _idle_limit()
        and now - row.created_at < absolute
    )


def _idle_limit() -> timedelta:
    return timedelta(minutes=wired().session_idle_minutes)
