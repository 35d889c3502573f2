"""A second, slow reading of docs/cron.md: walk every wall minute of a window and decide by the written rules.

It shares no code with webapp.core.cron: own parsing, own matching, no croniter. A window is walked once per zone and then
serves many expressions.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


@dataclass(frozen=True)
class Minute:
    """The beginning of one wall minute: when it is, what the clock shows, and what the clock skipped just before."""

    at: datetime
    wall: datetime
    repeated: bool
    skipped: tuple[datetime, ...]


def walk(zone: str, start: datetime, end: datetime) -> list[Minute]:
    """Every wall minute that begins in (start, end]; second by second where the zone's offset has seconds."""
    tz = ZoneInfo(zone)
    moment, seen, skipped = start, set(), []
    previous = start.astimezone(tz).replace(tzinfo=None)
    minutes = []
    step = timedelta(seconds=1) if previous.second else timedelta(minutes=1)
    while moment < end:
        moment += step
        wall = moment.astimezone(tz).replace(tzinfo=None)
        expected = previous + step
        while expected < wall:  # the clock jumped over these
            if expected.second == 0:
                skipped.append(expected)
            expected += step
        if wall.second == 0:
            minutes.append(Minute(moment, wall, wall in seen, tuple(skipped)))
            seen.add(wall)
            skipped = []
        previous = wall
    return minutes


def expected_slots(expression: str, minutes: list[Minute], *, debian: bool = False) -> list[datetime]:
    """The instants of a walked window at which an expression runs, by our rules or by Debian cron's.

    Debian's differ in two words only: an expression is wild when its minute *or* hour field starts with a star, and the two
    day fields mean «both» when either of them starts with a star.
    """
    fields = expression.lower().split()
    allowed = [values(field, index) for index, field in enumerate(fields)]
    wild = any(field.startswith("*") for field in fields[:2]) if debian else is_wild(fields[1], allowed[1])
    starred = any(field.startswith("*") for field in (fields[2], fields[4]))
    whole = len(allowed[2]) == 31 or len(allowed[4]) == 7
    both = starred if debian else whole
    dates: dict[date, bool] = {}

    def matches(wall: datetime) -> bool:
        if wall.minute not in allowed[0] or wall.hour not in allowed[1]:
            return False
        day = wall.date()
        if day not in dates:
            dates[day] = matches_date(day, allowed, both)
        return dates[day]

    found = []
    for minute in minutes:
        here = matches(minute.wall)
        once = (here and not minute.repeated) or any(matches(wall) for wall in minute.skipped)
        if here if wild else once:
            found.append(minute.at)
    return found


def is_wild(hour_field: str, hours: set[int]) -> bool:
    """Wildcard hours, as docs/cron.md defines them."""
    bases = [term.split("/")[0] for term in hour_field.split(",")]
    return len(hours) == 24 or "*" in bases or "0-23" in bases


def matches_date(day: date, allowed: list[set[int]], both: bool) -> bool:
    """Whether month and day fields allow a date."""
    if day.month not in allowed[3]:
        return False
    by_month, by_week = day.day in allowed[2], (day.weekday() + 1) % 7 in allowed[4]
    return (by_month and by_week) if both else (by_month or by_week)


def values(field: str, index: int) -> set[int]:
    """The values a field allows."""
    low, high = LIMITS[index]
    found: set[int] = set()
    for term in field.split(","):
        base, _, step = term.partition("/")
        if base == "*":
            first, last = low, high
        elif "-" in base:
            left, right = base.split("-")
            first, last = number(left, index), number(right, index)
            if index == 4 and right == "sun":
                last = 7
        else:
            first = last = number(base, index)
        found.update(range(first, last + 1, int(step or 1)))
    return {value % 7 for value in found} if index == 4 else found


def number(text: str, index: int) -> int:
    """A value, by number or name."""
    if index == 3 and text in MONTHS:
        return MONTHS.index(text) + 1
    if index == 4 and text in DAYS:
        return DAYS.index(text)
    return int(text)
