"""Names we make are safe, unique where they must be, and can be read back."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.core.errors import InvalidInput
from webapp.core.naming import (
    archive_base_name,
    archive_directory_name,
    check_database_name,
    parse_archive_directory_name,
    queue_task_id,
    run_queue_id,
    safe_database_name,
    slugify,
    unique_slug,
)

AT = datetime(2027, 3, 28, 2, 5, 9, tzinfo=UTC)
HOSTILE = [
    "../x",
    "a/b",
    "-d",
    ".hidden",
    "a=b",
    "postgresql://x@y",
    "a b",
    "a\nb",
    "é",
    "\u202eabc",
    "x" * 63,
    "$(id)",
    "a'b",
    "..",
]
NAMES = st.text(min_size=1, max_size=63).filter(lambda s: "\0" not in s)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Acme Prod", "acme-prod"),
        ("  Café & Co. -- Überwald ", "cafe-co-uberwald"),
        ("客户", "unnamed"),
        ("", "unnamed"),
        ("---", "unnamed"),
        ("x" * 63 + " y", "x" * 63),
    ],
)
def test_a_slug_is_lower_case_ascii(name: str, slug: str) -> None:
    assert slugify(name) == slug


@given(st.text(max_size=200), st.integers(0, 12))
def test_slugs_are_short_plain_and_unique(name: str, others: int) -> None:
    taken: set[str] = set()
    for _ in range(others + 1):
        slug = unique_slug(name, taken)
        assert slug not in taken
        assert re.fullmatch(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?", slug)
        taken.add(slug)


def test_the_second_of_a_name_gets_a_number() -> None:
    assert unique_slug("Acme", {"acme", "acme-2"}) == "acme-3"


def test_an_archive_is_named_by_utc_and_database() -> None:
    brussels_summer = timezone(timedelta(hours=2))

    assert archive_base_name(AT, "acme_prod") == "20270328-020509_acme_prod"
    assert archive_base_name(AT.astimezone(brussels_summer), "acme_prod") == "20270328-020509_acme_prod"
    assert archive_directory_name(AT, "acme_prod", 418, 3) == "20270328-020509_acme_prod_r418f3"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_database_names_become_harmless_and_stay_apart(name: str) -> None:
    safe = safe_database_name(name)

    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}", safe)
    assert safe_database_name(safe) == safe
    assert len({safe_database_name(other) for other in HOSTILE}) == len(HOSTILE)
    assert safe_database_name("a_b") != safe_database_name("a b")


@given(NAMES, st.integers(1, 10**9), st.integers(0, 10**6), st.datetimes(min_value=datetime(1000, 1, 1)))  # noqa: DTZ001 (made aware below)
def test_a_directory_name_is_read_back(database: str, run_id: int, fence: int, moment: datetime) -> None:
    taken_at = moment.replace(microsecond=0, tzinfo=UTC)

    name = archive_directory_name(taken_at, database, run_id, fence)

    parsed = parse_archive_directory_name(name)
    assert parsed is not None
    assert (parsed.taken_at, parsed.run_id, parsed.fence) == (taken_at, run_id, fence)
    assert parsed.safe_database == safe_database_name(database)
    assert "/" not in name
    assert len(name.encode()) < 200


@given(st.text(alphabet="0123456789-_rf.aX/\n", max_size=40))
def test_only_names_of_our_making_are_read(name: str) -> None:
    parsed = parse_archive_directory_name(name)

    assert (
        parsed is None
        or archive_directory_name(parsed.taken_at, parsed.safe_database, parsed.run_id, parsed.fence) == name
    )


@pytest.mark.parametrize(
    "name",
    [
        "20270328-020509_a_r418",
        "20270328-020509_a_r0418f3",
        "20270328-020509_a_r418f03",
        "20270328-020509_a_r0f3",
        "20271328-020509_a_r1f1",
        "20270328-250509_a_r1f1",
        "20270328-020509__r1f1/",
        "20270328-020509_.a_r1f1",
        "20270328-020509_-a_r1f1",
        "20270328-020509_a b_r1f1",
        "20270328-020509_a_r1f1\n",
        "20270328-020509_" + "a" * 81 + "_r1f1",
        "x20270328-020509_a_r1f1",
        ".tmp",
    ],
)
def test_names_that_only_look_like_ours_are_not_read(name: str) -> None:
    assert parse_archive_directory_name(name) is None


def test_queue_ids_are_readable_and_name_the_attempt() -> None:
    assert run_queue_id(418) == "run-418"
    assert run_queue_id(418, 2) == "run-418-2"
    assert queue_task_id("fan_out", 7, 1) == "fan_out-7"


@pytest.mark.parametrize(
    ("kind", "task_id", "attempt"), [("", 1, 1), ("a:b", 1, 1), ("a.b", 1, 1), ("run", 0, 1), ("run", 1, 0)]
)
def test_queue_ids_hold_nothing_that_rq_refuses(kind: str, task_id: int, attempt: int) -> None:
    with pytest.raises(ValueError, match="not a task"):
        queue_task_id(kind, task_id, attempt)


@pytest.mark.parametrize("name", [*HOSTILE, "é" * 31, "😀" * 15])
def test_every_name_that_postgresql_allows_is_allowed(name: str) -> None:
    assert check_database_name(name) == name


@pytest.mark.parametrize(
    ("name", "part"),
    [("", "empty"), ("a\0b", "NUL"), ("x" * 64, "64 bytes"), ("é" * 32, "64 bytes"), ("\ud800", "valid text")],
)
def test_names_that_no_database_has_are_refused(name: str, part: str) -> None:
    with pytest.raises(InvalidInput, match=part):
        check_database_name(name)
