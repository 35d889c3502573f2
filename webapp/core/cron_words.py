"""Cron in words, and the editor's builder: a form state becomes an expression and an expression a form state."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypedDict, Unpack

from cron_descriptor import ExpressionDescriptor, Options

from webapp.core.cron_grammar import DAY_NAMES, Cron, CronError, parse

DAYS_OF_WEEK = 7
SHORTEST_MONTH = 28
EVEN_HOURS = (1, 2, 3, 4, 6, 8, 12)  # what divides a day: any other step leaves a shorter gap at midnight


class BuilderMode(StrEnum):
    """The five faces of the schedule editor."""

    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    CRON = "cron"


class BuilderParts(TypedDict, total=False):
    """The parts of a builder's state, by keyword; see BuilderState."""

    minute: int
    hour: int
    every_hours: int
    weekdays: tuple[int, ...]
    day_of_month: int
    expression: str


@dataclass(frozen=True, slots=True)
class BuilderState:
    """What the editor shows; parts that the mode does not use keep their defaults.

    Attributes:
        weekdays: 1 (Monday) to 7 (Sunday), ascending.
        expression: The expression itself, for the raw field.
    """

    mode: BuilderMode
    minute: int = 0
    hour: int = 2
    every_hours: int = 1
    weekdays: tuple[int, ...] = (1,)
    day_of_month: int = 1
    expression: str = ""


def build(mode: str, **parts: Unpack[BuilderParts]) -> str:
    """The normalised expression for a builder's parts; raises CronError for a mode or part that is not possible."""
    state = BuilderState(_mode(mode), **parts)
    return parse(_BUILDERS[state.mode](state)).expression


def detect(expression: str) -> BuilderState:
    """The builder's state that shows an expression; mode ``cron`` when no simpler face can."""
    text = parse(expression).expression
    for read in (_read_hourly, _read_daily, _read_weekly, _read_monthly):
        state = read(text)
        if state is not None:
            return state
    return BuilderState(BuilderMode.CRON, expression=text)


def describe(cron: Cron) -> str:
    """One English sentence without a full stop, times in 24 hours."""
    state = detect(cron.unrestricted)
    if state.mode is BuilderMode.CRON:
        return _describe_freely(cron)
    return _SENTENCES[state.mode](state)


def _mode(mode: str) -> BuilderMode:
    try:
        return BuilderMode(mode)
    except ValueError:
        raise CronError("This kind of schedule does not exist.", hint="Choose one of the five.") from None


def _build_hourly(state: BuilderState) -> str:
    if state.every_hours not in EVEN_HOURS:
        choices = ", ".join(map(str, EVEN_HOURS))
        raise CronError(
            f"Every {state.every_hours} hours does not fit into a day.", hint=f"Choose one of {choices} hours."
        )
    return f"{state.minute} {'*' if state.every_hours == 1 else f'*/{state.every_hours}'} * * *"


def _build_weekly(state: BuilderState) -> str:
    days = sorted(set(state.weekdays))
    if not days or not all(1 <= day <= DAYS_OF_WEEK for day in days):
        raise CronError("No day of the week is chosen.", hint="Choose at least one day.")
    terms = []
    for first, last in _stretches(days):
        terms.append(f"{first}-{last}" if last - first > 1 else ",".join(map(str, range(first, last + 1))))
    return f"{state.minute} {state.hour} * * {','.join(terms)}"


def _stretches(days: list[int]) -> list[tuple[int, int]]:
    """Neighbouring days as (first, last)."""
    found: list[tuple[int, int]] = []
    for day in days:
        if found and found[-1][1] == day - 1:
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found


_BUILDERS: dict[BuilderMode, Callable[[BuilderState], str]] = {
    BuilderMode.HOURLY: _build_hourly,
    BuilderMode.DAILY: lambda state: f"{state.minute} {state.hour} * * *",
    BuilderMode.WEEKLY: _build_weekly,
    BuilderMode.MONTHLY: lambda state: f"{state.minute} {state.hour} {state.day_of_month} * *",
    BuilderMode.CRON: lambda state: state.expression,
}


def _read_hourly(text: str) -> BuilderState | None:
    match = re.fullmatch(r"(\d+) \*(?:/(\d+))? \* \* \*", text)
    if match is None or int(match[2] or 1) not in EVEN_HOURS:
        return None
    return BuilderState(BuilderMode.HOURLY, minute=int(match[1]), every_hours=int(match[2] or 1), expression=text)


def _read_daily(text: str) -> BuilderState | None:
    match = re.fullmatch(r"(\d+) (\d+) \* \* \*", text)
    if match is None:
        return None
    return BuilderState(BuilderMode.DAILY, minute=int(match[1]), hour=int(match[2]), expression=text)


def _read_weekly(text: str) -> BuilderState | None:
    match = re.fullmatch(r"(\d+) (\d+) \* \* ([^*/]+)", text)
    if match is None:
        return None
    days = tuple(sorted(day or DAYS_OF_WEEK for day in parse(text).weekdays))
    return BuilderState(BuilderMode.WEEKLY, minute=int(match[1]), hour=int(match[2]), weekdays=days, expression=text)


def _read_monthly(text: str) -> BuilderState | None:
    match = re.fullmatch(r"(\d+) (\d+) (\d+) \* \*", text)
    if match is None:
        return None
    return BuilderState(
        BuilderMode.MONTHLY, minute=int(match[1]), hour=int(match[2]), day_of_month=int(match[3]), expression=text
    )


def _say_hourly(state: BuilderState) -> str:
    step = "hour" if state.every_hours == 1 else f"{state.every_hours} hours"
    return f"Every {step} at minute {state.minute}"


def _say_weekly(state: BuilderState) -> str:
    if len(state.weekdays) == DAYS_OF_WEEK:
        return f"Every day at {_time(state)}"
    words: list[str] = []
    for first, last in _stretches(list(state.weekdays)):
        if last - first > 1:
            words.append(f"{_weekday(first)} to {_weekday(last)}")
        else:
            words.extend(_weekday(day) for day in range(first, last + 1))
    listed = ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else words[0]
    return f"{listed} at {_time(state)}"


def _say_monthly(state: BuilderState) -> str:
    months = "every month" if state.day_of_month <= SHORTEST_MONTH else "every month that has one"
    return f"On day {state.day_of_month} of {months} at {_time(state)}"


_SENTENCES: dict[BuilderMode, Callable[[BuilderState], str]] = {
    BuilderMode.HOURLY: _say_hourly,
    BuilderMode.DAILY: lambda state: f"Every day at {_time(state)}",
    BuilderMode.WEEKLY: _say_weekly,
    BuilderMode.MONTHLY: _say_monthly,
}


def _time(state: BuilderState) -> str:
    return f"{state.hour:02d}:{state.minute:02d}"


def _weekday(day: int) -> str:
    return f"{DAY_NAMES[day % DAYS_OF_WEEK]}s"


def _describe_freely(cron: Cron) -> str:
    """cron-descriptor's sentence; the locale is fixed, or it would follow the operating system's."""
    options = Options()
    options.use_24hour_time_format = True
    options.locale_code = "en_US"
    return str(ExpressionDescriptor(cron.unrestricted, options))
