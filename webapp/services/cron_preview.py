"""What a schedule means: a sentence, the next runs in its zone, and how far apart they are. Writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from webapp.core.cron import Cron, CronError, Preview, describe, maximum_gap, minimum_gap, parse, preview, validate_zone

DEFAULT_COUNT = 5
MOST_COUNT = 20


@dataclass(frozen=True, slots=True)
class CronPreview:
    """A schedule in words and in times.

    Attributes:
        sentence: English, without a full stop.
        runs: The next runs, ascending.
        longest_gap: The longest time between two runs: how old the newest backup gets when all goes well.
    """

    expression: str
    time_zone: str
    sentence: str
    runs: tuple[Preview, ...]
    shortest_gap: timedelta
    longest_gap: timedelta


def preview_cron(expression: str, time_zone: str, *, count: int = DEFAULT_COUNT, now: datetime) -> CronPreview:
    """The next ``count`` (1 to 20) runs. Raises CronError with the field "cron" or "time_zone"."""
    try:
        cron = parse(expression)
    except CronError as error:
        raise CronError(error.message, field="cron", hint=error.hint) from None
    try:
        validate_zone(time_zone)
    except CronError as error:
        raise CronError(error.message, field="time_zone", hint=error.hint) from None
    if not 1 <= count <= MOST_COUNT:
        raise CronError(f"count must be a number from 1 to {MOST_COUNT}.", field="count")
    return preview_of(cron, time_zone, count=count, now=now)


def preview_of(cron: Cron, time_zone: str, *, count: int, now: datetime) -> CronPreview:
    """As ``preview_cron``, for what has been read already."""
    return CronPreview(
        expression=cron.expression,
        time_zone=time_zone,
        sentence=describe(cron),
        runs=tuple(preview(cron, time_zone, now, count)),
        shortest_gap=minimum_gap(cron, time_zone, now),
        longest_gap=maximum_gap(cron, time_zone, now),
    )
