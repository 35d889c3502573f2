"""What stops retention altogether: a clock that cannot be right, and more than anybody meant to lose at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from webapp.core.text import format_duration

CLOCK_TOLERANCE = timedelta(minutes=5)
LARGEST_LEAP = timedelta(days=3)
CAP_COUNT = 10
CAP_SHARE = 5  # one in five


def judge_clock(now: datetime, last_seen_at: datetime | None) -> str:
    """Why the clock cannot be believed, as a sentence: it went back, or days ahead at once. "" when it can."""
    if last_seen_at is None:
        return ""
    today, seen = _words(now), _words(last_seen_at)
    if now < last_seen_at - CLOCK_TOLERANCE:
        return (
            f"The clock went backward: it says {today}, and it was {seen} before. "
            "Nothing is deleted until a person confirms it."
        )
    if now > last_seen_at + LARGEST_LEAP:
        leap = format_duration((now - last_seen_at).total_seconds())
        return (
            f"The clock is {leap} ahead of the last time that was seen ({seen}): it was changed, or Holdfast did not run. "
            "Nothing is deleted until a person confirms it."
        )
    return ""


def cap_of(count: int) -> int:
    """How many of ``count`` archives of a database may go without a person's word: ten, or a fifth if that is more."""
    return max(CAP_COUNT, count // CAP_SHARE)


def _words(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
