"""Which archives of one database a policy wants, rule by rule, and how long it is sure to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from webapp.core.retention_policy import RetentionPoint, RetentionPolicy
from webapp.core.retention_rules import Period, start_after, stretch_of
from webapp.core.status import RetentionMode
from webapp.core.text import plural


@dataclass(frozen=True, slots=True)
class Want:
    """One rule that wants one archive.

    Attributes:
        rule: "last", "within_days", or a period's word.
        reason: For people: "weekly 2026-W47".
        until: How long it is sure to; None where that depends on backups that are still to come.
    """

    point: RetentionPoint
    rule: str
    reason: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """All wants of one database.

    Attributes:
        wants: By archive id, in the order of the rules.
        finest: What the first rule in use wants, newest first; empty when it wants nothing.
        cutoff: What is younger is kept, where the policy knows an age.
    """

    wants: dict[int, tuple[Want, ...]]
    finest: tuple[RetentionPoint, ...]
    cutoff: datetime | None

    def reasons(self, archive_id: int) -> tuple[str, ...]:
        """Why the policy wants the archive; empty when it does not."""
        return tuple(want.reason for want in self.wants.get(archive_id, ()))

    def sure_until(self, archive_id: int) -> tuple[datetime | None, str]:
        """The latest time that a rule is sure of, and the rule; (None, "") when none is."""
        known = [(want.until, want.rule) for want in self.wants.get(archive_id, ()) if want.until is not None]
        return max(known, key=lambda pair: pair[0]) if known else (None, "")


def find_wanted(policy: RetentionPolicy, counted: Sequence[RetentionPoint], now: datetime) -> Wanted:
    """What the policy wants of the archives that count, which come newest first."""
    days = _days_of(policy)
    cutoff = now - timedelta(days=days) if days else None
    wants: dict[int, tuple[Want, ...]] = {}
    finest: tuple[RetentionPoint, ...] | None = None
    for rule in _rules_in_use(policy, counted, now):
        finest = tuple(want.point for want in rule) if finest is None else finest
        for want in rule:
            wants[want.point.archive_id] = (*wants.get(want.point.archive_id, ()), want)
    return Wanted(wants, finest or (), cutoff)


def _days_of(policy: RetentionPolicy) -> int:
    if policy.mode == RetentionMode.RULES:
        return policy.rules.within_days if policy.rules is not None else 0
    return policy.value if policy.mode == RetentionMode.OLDER_THAN_DAYS else 0


def _rules_in_use(
    policy: RetentionPolicy, counted: Sequence[RetentionPoint], now: datetime
) -> Iterator[tuple[Want, ...]]:
    """The wants of each rule in use, the finest rule first."""
    rules = policy.rules if policy.mode == RetentionMode.RULES else None
    last = policy.value if policy.mode == RetentionMode.KEEP_LAST_N else rules.last if rules is not None else 0
    if last:
        yield tuple(Want(point, "last", _say_last(last)) for point in counted[:last])
    if days := _days_of(policy):
        yield _want_young(counted, days, now)
    if rules is not None:
        zone = ZoneInfo(policy.time_zone)
        for period, count in rules.periods.items():
            yield tuple(_want_periods(counted, period, count, zone=zone, now=now))


def _want_young(counted: Sequence[RetentionPoint], days: int, now: datetime) -> tuple[Want, ...]:
    said, span = f"younger than {days} {plural(days, 'day', 'days')}", timedelta(days=days)
    return tuple(
        Want(point, "within_days", said, point.taken_at + span) for point in counted if point.taken_at >= now - span
    )


def _want_periods(
    counted: Sequence[RetentionPoint], period: Period, count: int, *, zone: ZoneInfo, now: datetime
) -> Iterator[Want]:
    """The newest of each of the ``count`` newest periods that have one."""
    seen: set[tuple[object, ...]] = set()
    for point in counted:
        stretch = stretch_of(period, point.taken_at, zone)
        if stretch.key in seen:
            continue
        if len(seen) == count:
            return
        seen.add(stretch.key)
        over = start_after(period, point.taken_at, 1, zone)
        # While its period lasts, the next backup may take its place.
        until = start_after(period, point.taken_at, count, zone) if over is not None and over <= now else None
        yield Want(point, period.value, f"{period.value} {stretch.name}", until)


def _say_last(count: int) -> str:
    return f"one of the newest {count} verified" if count > 1 else "the newest verified"
