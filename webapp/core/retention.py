"""Which archives a retention policy keeps, and why: a pure plan, shown before anybody applies it.

The rules, for each database by itself (docs/retention.md says them with examples):

1. Only archives that lie in the store, are verified and failed no restore drill count. ``keep_last_n`` keeps the newest N
   of them, ``older_than_days`` those not older than N days, ``rules`` what any of several rules wants.
2. Never dropped, whatever the numbers say: the newest verified archive, the newest that passed a restore drill, the last
   archive of a database, one in use, one that is pinned.
3. An archive that does not count is dropped only when it is older than every one that the policy's finest rule keeps (so
   a newer good one exists), and where the policy knows an age only when it is too old itself. A pinned or used archive of
   long ago does not hold back those after it.
4. What cannot be right freezes the plan, which then drops nothing: an archive dated in the future, a clock that went back
   or leapt ahead, a job that was frozen.
5. More than the cap (ten, or a fifth) of one database at once waits for a person's word.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from webapp.core.retention_guards import CLOCK_TOLERANCE, cap_of, judge_clock
from webapp.core.retention_policy import RetentionPoint, RetentionPolicy
from webapp.core.retention_rules import MAX_VALUE, RetentionError, RetentionRules
from webapp.core.retention_wants import Wanted, find_wanted
from webapp.core.status import ArchiveState, RetentionMode
from webapp.core.text import plural

__all__ = [
    "MAX_VALUE",
    "Guards",
    "RetentionError",
    "RetentionPlan",
    "RetentionPoint",
    "RetentionPolicy",
    "RetentionRules",
]

_PLANNED_STATES = (ArchiveState.STORED, ArchiveState.QUARANTINED)
FROZEN_REASON = "nothing is dropped while the plan is frozen"
CAPPED_REASON = "waits for a confirmation: more would go at once than may go by itself"


@dataclass(frozen=True, slots=True)
class Guards:
    """What holds a plan back, whatever its policy says.

    Attributes:
        frozen_reason: Why the job's retention is frozen, or "".
        last_seen_at: The latest time that was ever seen, None when nobody knows.
        allowance: How many deletions beyond the cap a person has agreed to; None asks for no word at all.
    """

    frozen_reason: str = ""
    last_seen_at: datetime | None = None
    allowance: int | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """An archive that stays, with at least one reason a person can read.

    ``until`` is how long a rule is sure to keep it, ``rule`` which one (of several the one that keeps it longest); None
    where that depends on backups that are still to come.
    """

    point: RetentionPoint
    reasons: tuple[str, ...]
    until: datetime | None = None
    rule: str = ""


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
        held: What the policy would drop, and a freeze or the cap keeps; these stand in ``keep`` too.
        capped: A sentence for each database of which more would go than the cap lets go.
    """

    keep: tuple[Kept, ...]
    drop: tuple[Dropped, ...]
    frozen: str | None
    digest: str
    held: tuple[Dropped, ...] = ()
    capped: tuple[str, ...] = ()

    @property
    def freed_bytes(self) -> int:
        """What applying the plan gives back."""
        return sum(dropped.point.size_bytes for dropped in self.drop)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why less is dropped than the policy says."""
        return ((self.frozen,) if self.frozen else ()) + self.capped


_NO_GUARDS = Guards()


def plan_retention(
    policy: RetentionPolicy, points: Iterable[RetentionPoint], now: datetime, guards: Guards = _NO_GUARDS
) -> RetentionPlan:
    """Decide for every planned archive whether it stays; the order of ``points`` does not matter."""
    planned = sorted((point for point in points if point.state in _PLANNED_STATES), key=_age_key, reverse=True)
    if len({point.archive_id for point in planned}) != len(planned):
        raise ValueError("an archive appears twice")
    frozen = guards.frozen_reason or judge_clock(now, guards.last_seen_at) or _find_future(planned, now) or None
    parts = []
    for database in sorted({point.database for point in planned}):
        shelf = _Shelf.of(policy, [point for point in planned if point.database == database], now)
        parts.append(_plan_database(shelf, frozen, guards))
    keep = tuple(kept for part in parts for kept in part.keep)
    drop = tuple(dropped for part in parts for dropped in part.drop)
    held = tuple(dropped for part in parts for dropped in part.held)
    capped = tuple(sentence for part in parts for sentence in part.capped)
    return RetentionPlan(keep, drop, frozen, _digest(policy, keep, drop, held), held, capped)


@dataclass(frozen=True, slots=True)
class _Shelf:
    """The archives of one database, newest first: all, those that count, and what the policy wants of these."""

    policy: RetentionPolicy
    points: Sequence[RetentionPoint]
    counted: Sequence[RetentionPoint]
    wanted: Wanted
    tested: frozenset[int]

    @classmethod
    def of(cls, policy: RetentionPolicy, points: Sequence[RetentionPoint], now: datetime) -> _Shelf:
        """Sort out one database's archives."""
        counted = [point for point in points if point.counts]
        tested = [point.archive_id for point in points if point.drilled]
        tested_and_good = [point.archive_id for point in counted if point.drilled]
        newest = frozenset((*tested[:1], *tested_and_good[:1]))
        return cls(policy, points, counted, find_wanted(policy, counted, now), newest)


