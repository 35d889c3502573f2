"""What may be written as a schedule, and what the answer to the rest is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.core.cron import CronError, parse, validate_zone


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("30 2 * * *", "30 2 * * *"),
        ("  05\t02  *  *  * \n", "5 2 * * *"),
        ("0 0 * jan-mar mon", "0 0 * JAN-MAR MON"),
        ("5-5 0 * * MON-MON", "5 0 * * MON"),
        ("@hourly", "0 * * * *"),
        ("@Daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
    ],
)
def test_an_expression_is_kept_in_one_form(written: str, kept: str) -> None:
    assert parse(written).expression == kept
    assert parse(kept) == parse(written)


@pytest.mark.parametrize(
    ("expression", "fixed"),
    [
        ("30 2 * * *", True),
        ("* 2 * * *", True),
        ("*/5 1-3 * * *", True),
        ("0 1-23/2 * * *", True),
        ("0 * * * *", False),
        ("0 */2 * * *", False),
        ("0 0-23 * * *", False),
        ("0 0-23/6 * * *", False),
        ("0 0-11,12-23 * * *", False),
        ("0 1,* * * *", False),
    ],
)
def test_hours_are_fixed_unless_the_hour_field_runs_over_the_whole_day(expression: str, fixed: bool) -> None:
    assert parse(expression).fixed_hours is fixed


def test_sunday_is_0_and_7_and_can_end_a_range() -> None:
    assert parse("0 0 * * 7").weekdays == (0,)
    assert parse("0 0 * * 5-7").weekdays == (0, 5, 6)
    assert parse("0 0 * * FRI-SUN").weekdays == (0, 5, 6)
    assert parse("0 0 * * SUN-TUE").weekdays == (0, 1, 2)
    assert parse("0 0 * * 1-7").weekdays == (0, 1, 2, 3, 4, 5, 6)


REFUSED = [
    ("", "is empty"),
    ("* * * *", "4 fields"),
    ("30", "1 field,"),
    ("0 0 0 * * *", "6 fields"),
    ("0 0 1 1 * 2027 *", "7 fields"),
    ("@reboot", "@reboot"),
    ("@every 5m", "@every"),
    ("0 0 L * *", "L in the day of month field"),
    ("0 0 LW * *", "LW"),
    ("0 0 15W * *", "15W"),
    ("0 0 * * 5L", "5L"),
    ("0 0 * * L5", "L5"),
    ("0 0 * * MON#1", "MON#1"),
    ("0 0 ? * *", "?"),
    ("H H * * *", "H in the minute field"),
    ("R * * * *", "R in the minute field"),
    ("H(0-29)/10 * * * *", "H(0-29)/10"),
    ("5/15 * * * *", "different programs"),
    ("*/60 * * * *", "step"),
    ("*/0 * * * *", "step"),
    ("1-5/9 * * * *", "step"),
    ("0 */24 * * *", "step"),
    ("60 * * * *", "60"),
    ("0 24 * * *", "24"),
    ("0 0 0 * *", "0 is not possible"),
    ("0 0 32 * *", "32"),
    ("0 0 * 13 *", "13"),
    ("0 0 * * 8", "8"),
    ("22-2 0 * * *", "backwards"),
    ("1,,2 * * * *", "empty item"),
    ("*-5 * * * *", "*-5"),
    ("-1 * * * *", "-1"),
    ("1.5 * * * *", "1.5"),
    ("MON * * * *", "MON"),
    ("0 0 * MON *", "MON"),
    ("0\n0 * * *", "characters"),
    ("0 0 * * *; rm -rf /", "8 fields"),
    ("٣ * * * *", "characters"),
    ("0\u00a00 * * *", "characters"),
    ("0,1," * 60 + "2 * * * *", "longer than 200"),
    ("9" * 150 + " * * * *", "not possible"),
    ("0 0 31 2 *", "There is no 31 February, so this would never run."),
    ("30 2 31 11 *", "There is no 31 November, so this would never run."),
    ("0 0 30,31 2 *", "There is no 30 February"),
    ("0 0 31 4,6,9,11 *", "None of these months has a day 31"),
    ("0 0 31 2 0-6", "There is no 31 February"),
]


@pytest.mark.parametrize(("expression", "part"), REFUSED)
def test_what_is_not_defined_is_refused_in_a_sentence_with_a_hint(expression: str, part: str) -> None:
    with pytest.raises(CronError) as caught:
        parse(expression)

    assert part.lower() in caught.value.message.lower()
    assert caught.value.message.endswith(".")
    assert caught.value.hint.endswith(".")
    assert len(caught.value.message) < 150
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("expression", ["0 0 29 2 *", "0 0 31 2 1", "0 0 31 1-2 *", "0 0 28-31 2 *"])
def test_rare_dates_are_accepted(expression: str) -> None:
    parse(expression)


@given(st.text(max_size=60) | st.text(alphabet="0123456789*/,-LW#?HR@ MONJA\t", max_size=40))
def test_any_text_is_either_understood_or_refused_in_a_sentence(text: str) -> None:
    try:
        kept = parse(text).expression
    except CronError as error:
        said = error.message
    else:
        said = "." if parse(kept) == parse(text) else "not the same again"

    assert said.endswith(".")


@pytest.mark.parametrize("name", ["UTC", "Europe/Brussels", "America/Argentina/Buenos_Aires", "Etc/GMT+5"])
def test_zones_of_the_database_are_known(name: str) -> None:
    assert validate_zone(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Europe",
        "Mars/Base",
        "../UTC",
        "/etc/passwd",
        "zone.tab",
        "right/UTC",
        "localtime",
        "UTC\0",
        "a" * 5000,
        "UTC+2",
    ],
)
def test_other_zone_names_are_refused(name: str) -> None:
    with pytest.raises(CronError, match="not a known time zone"):
        validate_zone(name)
