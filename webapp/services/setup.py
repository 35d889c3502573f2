"""The setup: whoever started Holdfast makes the first admin, with a token that was printed where it was started.

No default user exists. The database keeps the token's digest; the token itself lies in the data directory (0600) so that a
restart prints the same link, and is gone once the setup is over.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import CursorResult

from webapp.core.actors import Actor
from webapp.core.errors import HoldfastError
from webapp.core.plans import Secret
from webapp.core.status import Role
from webapp.services import audit, passwords, sessions, users
from webapp.services.sessions import Visitor, digest
from webapp.services.wiring import wired
from webapp.store.db import db, writing
from webapp.store.models import Setting, User

KEY = "setup_token_digest"


class SetupRefused(HoldfastError):
    """The token is wrong, or the setup is over."""

    permanent = True

    def __init__(self) -> None:
        super().__init__(
            "This setup link is not valid.",
            hint="Use the newest link that Holdfast printed when it started. If somebody is set up already, sign in.",
        )


@dataclass(frozen=True, slots=True)
class FirstAdmin:
    """What the first person says."""

    username: str
    password: Secret
    display_name: str = ""


def ensure_setup_token(now: datetime) -> str | None:
    """The token while nobody is set up, the same after a restart; None afterwards. Doors print ``setup_path(token)``."""
    if users.has_users():
        _file().unlink(missing_ok=True)
        return None
    token = _read_token()
    if token is None or not is_setup_token(token):
        token = secrets.token_urlsafe(32)
        _write_token(token)
        with writing() as session:
            session.merge(Setting(key=KEY, value=digest(token), updated_at=now))
    return token


def setup_path(token: str) -> str:
    """The path of the link to print."""
    return f"/setup?token={token}"


def is_open() -> bool:
    """Whether nobody is set up yet."""
    return not users.has_users()


def is_setup_token(token: str) -> bool:
    """Whether the token opens the setup now."""
    stored = db.session.scalar(sa.select(Setting.value).where(Setting.key == KEY))
    return isinstance(stored, str) and hmac.compare_digest(stored, digest(token)) and is_open()


def complete_setup(token: str, admin: FirstAdmin, visitor: Visitor, *, now: datetime) -> str:
    """Make the first admin and sign in; returns the session's token. Of two clients one wins.

    Raises:
        SetupRefused: wrong token, or somebody was faster.
        InvalidInput: with the field that is wrong; the token stays good.
        TooManyTries: too many wrong tokens from this address.
    """
    if not is_setup_token(token):
        _refuse(visitor, now=now)
    name = users.clean_username(admin.username)
    passwords.refuse_weak(admin.password.reveal(), username=name)
    stored = passwords.hash_password(admin.password.reveal())
    with writing() as session:
        # Taking the digest away is the claim: one client deletes one row, every other client none.
        taken = session.execute(sa.delete(Setting).where(Setting.key == KEY))
        if not isinstance(taken, CursorResult) or taken.rowcount != 1 or session.scalar(sa.select(User.id).limit(1)):
            raise SetupRefused
        user = users.insert_user(session, name, stored, role=Role.ADMIN, display_name=admin.display_name, now=now)
        actor = Actor(name, Role.ADMIN, visitor.ip, user.id)
        audit.record(actor, "setup.completed", subject_kind="user", subject_id=user.id, subject_name=name, now=now)
        session_token = sessions.open_session(session, user, visitor, now=now)
    _file().unlink(missing_ok=True)
    return session_token


def _refuse(visitor: Visitor, *, now: datetime) -> None:
    sessions.count_try("(setup)", visitor, now=now)
    audit.record_alone("anonymous", "setup.refused", subject_kind="setup", ip=visitor.ip, now=now)
    raise SetupRefused


def _file() -> Path:
    return wired().data_directory / "setup.token"


def _read_token() -> str | None:
    with contextlib.suppress(FileNotFoundError):
        return _file().read_text(encoding="ascii").strip() or None
    return None


def _write_token(token: str) -> None:
    """Into a new file beside the place, then renamed: never readable by others, never half written."""
    beside = _file().with_suffix(f".{secrets.token_hex(4)}")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(token + "\n")
    beside.replace(_file())
