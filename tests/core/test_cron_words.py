"""Schedules as sentences, and the editor's builder as a round trip."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.test_cron_against_oracle import can_run, random_expression
from webapp.core.cron import BuilderMode, CronError, build, describe, detect, parse
from webapp.core.cron_words import EVEN_HOURS

MINUTES, HOURS = st.integers(0, 59), st.integers(0, 23)
PARTS = st.one_of(
    st.fixed_dictionaries({"mode": st.just("hourly"), "minute": MINUTES, "every_hours": st.sampled_from(EVEN_HOURS)}),
    st.fixed_dictionaries({"mode": st.just("daily"), "minute": MINUTES, "hour": HOURS}),
    st.fixed_dictionaries(
        {
            "mode": st.just("weekly"),
            "minute": MINUTES,
            "hour": HOURS,
            "weekdays": st.sets(st.integers(1, 7), min_size=1).map(lambda days: tuple(sorted(days))),
        }
    ),
    st.fixed_dictionaries(
        {"mode": st.just("monthly"), "minute": MINUTES, "hour": HOURS, "day_of_month": st.integers(1, 31)}
    ),
)


@given(PARTS)
def test_the_editor_shows_again_what_was_built_with_it(parts: dict[str, Any]) -> None:
    expression = build(**parts)

    state = detect(expression)

    assert {name: getattr(state, name) for name in parts} == parts
    assert state.expression == expression


@pytest.mark.parametrize("seed", range(200))
def test_any_expression_comes_back_from_the_editor_unchanged(seed: int) -> None:
    dice = random.Random(seed)
    expression = random_expression(dice, datetime(2027, dice.randint(1, 12), dice.randint(1, 28), tzinfo=UTC))
    if not can_run(expression):
        return
    state = detect(expression)

    rebuilt = build(
        state.mode,
        minute=state.minute,
        hour=state.hour,
        every_hours=state.every_hours,
        weekdays=state.weekdays,
        day_of_month=state.day_of_month,
        expression=state.expression,
    )

    same, other = parse(rebuilt), parse(expression)
    assert same.fixed_hours == other.fixed_hours
    assert same.canonical == other.canonical
    assert describe(other)


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("30 2 * * *", "Every day at 02:30"),
        ("5 * * * *", "Every hour at minute 5"),
        ("0 */6 * * *", "Every 6 hours at minute 0"),
        ("0 4 * * 1,4", "Mondays and Thursdays at 04:00"),
        ("30 2 * * 1-6", "Mondays to Saturdays at 02:30"),
        ("30 2 * * 1-5,7", "Mondays to Fridays and Sundays at 02:30"),
        ("30 2 * * MON,WED,FRI", "Mondays, Wednesdays and Fridays at 02:30"),
        ("30 2 * * 0-6", "Every day at 02:30"),
        ("30 1 1 * *", "On day 1 of every month at 01:30"),
        ("30 1 31 * *", "On day 31 of every month that has one at 01:30"),
        ("@weekly", "Sundays at 00:00"),
        ("* * * * *", "Every minute"),
        ("*/5 * * * *", "Every 5 minutes"),
        ("0 */5 * * *", "Every 5 hours"),
        ("0 0 1 * 1", "At 00:00, on day 1 of the month, or on Monday"),
        ("0 0 1-31 * 1", "Mondays at 00:00"),
        ("0 2,14 * * *", "At 02:00 and 14:00"),
    ],
)
def test_a_schedule_is_said_in_english(expression: str, sentence: str) -> None:
    assert describe(parse(expression)) == sentence


def test_what_no_simple_face_can_show_is_shown_raw() -> None:
    for expression in ("*/5 * * * *", "0 */5 * * *", "0 0 1 * 1", "0 2,14 * * *", "0 2 1 1 *"):
        assert detect(expression).mode is BuilderMode.CRON
        assert detect(expression).expression == expression


@pytest.mark.parametrize(
    "parts",
    [
        {"mode": "secondly"},
        {"mode": "hourly", "every_hours": 5},
        {"mode": "hourly", "every_hours": 0},
        {"mode": "hourly", "minute": 60},
        {"mode": "daily", "hour": 24},
        {"mode": "daily", "minute": -1},
        {"mode": "weekly", "weekdays": ()},
        {"mode": "weekly", "weekdays": (0,)},
        {"mode": "monthly", "day_of_month": 32},
        {"mode": "cron", "expression": ""},
        {"mode": "cron", "expression": "0 0 31 2 *"},
    ],
)
def test_impossible_parts_are_refused(parts: dict[str, Any]) -> None:
    with pytest.raises(CronError):
        build(**parts)
