"""Values as people read them, and foreign text without tricks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.core.text import (
    format_ago,
    format_count,
    format_duration,
    format_files_and_links,
    format_size,
    plural,
    strip_controls,
    tail_lines,
    truncate_middle,
)

NOW = datetime(2027, 6, 15, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1536, "1.54 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (812_000_000, "812 MB"),
        (5_020_000_000, "5.02 GB"),
        (118_400_000_000, "118 GB"),
        (1_400_000_000_000, "1.4 TB"),
        (-2000, "-2 kB"),
        (10**22, "10000 EB"),
    ],
)
def test_sizes_are_decimal_with_three_digits(size: int, text: str) -> None:
    assert format_size(size) == text.replace(" ", "\u00a0")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "under 1 s"),
        (0.4, "under 1 s"),
        (1, "1 s"),
        (58, "58 s"),
        (59.6, "1 min"),
        (60, "1 min"),
        (65, "1 min 05 s"),
        (461, "7 min 41 s"),
        (3599.7, "1 h"),
        (7380, "2 h 03 min"),
        (86_399, "1 d"),
        (187_200, "2 d 4 h"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("age", "text"),
    [
        (timedelta(seconds=3), "just now"),
        (timedelta(seconds=-44), "in under 1 min"),
        (timedelta(seconds=50), "1 min ago"),
        (timedelta(minutes=12), "12 min ago"),
        (timedelta(minutes=-12), "in 12 min"),
        (timedelta(minutes=59, seconds=45), "1 h ago"),
        (timedelta(hours=8, minutes=5), "8 h ago"),
        (timedelta(days=2, hours=4), "2 d 4 h ago"),
        (timedelta(days=3), "3 d ago"),
        (timedelta(days=40, hours=5), "40 d ago"),
        (timedelta(days=-2), "in 2 d"),
    ],
)
def test_distances_are_said_as_people_say_them(age: timedelta, text: str) -> None:
    assert format_ago(NOW - age, NOW) == text


def test_counts_have_thin_spaces_and_words_their_number() -> None:
    assert format_count(1_234_567) == "1\u202f234\u202f567"
    assert format_count(999) == "999"


def test_files_and_links_are_counted_together() -> None:
    assert format_files_and_links(1) == "1 file or link"
    assert format_files_and_links(1291) == "1\u202f291 files and links"
    assert [plural(n, "run", "runs") for n in (0, 1, 2)] == ["runs", "run", "runs"]


def test_the_middle_is_what_a_long_name_loses() -> None:
    assert truncate_middle("abcdefghij", 5) == "ab…ij"
    assert truncate_middle("abcdefghij", 6) == "ab…hij"
    assert truncate_middle("abc", 3) == "abc"
    assert truncate_middle("abc", 1) == "…"
    assert truncate_middle("abc", 0) == ""


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07shown", "shown"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\x00b\x08c\x7fd\x85e", "abcde"),
        ("one\r\ntwo\rthree\tfour\n", "one\ntwo\nthree\tfour\n"),
        ("safe\u202egnp.exe", "safegnp.exe"),
        ("\u2066x\u2069\u200f", "x"),
        ("\x9b31mred", "red"),
        ("\x1b(Bplain", "plain"),
        ("\ud800", "\ufffd"),
        ("Überwald 客户 😀", "Überwald 客户 😀"),
    ],
)
def test_escapes_controls_and_direction_tricks_go(text: str, clean: str) -> None:
    assert strip_controls(text) == clean


@given(st.text(max_size=300))
def test_what_is_left_can_be_printed_and_is_left_alone_the_second_time(text: str) -> None:
    clean = strip_controls(text, 100)

    assert len(clean) <= 100
    assert not [c for c in clean if (ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0]
    assert strip_controls(clean, 100) == clean


def test_a_huge_hostile_text_is_cut_first() -> None:
    assert len(strip_controls("\x1b]" * 5_000_000 + "x", 1000)) <= 1000


def test_the_tail_is_kept_because_the_cause_stands_there() -> None:
    text = "\n".join(f"line {n}" for n in range(100)) + "\n\n"

    assert tail_lines(text, 2, 100) == "line 98\nline 99"
    assert tail_lines(text, 2, 6) == "…ne 99"
    assert tail_lines(text, 0, 100) == ""
    assert tail_lines(text, 2, 0) == ""
