"""Which archives a retention policy keeps, and why: a pure plan, shown before anybody applies it.

The rules, for each database by itself (docs/retention.md says them with examples):

1. Only verified archives that lie in the store count. ``keep_last_n`` keeps the newest N of them; ``older_than_days``
   keeps those not older than N days.
2. Never dropped, whatever the numbers say: the newest verified archive, the last archive of a database, one in use, one
   that is pinned.
3. An archive that is not verified is never counted. It is dropped only when it is older than every verified one that is
   kept by rule 1 or as the newest (so a newer verified one exists), and under ``older_than_days`` only when it is too
   old itself. A pinned or used archive of long ago does not hold back the unverified ones after it.
4. An archive dated in the future means that some clock was wrong: the whole plan is frozen and drops nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from webapp.core.errors import InvalidInput
from webapp.core.status import ArchiveState, RetentionMode
from webapp.core.text import plural

MAX_VALUE = 36_500
CLOCK_TOLERANCE = timedelta(minutes=5)
_PLANNED_STATES = (ArchiveState.STORED, ArchiveState.QUARANTINED)


class RetentionError(InvalidInput, ValueError):
    """A policy that cannot be meant, with ``message`` and ``hint`` as sentences."""


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """How much is kept: the newest ``value`` archives, or those not older than ``value`` days.

    Raises RetentionError unless 1 <= value <= 36,500.
    """

    mode: RetentionMode
    value: int

    def __post_init__(self) -> None:
        if self.mode not in tuple(RetentionMode):
            raise RetentionError("This way of keeping backups does not exist.", hint="Choose a number or an age.")
        if isinstance(self.value, bool) or not isinstance(self.value, int) or not 1 <= self.value <= MAX_VALUE:
            raise RetentionError(
                f"Retention cannot keep {str(self.value)[:20]} {self.unit}.",
                hint=f"Use a whole number from 1 to {MAX_VALUE}.",
            )

    @property
    def unit(self) -> str:
        """What the value counts."""
        return "backups" if self.mode == RetentionMode.KEEP_LAST_N else "days"


@dataclass(frozen=True, slots=True)
class RetentionPoint:
    """One archive as the planner sees it.

    Attributes:
        taken_at: Aware; when the source was read.
        verified: Its latest verification passed.
        state: Stored and quarantined archives are planned, the latter as never verified; others are left out.
        in_use: Being restored, verified, copied or downloaded now.
        pinned: A person asked to keep it.
    """

    archive_id: int
    database: str
    taken_at: datetime
    verified: bool
    state: str
    size_bytes: int
    in_use: bool = False
    pinned: bool = False

    @property
    def counts(self) -> bool:
        """Whether the archive is good enough to be counted."""
        return self.verified and self.state == ArchiveState.STORED


@dataclass(frozen=True, slots=True)
class Kept:
    """An archive that stays, with at least one reason a person can read."""

    point: RetentionPoint
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Dropped:
    """An archive that goes, with the reason."""

    point: RetentionPoint
    reason: str


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """The whole decision; databases in alphabetical order, newest archive first.

    Attributes:
        frozen: Why nothing is dropped although the policy might, or None.
        digest: SHA-256 (hex) of policy and decision: equal digests mean that the same archives would go and stay.
    """

    keep: tuple[Kept, ...]
    drop: tuple[Dropped, ...]
    frozen: str | None
    digest: str

    @property
    def freed_bytes(self) -> int:
        """What applying the plan gives back."""
        return sum(dropped.point.size_bytes for dropped in self.drop)


def plan_retention(policy: RetentionPolicy, points: Iterable[RetentionPoint], now: datetime) -> RetentionPlan:
    """Decide for every planned archive whether it stays; the order of ``points`` does not matter."""
    planned = sorted((point for point in points if point.state in _PLANNED_STATES), key=_age_key, reverse=True)
    if len({point.archive_id for point in planned}) != len(planned):
        raise ValueError("an archive appears twice")
    frozen = _find_freeze(planned, now)
    keep: list[Kept] = []
    drop: list[Dropped] = []
    for database in sorted({point.database for point in planned}):
        shelf = _Shelf.of(policy, [point for point in planned if point.database == database], now)
        for point in shelf.points:
            reasons = _find_reasons(shelf, point)
            if not reasons and not frozen:
                drop.append(Dropped(point, _say_dropped(policy, point)))
            else:
                keep.append(Kept(point, reasons or ("nothing is dropped while the plan is frozen",)))
    return RetentionPlan(tuple(keep), tuple(drop), frozen, _digest(policy, keep, drop))


@dataclass(frozen=True, slots=True)
class _Shelf:
    """The archives of one database, newest first: all, those that count, and of these the ones the policy asks for."""

    policy: RetentionPolicy
    points: Sequence[RetentionPoint]
    counted: Sequence[RetentionPoint]
    wanted: Sequence[RetentionPoint]
    cutoff: datetime

    @classmethod
    def of(cls, policy: RetentionPolicy, points: Sequence[RetentionPoint], now: datetime) -> _Shelf:
        """Sort out one database's archives."""
        counted = [point for point in points if point.counts]
        cutoff = now - timedelta(days=policy.value)
        if policy.mode == RetentionMode.KEEP_LAST_N:
            wanted = counted[: policy.value]
        else:
            wanted = [point for point in counted if point.taken_at >= cutoff]
        return cls(policy, points, counted, wanted, cutoff)


