"""The throttle: who guesses waits longer each time. Kept in the database, so a restart forgives nobody; nobody is locked out."""

from __future__ import annotations

import hashlib
import ipaddress
from datetime import datetime, timedelta

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from webapp.core.errors import HoldfastError
from webapp.store.models import Throttle

FREE_TRIES_PER_ACCOUNT = 5
FREE_TRIES_PER_ADDRESS = 20
FIRST_WAIT_SECONDS = 15
LONGEST_WAIT_SECONDS = 900
FORGOTTEN_AFTER = timedelta(hours=1)


class TooManyTries(HoldfastError):
    """Wait before the next try.

    Attributes:
        retry_after_seconds: How long.
    """

    permanent = False

    def __init__(self, retry_after_seconds: int) -> None:
        minutes = -(-retry_after_seconds // 60)
        wait = f"{retry_after_seconds} seconds" if retry_after_seconds < 60 else f"{minutes} min"
        super().__init__(f"Too many tries. Wait {wait}, then try again.")
        self.retry_after_seconds = retry_after_seconds


def find_wait(session: Session, username: str, ip: str, *, now: datetime) -> int:
    """Seconds this account at this address, or the address as a whole, still has to wait; 0 when it may try."""
    rows = [session.get(Throttle, key) for key, _ in _keys(username, ip)]
    ends = [row.blocked_until for row in rows if row is not None and row.blocked_until is not None]
    return max((int((end - now).total_seconds()) + 1 for end in ends if end > now), default=0)


def count_try(session: Session, username: str, ip: str, *, now: datetime) -> bool:
    """Count a try before its password is looked at, so that tries at the same moment count too.

    Returns:
        Whether the next one has to wait.
    """
    blocked = False
    for key, free in _keys(username, ip):
        row = _row(session, key, now)
        if now - row.updated_at > FORGOTTEN_AFTER:
            row.failures = 0
        row.failures += 1
        row.updated_at = now
        over = row.failures - free
        if over >= 0:
            row.blocked_until = now + timedelta(
                seconds=min(FIRST_WAIT_SECONDS * 2 ** min(over, 10), LONGEST_WAIT_SECONDS)
            )
            blocked = True
    return blocked


def _row(session: Session, key: str, now: datetime) -> Throttle:
    """The key's row, held until the commit. Two first tries at the same moment make one row, not an error."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    first = insert(Throttle).values(key=key, failures=0, updated_at=now)
    session.execute(first.on_conflict_do_nothing())
    return session.get_one(Throttle, key, with_for_update=True)


def forgive(session: Session, username: str, ip: str) -> None:
    """The password was right: forget the account's failures, and take this try from the address's."""
    account, address = (session.get(Throttle, key) for key, _ in _keys(username, ip))
    if account is not None:
        session.delete(account)
    if address is not None:
        address.failures = max(0, address.failures - 1)
        if address.failures < FREE_TRIES_PER_ADDRESS:
            address.blocked_until = None


def _keys(username: str, ip: str) -> tuple[tuple[str, int], tuple[str, int]]:
    place = _network(ip)
    account = hashlib.sha256(username.lower().encode()).hexdigest()[:32]
    return (f"account:{account}:{place}", FREE_TRIES_PER_ACCOUNT), (f"address:{place}", FREE_TRIES_PER_ADDRESS)


def _network(ip: str) -> str:
    """An IPv4 address, or the /64 that one IPv6 customer usually has to himself."""
    try:
        address = ipaddress.ip_address(ip.split("%", maxsplit=1)[0])
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(getattr(address, "ipv4_mapped", None) or address)
