"""Users: who may sign in, with which role. There is always an active admin; a weaker password, role or user ends its sessions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.core.actors import Actor
from webapp.core.cron import validate_zone
from webapp.core.errors import Conflict, InvalidInput, NotFound
from webapp.core.plans import Secret
from webapp.core.status import Role
from webapp.core.text import strip_controls
from webapp.services import audit, passwords, sessions, throttle
from webapp.services.sessions import SignInRefused, Visitor
from webapp.store.db import db, writing
from webapp.store.models import User

THEMES = ("auto", "light", "dark")
_USERNAME = re.compile(r"[a-z0-9][a-z0-9._@-]{1,63}")


@dataclass(frozen=True, slots=True)
class UserRow:
    """A user as pages and the command line show it."""

    id: int
    username: str
    display_name: str
    role: Role
    is_active: bool
    time_zone: str
    theme: str
    created_at: datetime
    password_changed_at: datetime
    last_sign_in_at: datetime | None
    version: int


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user to be added."""

    username: str
    password: Secret
    role: Role
    display_name: str = ""


def list_users() -> list[UserRow]:
    """All users, the active ones first, then by name."""
    return [
        _as_row(user) for user in db.session.scalars(sa.select(User).order_by(User.is_active.desc(), User.username))
    ]


def get_user(user_id: int) -> UserRow:
    """The user. Raises NotFound."""
    return _as_row(_get(db.session(), user_id))


def find_user(username: str) -> UserRow | None:
    """The user of this name, whatever its capitals, or None."""
    user = db.session.scalar(sa.select(User).where(User.username == username.strip().lower()))
    return None if user is None else _as_row(user)


def has_users() -> bool:
    """Whether the setup is over."""
    return db.session.scalar(sa.select(User.id).limit(1)) is not None


def add_user(new: NewUser, *, actor: Actor, now: datetime) -> UserRow:
    """Add a user. Raises InvalidInput (with its field) or Conflict when the name is taken."""
    name = clean_username(new.username)
    stored = _hash_checked(new.password, username=name)
    with writing() as session:
        if session.scalar(sa.select(User.id).where(User.username == name)) is not None:
            raise InvalidInput(f"There is already a user {name}.", field="username")
        user = insert_user(session, name, stored, role=new.role, display_name=new.display_name, now=now)
        _record(actor, "user.added", user, details={"role": user.role, "display_name": user.display_name}, now=now)
        return _as_row(user)


def insert_user(
    session: Session, username: str, password_hash: str, *, role: Role, display_name: str, now: datetime
) -> User:
    """The row itself, inside the caller's ``writing()``."""
    user = User(
        username=username,
        display_name=_clean_name(display_name),
        password_hash=password_hash,
        role=role,
        is_active=True,
        time_zone="",
        theme="auto",
        created_at=now,
        password_changed_at=now,
    )
    session.add(user)
    session.flush()
    return user


def change_user(
    user_id: int, *, role: Role, display_name: str, version: int | None, actor: Actor, now: datetime
) -> UserRow:
    """Change role and name. A new role takes effect at once and ends the user's sessions.

    Raises:
        Conflict: somebody else changed the user since ``version``, or this is the last admin.
    """
    with writing() as session:
        user = _get(session, user_id)
        if version is not None and user.version != version:
            raise Conflict("Somebody else changed this user in the meantime.", hint="Load the page again, then repeat.")
        before = {"role": user.role.value, "display_name": user.display_name}
        if role is not Role.ADMIN:
            _keep_an_admin(session, user)
        user.role, user.display_name = role, _clean_name(display_name)
        found = audit.changes(before, {"role": role.value, "display_name": user.display_name})
        if "role" in found:
            sessions.revoke_all(session, user.id, now=now)
        if found:
            _record(actor, "user.changed", user, details=found, now=now)
        session.flush()
        return _as_row(user)


def deactivate_user(user_id: int, *, actor: Actor, now: datetime) -> None:
    """The user can no longer sign in, and is signed out everywhere. The history keeps the name."""
    with writing() as session:
        user = _get(session, user_id)
        if not user.is_active:
            return
        _keep_an_admin(session, user)
        user.is_active = False
        ended = sessions.revoke_all(session, user.id, now=now)
        _record(actor, "user.deactivated", user, details={"sessions_ended": ended}, now=now)


def activate_user(user_id: int, *, actor: Actor, now: datetime) -> None:
    """Let a deactivated user sign in again."""
    with writing() as session:
        user = _get(session, user_id)
        if not user.is_active:
            user.is_active = True
            _record(actor, "user.activated", user, now=now)