def _age_key(point: RetentionPoint) -> tuple[datetime, int]:
    return point.taken_at, point.archive_id


def _find_freeze(points: Sequence[RetentionPoint], now: datetime) -> str | None:
    """The sentence that freezes the plan when an archive, the newest of all being shown, lies in the future."""
    if not points or points[0].taken_at <= now + CLOCK_TOLERANCE:
        return None
    dated, today = (moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC") for moment in (points[0].taken_at, now))
    return (
        f"A backup of {points[0].database} is dated {dated}, later than now ({today}). "
        "A clock is or was wrong, so nothing is dropped."
    )


def _find_reasons(shelf: _Shelf, point: RetentionPoint) -> tuple[str, ...]:
    """Every reason to keep an archive; none means that it may go."""
    rules = (
        (point in shelf.wanted, _say_wanted(shelf.policy)),
        (point in shelf.counted[:1], "newest verified backup"),
        (
            not point.counts and _must_wait(shelf, point),
            "not verified, but not older than every verified backup that is kept",
        ),
        (len(shelf.points) == 1, "last backup of this database"),
        (point.in_use, "in use"),
        (point.pinned, "pinned"),
    )
    return tuple(reason for holds, reason in rules if holds)


def _must_wait(shelf: _Shelf, point: RetentionPoint) -> bool:
    """Whether rule 3 keeps an archive that does not count."""
    if not shelf.counted:
        return True
    oldest_kept = (shelf.wanted or shelf.counted[:1])[-1]
    young = shelf.policy.mode == RetentionMode.OLDER_THAN_DAYS and point.taken_at >= shelf.cutoff
    return young or point.taken_at >= oldest_kept.taken_at


def _say_wanted(policy: RetentionPolicy) -> str:
    if policy.mode == RetentionMode.KEEP_LAST_N:
        return f"one of the newest {policy.value} verified" if policy.value > 1 else "the newest verified"
    return f"younger than {policy.value} {plural(policy.value, 'day', 'days')}"


def _say_dropped(policy: RetentionPolicy, point: RetentionPoint) -> str:
    if not point.counts:
        return "not verified, and older than the verified backups that are kept"
    if policy.mode == RetentionMode.KEEP_LAST_N:
        return f"{policy.value} newer verified {plural(policy.value, 'backup is', 'backups are')} kept"
    return f"older than {policy.value} {plural(policy.value, 'day', 'days')}"


def _digest(policy: RetentionPolicy, keep: Sequence[Kept], drop: Sequence[Dropped]) -> str:
    decision = {
        "mode": str(policy.mode),
        "value": policy.value,
        "keep": sorted(kept.point.archive_id for kept in keep),
        "drop": sorted(dropped.point.archive_id for dropped in drop),
    }
    return hashlib.sha256(json.dumps(decision, sort_keys=True).encode()).hexdigest()
