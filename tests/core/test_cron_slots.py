"""The rules for clock changes by example, and what the editor says about them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from webapp.core.cron import (
    CronError,
    maximum_gap,
    minimum_gap,
    next_after,
    parse,
    preview,
    previous_or_at,
    slots_between,
)


def local_times(expression: str, zone: str, start: datetime, hours: int) -> list[str]:
    """What the clock on the wall shows, with its offset, at each slot of some hours."""
    cron, end = parse(expression), start + timedelta(hours=hours)
    return [f"{p.local:%d %H:%M %z}" for p in preview(cron, zone, start, 200) if p.at <= end]


PARIS_SPRING = datetime(2027, 3, 27, 23, 0, tzinfo=UTC)  # midnight before the gap 02:00-03:00
PARIS_AUTUMN = datetime(2027, 10, 30, 22, 0, tzinfo=UTC)  # midnight before 03:00 becomes 02:00


def test_a_skipped_time_runs_once_at_the_end_of_the_gap() -> None:
    assert local_times("30 2 * * *", "Europe/Paris", PARIS_SPRING, 30) == ["28 03:00 +0200", "29 02:30 +0200"]


def test_several_skipped_times_and_a_regular_one_at_that_minute_are_one_run() -> None:
    assert local_times("*/15 2,3 * * *", "Europe/Paris", PARIS_SPRING, 20) == [
        "28 03:00 +0200", "28 03:15 +0200", "28 03:30 +0200", "28 03:45 +0200",
    ]  # fmt: skip


def test_wildcard_hours_make_up_for_nothing() -> None:
    assert local_times("30 * * * *", "Europe/Paris", PARIS_SPRING, 4) == [
        "28 00:30 +0100", "28 01:30 +0100", "28 03:30 +0200", "28 04:30 +0200",
    ]  # fmt: skip


def test_a_repeated_time_runs_at_its_first_occurrence_with_fixed_hours() -> None:
    assert local_times("30 2 * * *", "Europe/Paris", PARIS_AUTUMN, 30) == ["31 02:30 +0200", "01 02:30 +0100"]
    assert local_times("*/30 2 * * *", "Europe/Paris", PARIS_AUTUMN, 20) == ["31 02:00 +0200", "31 02:30 +0200"]


def test_a_repeated_time_runs_at_both_occurrences_with_wildcard_hours() -> None:
    assert local_times("30 */2 * * *", "Europe/Paris", PARIS_AUTUMN, 6) == [
        "31 00:30 +0200", "31 02:30 +0200", "31 02:30 +0100", "31 04:30 +0100",
    ]  # fmt: skip


def test_half_hour_changes_midnight_changes_and_skipped_days_follow_the_same_rules() -> None:
    lord_howe = datetime(2027, 10, 2, 13, 30, tzinfo=UTC)  # 02:00 becomes 02:30 on 3 October
    cairo = datetime(2027, 4, 29, 20, 0, tzinfo=UTC)  # 00:00 becomes 01:00 on 30 April
    apia = datetime(2011, 12, 29, 10, 0, tzinfo=UTC)  # 30 December does not exist

    assert local_times("15 2 * * *", "Australia/Lord_Howe", lord_howe, 12) == ["03 02:30 +1100"]
    assert local_times("0 0 * * *", "Africa/Cairo", cairo, 30) == ["30 01:00 +0300", "01 00:00 +0300"]
    assert local_times("30 2 * * *", "Pacific/Apia", apia, 48) == ["29 02:30 -1000", "31 00:00 +1400", "31 02:30 +1400"]


def test_offsets_with_seconds_run_at_the_first_whole_minute() -> None:
    monrovia = datetime(
        1972, 1, 6, 12, 0, tzinfo=UTC
    )  # -00:44:30 becomes 0 at 00:00 of 7 January, which skips 00:00-00:44

    assert local_times("10 0 * * *", "Africa/Monrovia", monrovia, 40)[0] == "07 00:45 +0000"
    within = datetime(1972, 1, 7, 0, 44, 40, tzinfo=UTC)  # after the change, before the minute
    assert next_after(parse("10 0 * * *"), "Africa/Monrovia", within) == datetime(1972, 1, 7, 0, 45, tzinfo=UTC)


def test_both_day_fields_restricted_means_either() -> None:
    found = slots_between(
        parse("0 0 13 * FRI"), "UTC", datetime(2027, 8, 1, tzinfo=UTC), datetime(2027, 8, 31, tzinfo=UTC), 99
    )

    assert [slot.day for slot in found] == [6, 13, 20, 27]
    assert slots_between(parse("0 0 1-31 * FRI"), "UTC", found[0], found[-1], 99) == found[1:]


def test_leap_days_are_found_across_the_year_2100() -> None:
    assert next_after(parse("0 0 29 2 *"), "UTC", datetime(2096, 3, 1, tzinfo=UTC)) == datetime(2104, 2, 29, tzinfo=UTC)


def test_next_is_strictly_after_and_previous_may_be_now() -> None:
    cron, at = parse("30 2 * * *"), datetime(2027, 6, 1, 0, 30, tzinfo=UTC)

    assert next_after(cron, "Europe/Paris", at) == at + timedelta(days=1)
    assert next_after(cron, "Europe/Paris", at - timedelta(microseconds=1)) == at
    assert previous_or_at(cron, "Europe/Paris", at) == at
    assert previous_or_at(cron, "Europe/Paris", at - timedelta(microseconds=1)) == at - timedelta(days=1)
    assert previous_or_at(parse("0 0 29 2 *"), "UTC", at) == datetime(2024, 2, 29, tzinfo=UTC)


def test_slots_between_is_open_below_closed_above_and_limited() -> None:
    start = datetime(2027, 6, 1, tzinfo=UTC)

    assert slots_between(parse("0 * * * *"), "UTC", start, start + timedelta(hours=2), 99) == [
        start + timedelta(hours=1),
        start + timedelta(hours=2),
    ]
    assert len(slots_between(parse("* * * * *"), "UTC", start, start + timedelta(days=9), 7)) == 7


@pytest.mark.parametrize(
    ("expression", "zone", "start", "notes"),
    [
        ("30 2 * * *", "Europe/Paris", PARIS_SPRING, ["02:30 does not exist on 28 March 2027; runs at 03:00", ""]),
        ("30 2 * * *", "Europe/Paris", PARIS_AUTUMN, ["02:30 occurs twice on 31 October 2027; runs at the first", ""]),
        (
            "30 */2 * * *",
            "Europe/Paris",
            PARIS_AUTUMN,
            [""] + ["02:30 occurs twice on 31 October 2027; runs at both"] * 2,
        ),
        (
            "30 2 * * *",
            "Pacific/Apia",
            datetime(2011, 12, 29, 20, tzinfo=UTC),
            ["02:30 does not exist on 30 December 2011; runs at 00:00 on 31 December 2011", ""],
        ),
    ],
)
def test_the_preview_says_what_a_clock_change_does(
    expression: str, zone: str, start: datetime, notes: list[str]
) -> None:
    assert [p.note for p in preview(parse(expression), zone, start, len(notes))] == notes


def test_gaps_tell_how_old_a_backup_gets() -> None:
    workdays, now = parse("0 2 * * 1-5"), datetime(2027, 6, 1, tzinfo=UTC)

    assert minimum_gap(workdays, "UTC", now) == timedelta(days=1)
    assert maximum_gap(workdays, "UTC", now) == timedelta(days=3)


def test_a_naive_instant_is_a_mistake_and_the_far_future_an_error() -> None:
    with pytest.raises(ValueError, match="aware"):
        next_after(parse("0 0 * * *"), "UTC", datetime(2027, 1, 1))  # noqa: DTZ001 (that is the point)
    with pytest.raises(CronError, match="year 9000"):
        next_after(parse("0 0 * * *"), "UTC", datetime(9500, 1, 1, tzinfo=UTC))


def test_a_clock_set_to_1970_or_2038_changes_nothing() -> None:
    for year in (1970, 2038):
        now = datetime(year, 1, 19, 3, 14, 8, tzinfo=UTC)
        assert next_after(parse("30 2 * * *"), "UTC", now) == datetime(year, 1, 20, 2, 30, tzinfo=UTC)


def test_a_thousand_next_slots_take_well_under_a_second_of_processor_time() -> None:
    cron, now = parse("30 2 * * 1-5"), datetime(2027, 6, 1, tzinfo=UTC)
    begun = time.process_time()

    for minute in range(1000):
        next_after(cron, "Europe/Brussels", now + timedelta(minutes=minute))

    assert time.process_time() - begun < 2