def _age_key(point: RetentionPoint) -> tuple[datetime, int]:
    return point.taken_at, point.archive_id


def _find_future(points: Sequence[RetentionPoint], now: datetime) -> str:
    """The sentence that freezes the plan when an archive, the newest of all being shown, lies in the future."""
    if not points or points[0].taken_at <= now + CLOCK_TOLERANCE:
        return ""
    dated, today = (moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC") for moment in (points[0].taken_at, now))
    return (
        f"A backup of {points[0].database} is dated {dated}, later than now ({today}). "
        "A clock is or was wrong, so nothing is dropped."
    )


def _plan_database(shelf: _Shelf, frozen: str | None, guards: Guards) -> RetentionPlan:
    """The plan of one database (its digest is left empty)."""
    keep: list[Kept] = []
    drop: list[Dropped] = []
    for point in shelf.points:
        reasons = _find_reasons(shelf, point)
        if reasons:
            until, rule = shelf.wanted.sure_until(point.archive_id)
            keep.append(Kept(point, reasons, until, rule))
        else:
            drop.append(Dropped(point, _say_dropped(shelf.policy, point)))
    cap = max(cap_of(len(shelf.points)), guards.allowance or 0)
    too_many = guards.allowance is not None and len(drop) > cap
    if not drop or not (frozen or too_many):
        return RetentionPlan(tuple(keep), tuple(drop), frozen, "")
    said = "" if frozen else _say_capped(shelf, len(drop), cap)
    keep += [Kept(dropped.point, (CAPPED_REASON if said else FROZEN_REASON,)) for dropped in drop]
    keep.sort(key=lambda kept: _age_key(kept.point), reverse=True)
    return RetentionPlan(tuple(keep), (), frozen, "", tuple(drop), (said,) if said else ())


def _find_reasons(shelf: _Shelf, point: RetentionPoint) -> tuple[str, ...]:
    """Every reason to keep an archive; none means that it may go."""
    rules = (
        (point in shelf.counted[:1], "newest verified backup"),
        (point.archive_id in shelf.tested, "newest restore-tested backup"),
        (not point.counts and _must_wait(shelf, point), _say_waiting(point)),
        (len(shelf.points) == 1, "last backup of this database"),
        (point.in_use, "in use"),
        (point.pinned, "pinned"),
    )
    return (*shelf.wanted.reasons(point.archive_id), *(reason for holds, reason in rules if holds))


def _must_wait(shelf: _Shelf, point: RetentionPoint) -> bool:
    """Whether rule 3 keeps an archive that does not count."""
    if not shelf.counted:
        return True
    oldest_kept = (shelf.wanted.finest or shelf.counted[:1])[-1]
    cutoff = shelf.wanted.cutoff
    return (cutoff is not None and point.taken_at >= cutoff) or point.taken_at >= oldest_kept.taken_at


def _say_waiting(point: RetentionPoint) -> str:
    fault = "failed its restore drill" if point.drill_failed and point.verified else "not verified"
    return f"{fault}, but not older than every verified backup that is kept"


def _say_dropped(policy: RetentionPolicy, point: RetentionPoint) -> str:
    if point.drill_failed and point.verified:
        return "failed its restore drill, and older than the verified backups that are kept"
    if not point.counts:
        return "not verified, and older than the verified backups that are kept"
    if policy.mode == RetentionMode.KEEP_LAST_N:
        return f"{policy.value} newer verified {plural(policy.value, 'backup is', 'backups are')} kept"
    if policy.mode == RetentionMode.OLDER_THAN_DAYS:
        return f"older than {policy.value} {plural(policy.value, 'day', 'days')}"
    return f"wanted by no rule ({policy.in_words()})"


def _say_capped(shelf: _Shelf, count: int, cap: int) -> str:
    return (
        f"{count} of {len(shelf.points)} restore points of {shelf.points[0].database} would go at once, more than "
        f"the {cap} that may go without a person's word. They stay until somebody confirms it."
    )


def _digest(policy: RetentionPolicy, keep: Sequence[Kept], drop: Sequence[Dropped], held: Sequence[Dropped]) -> str:
    decision = {
        "policy": policy.as_json(),
        "keep": sorted(kept.point.archive_id for kept in keep),
        "drop": sorted(dropped.point.archive_id for dropped in drop),
        "held": sorted(dropped.point.archive_id for dropped in held),
    }
    return hashlib.sha256(json.dumps(decision, sort_keys=True).encode()).hexdigest()