def reset_password(user_id: int, password: Secret, *, actor: Actor, now: datetime) -> None:
    """An admin gives a user a new password; the user is signed out everywhere. Raises InvalidInput, NotFound."""
    stored = _hash_checked(password, username=get_user(user_id).username)
    with writing() as session:
        user = _get(session, user_id)
        _store_password(session, user, stored, now=now)
        _record(actor, "user.password_reset", user, now=now)


def change_own_password(
    user_id: int, *, current: Secret, new: Secret, visitor: Visitor, actor: Actor, now: datetime
) -> str:
    """A user changes the own password: every session ends, and a new one begins here; returns its token.

    Raises:
        InvalidInput: with the field that is wrong.
        TooManyTries: the current password was wrong too often.
    """
    user = _get(db.session(), user_id)
    stored = user.password_hash
    sessions.count_try(user.username, visitor, now=now)
    if not passwords.match_password(stored, current.reveal()).fits:
        audit.record_alone(actor, "user.password_change_refused", subject_kind="user", subject_id=user_id, now=now)
        raise InvalidInput("This is not your password.", field="current_password")
    passwords.refuse_same(current.reveal(), new.reveal())
    stored = _hash_checked(new, username=user.username, field="new_password")
    with writing() as session:
        user = _get(session, user_id)
        if not user.is_active:
            raise SignInRefused
        throttle.forgive(session, user.username, visitor.ip)
        _store_password(session, user, stored, now=now)
        _record(actor, "user.password_changed", user, now=now)
        return sessions.open_session(session, user, visitor, now=now)


def change_preferences(
    user_id: int, *, display_name: str, theme: str, time_zone: str, actor: Actor, now: datetime
) -> None:
    """How the user wants to see things. ``time_zone`` "" means the installation's. Raises InvalidInput."""
    if theme not in THEMES:
        raise InvalidInput("Choose auto, light or dark.", field="theme")
    if time_zone:
        _check_zone(time_zone)
    after = {"display_name": _clean_name(display_name), "theme": theme, "time_zone": time_zone}
    with writing() as session:
        user = _get(session, user_id)
        found = audit.changes({key: getattr(user, key) for key in after}, after)
        if not found:
            return
        user.display_name, user.theme, user.time_zone = after["display_name"], theme, time_zone
        _record(actor, "user.preferences_changed", user, details=found, now=now)


def clean_username(username: str) -> str:
    """The name in lower case. Raises InvalidInput."""
    name = username.strip().lower()
    if not _USERNAME.fullmatch(name):
        raise InvalidInput(
            "A user name has 2 to 64 letters, digits, dots, dashes or underscores, or is an e-mail address.",
            field="username",
        )
    return name


def _check_zone(name: str) -> None:
    try:
        validate_zone(name)
    except InvalidInput as error:
        raise InvalidInput(error.message, field="time_zone", hint=error.hint) from None


def _hash_checked(password: Secret, *, username: str, field: str = "password") -> str:
    passwords.refuse_weak(password.reveal(), username=username, field=field)
    return passwords.hash_password(password.reveal())


def _store_password(session: Session, user: User, stored: str, *, now: datetime) -> None:
    user.password_hash = stored
    user.password_changed_at = now
    session.flush()
    sessions.revoke_all(session, user.id, now=now)


def _keep_an_admin(session: Session, user: User) -> None:
    """Raise Conflict when nobody else could administer. The rows are locked, so two cannot leave at the same moment."""
    if user.role is not Role.ADMIN or not user.is_active:
        return
    admins = session.scalars(
        sa.select(User.id).where(User.role == Role.ADMIN, User.is_active).order_by(User.id).with_for_update()
    ).all()
    if set(admins) <= {user.id}:
        raise Conflict(f"{user.username} is the last active admin.", hint="Make somebody else an admin first.")


def _get(session: Session, user_id: int) -> User:
    user = session.get(User, user_id)
    if user is None:
        raise NotFound("There is no such user.")
    return user


def _clean_name(name: str) -> str:
    return strip_controls(name).strip()[:128]


def _record(actor: Actor, event: str, user: User, *, details: dict[str, object] | None = None, now: datetime) -> None:
    audit.record(
        actor, event, subject_kind="user", subject_id=user.id, subject_name=user.username, details=details, now=now
    )


def _as_row(user: User) -> UserRow:
    return UserRow(
        id=user.id,
        username=user.username,
        display_name=user.display_name,
        role=user.role,
        is_active=user.is_active,
        time_zone=user.time_zone,
        theme=user.theme,
        created_at=user.created_at,
        password_changed_at=user.password_changed_at,
        last_sign_in_at=user.last_sign_in_at,
        version=user.version,
    )
