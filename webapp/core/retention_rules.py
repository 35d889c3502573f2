"""Rules of retention that are combined: the newest, everything of some days, one of each hour, day, week, month or year.

A period is what the clock on the wall says in the job's time zone: the day begins at midnight there, the week on Monday
(ISO 8601). Of each period the newest archive that counts is kept, for as many periods *as have one*: a fortnight without
backups does not eat up fourteen dailies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any, Self
from zoneinfo import ZoneInfo

from webapp.core.errors import InvalidInput

MAX_VALUE = 36_500
_LAST_YEAR = 9_000


class RetentionError(InvalidInput, ValueError):
    """A policy that cannot be meant, with ``message`` and ``hint`` as sentences."""


class Period(StrEnum):
    """What one archive can stand for; the word is the rule's, and the reason's."""

    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"


def check_count(value: object, what: str, *, least: int = 1) -> int:
    """The value when it is a whole number from ``least`` to 36,500. Raises RetentionError."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MAX_VALUE:
        raise RetentionError(
            f"Retention cannot keep {str(value)[:20]} {what}.",
            hint=f"Use a whole number from {least} to {MAX_VALUE}.",
        )
    return value


@dataclass(frozen=True, slots=True)
class RetentionRules:
    """How many each rule keeps; 0 leaves a rule out. An archive stays when any rule wants it.

    Raises RetentionError unless each is a whole number from 0 to 36,500 and at least one is not 0.
    """

    last: int = 0
    within_days: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            check_count(getattr(self, field.name), f"as «{field.name}»", least=0)
        if not self.as_json():
            raise RetentionError("These rules keep nothing.", hint="Give at least one of them a number from 1 on.")

    @classmethod
    def from_json(cls, data: object) -> Self:
        """The rules as they were stored. Raises RetentionError, also for a rule that is not known."""
        if not isinstance(data, Mapping) or not set(data) <= set(RULE_NAMES):
            raise RetentionError(
                "The stored retention rules cannot be read.", hint="Set them anew in the job's editor."
            )
        return cls(**data)

    def as_json(self) -> dict[str, int]:
        """The rules in use, by name, in the order of the fields."""
        return {name: getattr(self, name) for name in RULE_NAMES if getattr(self, name)}

    @property
    def periods(self) -> dict[Period, int]:
        """The rules that count periods, finest first."""
        return {period: getattr(self, period.value) for period in Period if getattr(self, period.value)}

    def in_words(self) -> str:
        """«the last 3, 7 daily, 4 weekly, all of 2 days»."""
        said = {"last": "the last {}", "within_days": "all of {} days"}
        return ", ".join(said.get(name, f"{{}} {name}").format(count) for name, count in self.as_json().items())


RULE_NAMES = tuple(field.name for field in fields(RetentionRules))


@dataclass(frozen=True, slots=True)
class Stretch:
    """One period of the wall clock: what tells it from the others of its kind, and its name for people."""

    key: tuple[Any, ...]
    name: str


def stretch_of(period: Period, moment: datetime, zone: ZoneInfo) -> Stretch:
    """The period that a moment lies in. The hour that comes twice in autumn is two hours."""
    local = moment.astimezone(zone)
    if period is Period.HOURLY:
        return Stretch((local.date(), local.hour, local.utcoffset()), f"{local:%Y-%m-%d %H}:00")
    if period is Period.DAILY:
        return Stretch((local.date(),), f"{local:%Y-%m-%d}")
    if period is Period.WEEKLY:
        week = local.isocalendar()
        return Stretch((week.year, week.week), f"{week.year}-W{week.week:02}")
    if period is Period.MONTHLY:
        return Stretch((local.year, local.month), f"{local:%Y-%m}")
    return Stretch((local.year,), f"{local:%Y}")


def start_after(period: Period, moment: datetime, count: int, zone: ZoneInfo) -> datetime | None:
    """When the ``count``-th period after the moment's begins, in UTC; None when that is beyond all calendars."""
    local = moment.astimezone(zone)
    if period is Period.HOURLY:
        return local.replace(minute=0, second=0, microsecond=0).astimezone(UTC) + timedelta(hours=count)
    if period in (Period.DAILY, Period.WEEKLY):
        step = 1 if period is Period.DAILY else 7
        first = local.date() if period is Period.DAILY else local.date() - timedelta(days=local.weekday())
        return _midnight(first + timedelta(days=step * count), zone)
    months = local.year * 12 + local.month - 1 + count if period is Period.MONTHLY else (local.year + count) * 12
    if months // 12 > _LAST_YEAR:
        return None
    return _midnight(date(months // 12, months % 12 + 1, 1), zone)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
