"""When a cron expression fires in a zone: wall times from croniter, clock changes by our own rules (see cron.py).

croniter only ever sees naive wall times. Real time is walked in stretches of one UTC offset; where the offset changes,
the gap or fold rule decides. No zone of the tz database has two changes within 24 hours since 1970 (the closest are 167
hours apart, tzdata 2026), which is what lets one comparison of offsets per day find every change.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice, pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import croniter

from webapp.core.cron_grammar import MONTH_NAMES, Cron, CronError

_MINUTE = timedelta(minutes=1)
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_LAST_YEAR = 9000
_GAP_SAMPLE = 50


@dataclass(frozen=True, slots=True)
class Preview:
    """One coming run.

    Attributes:
        at: The instant, UTC.
        local: The same instant in the job's zone.
        note: A sentence about a clock change that touches this run, or "".
    """

    at: datetime
    local: datetime
    note: str


@dataclass(frozen=True, slots=True)
class _Slot:
    """An instant, and the first skipped wall time it makes up for, if it does."""

    at: datetime
    skipped: datetime | None = None


def validate_zone(name: str) -> str:
    """The name itself when it is a known IANA zone, else CronError."""
    _zone(name)
    return name


def next_after(cron: Cron, zone: str, after: datetime) -> datetime:
    """The first slot strictly after an aware instant, in UTC."""
    return next(_slots(cron, zone, after)).at


def slots_between(cron: Cron, zone: str, after: datetime, until: datetime, limit: int) -> list[datetime]:
    """At most ``limit`` slots with after < slot <= until, ascending, in UTC."""
    found: list[datetime] = []
    for slot in islice(_slots(cron, zone, after), limit):
        if slot.at > until:
            break
        found.append(slot.at)
    return found


def previous_or_at(cron: Cron, zone: str, at: datetime) -> datetime:
    """The last slot not after an aware instant, in UTC; the look back grows, so rare schedules are quick too."""
    span = timedelta(minutes=2)
    while span < _DAY * 366 * 50:
        last: datetime | None = None
        for slot in _slots(cron, zone, at - span):
            if slot.at > at:
                break
            last = slot.at
        if last is not None:
            return last
        span *= 4
    raise CronError(f"{cron.expression} had no run in the 50 years before.")


def preview(cron: Cron, zone: str, now: datetime, count: int = 5) -> list[Preview]:
    """The next ``count`` runs, with a note wherever the clock changes."""
    tz = _zone(zone)
    found = []
    for slot in islice(_slots(cron, zone, now), count):
        local = slot.at.astimezone(tz)
        found.append(Preview(slot.at, local, _note(cron, local, slot.skipped)))
    return found


def minimum_gap(cron: Cron, zone: str, now: datetime) -> timedelta:
    """The shortest time between two of the next 50 slots."""
    return min(_gaps(cron, zone, now))


def maximum_gap(cron: Cron, zone: str, now: datetime) -> timedelta:
    """The longest time between two of the next 50 slots: how old the newest backup gets when all goes well."""
    return max(_gaps(cron, zone, now))


def _gaps(cron: Cron, zone: str, now: datetime) -> list[timedelta]:
    slots = islice(_slots(cron, zone, now), _GAP_SAMPLE)
    return [later.at - earlier.at for earlier, later in pairwise(slots)]


def _note(cron: Cron, local: datetime, skipped: datetime | None) -> str:
    if skipped is not None:
        when = f"{local:%H:%M}" + ("" if skipped.date() == local.date() else f" on {_date(local)}")
        return f"{skipped:%H:%M} does not exist on {_date(skipped)}; runs at {when}"
    if local.replace(fold=0).utcoffset() == local.replace(fold=1).utcoffset():
        return ""
    which = "the first" if cron.fixed_hours else "both"
    return f"{local:%H:%M} occurs twice on {_date(local)}; runs at {which}"


def _date(moment: datetime) -> str:
    return f"{moment.day} {MONTH_NAMES[moment.month - 1]} {moment.year}"


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    """The zone; names that are files of another kind or special entries of the database are refused."""
    special = name in ("localtime", "Factory", "posixrules") or name.startswith(("posix/", "right/"))
    try:
        if name and not special:
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    shown = name[:60] if name.isprintable() else "This"
    raise CronError(f"«{shown}» is not a known time zone.", hint="Choose one such as Europe/Brussels or UTC.")


@lru_cache(maxsize=1024)
def _pattern(canonical: str) -> croniter:
    """A parsed croniter that nobody advances: callers copy it, so threads do not share a position."""
    return croniter(canonical, 0)


class _WallTimes:
    """The matching wall times of one expression; remembers its last answer, which the walk asks for again and again."""

    def __init__(self, cron: Cron) -> None:
        self._pattern = copy.copy(_pattern(cron.canonical))
        self._floor: datetime | None = None
        self._found: datetime

    def after(self, floor: datetime) -> datetime:
        """The first match strictly after a naive wall time."""
        if self._floor is None or not self._floor <= floor < self._found:
            self._floor, self._found = floor, self._pattern.get_next(datetime, start_time=floor)
        return self._found


def _slots(cron: Cron, zone: str, after: datetime) -> Iterator[_Slot]:
    """Every slot strictly after an instant, ascending, without end."""
    if after.tzinfo is None:
        raise ValueError("after must be aware")
    if after.year > _LAST_YEAR:
        raise CronError(f"Schedules end with the year {_LAST_YEAR}.", hint="Set the clock of this machine.")
    after = after.astimezone(UTC)
    tz = _zone(zone)
    start = after
    if _offset(tz, after - _MINUTE) != _offset(tz, after):
        # Where an offset has seconds, the first whole minute after a gap begins later than the gap ends.
        start = after - _MINUTE
    return (slot for slot in _walk(cron, tz, start) if slot.at > after)


def _walk(cron: Cron, tz: ZoneInfo, clock: datetime) -> Iterator[_Slot]:
    """Walk through stretches of one offset.

    ``clock`` is the instant up to which everything has been said; ``floor`` the wall time (as naive UTC) after which
    matches count. The next match either lies in this stretch and is a slot, or the offset changes before it.
    """
    walls = _WallTimes(cron)
    offset = _offset(tz, clock)
    floor = _naive(clock) + offset
    while True:
        wall = walls.after(floor)
        slot = (wall - offset).replace(tzinfo=UTC)
        horizon = min(slot, clock + _DAY)
        if _offset(tz, horizon) != offset:
            change = _find_change(tz, clock, horizon)
            offset = _offset(tz, change)
            clock, floor = change, _naive(change) + offset - _SECOND
            if cron.fixed_hours and wall < _naive(change) + offset:  # the clock has already passed it: a gap
                clock = _first_minute(change, offset)
                floor = _naive(clock) + offset
                yield _Slot(clock, skipped=wall)
        elif horizon == slot:
            clock, floor = slot, wall
            if not (cron.fixed_hours and slot.astimezone(tz).fold):
                yield _Slot(slot)
        else:
            # Nothing matches before ``wall``, so days in between need no look; two days cover any clock change near it.
            clock = max(horizon, slot - 2 * _DAY)
            offset = _offset(tz, clock)
            floor = _naive(clock) + offset


def _find_change(tz: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """The first instant in (before, after] whose offset differs from that of ``before``. Changes fall on seconds."""
    offset = _offset(tz, before)
    low, high = before.replace(microsecond=0), after.replace(microsecond=0)
    while high - low > _SECOND:
        middle = low + timedelta(seconds=(high - low) // _SECOND // 2)
        if _offset(tz, middle) == offset:
            low = middle
        else:
            high = middle
    return high


def _first_minute(change: datetime, offset: timedelta) -> datetime:
    """The first instant from a clock change on at which a wall minute begins."""
    return change + timedelta(seconds=-(_naive(change) + offset).second % 60)


def _offset(tz: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(tz).utcoffset() or timedelta(0)


def _naive(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None)
