"""Passwords: hashed by Argon2id, compared in equal time, refused when weak."""

from __future__ import annotations

import gzip
import hmac
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from webapp.core import passwords
from webapp.core.errors import InvalidInput

# OWASP's password storage sheet asks for at least 19 MiB and 2 passes; 64 MiB costs a server some 80 ms.
_hasher = PasswordHasher(time_cost=2, memory_cost=64 * 1024, parallelism=1)
# Hashing is the one expensive thing that anonymous people can ask for: at most this many at a time (64 MiB each).
_turns = BoundedSemaphore(4)
_LIST = Path(__file__).with_name("common_passwords.txt.gz")


@dataclass(frozen=True, slots=True)
class Match:
    """Whether a password fits, and the new hash to store when the old one was made with weaker settings."""

    fits: bool
    new_hash: str | None = None


def hash_password(password: str) -> str:
    """The Argon2id hash in its own text form, with its settings and salt."""
    with _turns:
        return _hasher.hash(password)


def match_password(stored: str | None, password: str) -> Match:
    """Compare. None (an unknown user) takes as long as a wrong password."""
    with _turns:
        fits = _verify(stored or _nobody(), password)
    if not fits or stored is None:
        return Match(False)
    return Match(True, hash_password(password) if _hasher.check_needs_rehash(stored) else None)


def refuse_weak(password: str, *, username: str, field: str = "password") -> None:
    """Raise InvalidInput with the reason when the password may not be used."""
    weakness = passwords.find_weakness(password, username=username, common=common_passwords())
    if weakness:
        raise InvalidInput(weakness, field=field)


def refuse_same(old: str, new: str) -> None:
    """Raise InvalidInput when the new password is the old one."""
    if hmac.compare_digest(old.encode(), new.encode()):
        raise InvalidInput("This is the password you have now.", field="new_password")


@cache
def common_passwords() -> frozenset[str]:
    """Well-known passwords in lower case (docs/security.md says where they come from)."""
    return frozenset(gzip.decompress(_LIST.read_bytes()).decode("utf-8").split("\n"))


def _verify(stored: str, password: str) -> bool:
    try:
        return _hasher.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False


@cache
def _nobody() -> str:
    """A hash that no password fits, made with our own settings so that comparing takes as long."""
    return _hasher.hash("nobody has this password")
