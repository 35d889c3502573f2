"""The sentinel: quiet over normal histories, loud when data is gone, encrypted, or in other hands."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webapp.core.sentinel import MOST_TABLES, Fingerprint, Severity, compare, largest_tables
from webapp.core.status import ErrorCode

MIB = 1024 * 1024
TABLES = {"public.res_partner": 1200, "public.account_move": 8000, "public.mail_message": 60_000, "public.res_lang": 40}
NORMAL = Fingerprint(
    size_bytes=700 * MIB,
    row_total=sum(TABLES.values()),
    table_count=640,
    tables=TABLES,
    attachment_count=4000,
    mismatched=0,
    dump_plain=500 * MIB,
    dump_packed=90 * MIB,
    files_plain=800 * MIB,
    files_packed=610 * MIB,
    sampled=3900,
    opaque=40,
    administrators=("admin", "alice"),
)
HISTORY = [NORMAL] * 10


def scaled(one: Fingerprint, factor: float) -> Fingerprint:
    """Everything grew or shrank alike."""
    names = ("size_bytes", "row_total", "attachment_count", "sampled", "opaque")
    names += ("dump_plain", "dump_packed", "files_plain", "files_packed")
    values = {name: round(getattr(one, name) * factor) for name in names}
    return replace(one, **values, tables={name: round(rows * factor) for name, rows in (one.tables or {}).items()})


def codes(newest: Fingerprint, history: list[Fingerprint] = HISTORY) -> dict[ErrorCode, Severity]:
    return {finding.code: finding.severity for finding in reversed(compare(newest, history))}


def blows(newest: Fingerprint, history: list[Fingerprint] = HISTORY) -> set[ErrorCode]:
    return {finding.code for finding in compare(newest, history) if finding.severity is Severity.BLOW}


def test_the_same_again_is_no_news() -> None:
    assert compare(NORMAL, HISTORY) == ()
    assert compare(NORMAL, []) == ()


@given(
    steps=st.lists(st.floats(0.97, 1.10), min_size=1, max_size=30), noise=st.lists(st.floats(0.97, 1.03), min_size=31)
)
@settings(max_examples=200, deadline=None)
def test_growing_and_slowly_shrinking_databases_are_left_alone(steps: list[float], noise: list[float]) -> None:
    history = [NORMAL]
    level = 1.0
    for step, shake in zip(steps, noise, strict=False):
        level *= step
        history.append(scaled(NORMAL, level * shake))

    for number in range(1, len(history)):
        assert compare(history[number], history[:number]) == ()


def test_incompressible_files_may_be_added_in_any_number() -> None:
    videos = 2000 * MIB
    more = replace(
        NORMAL,
        size_bytes=NORMAL.size_bytes + videos,
        files_plain=(NORMAL.files_plain or 0) + videos,
        files_packed=(NORMAL.files_packed or 0) + videos,
    )

    assert compare(more, HISTORY) == ()


def test_a_quarter_less_than_usual_is_a_warning_and_less_than_half_a_blow() -> None:
    smaller = replace(NORMAL, size_bytes=int(NORMAL.size_bytes * 0.72))
    collapsed = replace(NORMAL, size_bytes=int(NORMAL.size_bytes * 0.4))

    assert codes(smaller) == {ErrorCode.SIZE_COLLAPSED: Severity.WARNING}
    assert codes(collapsed) == {ErrorCode.SIZE_COLLAPSED: Severity.BLOW}
    assert "60% less than usual" in compare(collapsed, HISTORY)[0].text


def test_a_collapse_is_told_once_and_also_in_two_steps() -> None:
    half = scaled(NORMAL, 0.4)

    assert ErrorCode.SIZE_COLLAPSED in blows(half)
    assert compare(half, [*HISTORY, half]) == ()
    assert ErrorCode.SIZE_COLLAPSED in blows(scaled(NORMAL, 0.45), [*HISTORY, scaled(NORMAL, 0.7)])


def test_one_emptied_table_is_a_blow_whatever_the_total_says() -> None:
    emptied = replace(NORMAL, tables={name: rows for name, rows in TABLES.items() if "res_partner" not in name})

    (finding,) = compare(emptied, HISTORY)

    assert (finding.code, finding.severity) == (ErrorCode.ROWS_COLLAPSED, Severity.BLOW)
    assert "public.res_partner (usually 1\u202f200 rows)" in finding.text


def test_half_a_table_is_a_warning() -> None:
    assert codes(replace(NORMAL, tables=TABLES | {"public.res_partner": 500})) == {
        ErrorCode.ROWS_COLLAPSED: Severity.WARNING
    }


def test_queues_and_tables_that_come_and_go_may_be_empty() -> None:
    history = [replace(NORMAL, tables=TABLES | {"public.bus_bus": 900, "public.work": 300 + 200 * n}) for n in range(5)]

    assert compare(NORMAL, history) == ()


def test_small_tables_may_do_what_they_like() -> None:
    assert compare(replace(NORMAL, tables={n: r for n, r in TABLES.items() if n != "public.res_lang"}), HISTORY) == ()


def test_files_that_are_not_what_their_name_says_are_a_blow_even_in_the_first_archive() -> None:
    assert blows(replace(NORMAL, mismatched=1), []) == {ErrorCode.CONTENT_CHANGED}


def test_files_that_were_damaged_before_are_not_told_again() -> None:
    rotten = replace(NORMAL, mismatched=2)

    assert compare(rotten, [*HISTORY, rotten]) == ()
    assert blows(replace(NORMAL, mismatched=3), [*HISTORY, rotten]) == {ErrorCode.CONTENT_CHANGED}


@pytest.mark.parametrize(("share", "severity"), [(0.15, Severity.WARNING), (0.9, Severity.BLOW)])
def test_text_that_no_longer_compresses_was_encrypted(share: float, severity: Severity) -> None:
    plain, packed = NORMAL.dump_plain or 0, NORMAL.dump_packed or 0
    encrypted = replace(NORMAL, dump_packed=round(packed + share * (plain - packed) * 1.25))

    assert codes(encrypted) == {ErrorCode.CONTENT_CHANGED: severity}


def test_base64_of_encrypted_text_is_seen_though_the_dump_grew() -> None:
    plain = NORMAL.dump_plain or 0

    encrypted = replace(NORMAL, dump_plain=int(plain * 1.35), dump_packed=plain)

    assert blows(encrypted) == {ErrorCode.CONTENT_CHANGED}


def test_a_filestore_of_photos_that_was_encrypted_is_seen_by_its_beginnings() -> None:
    photos = replace(NORMAL, files_packed=NORMAL.files_plain)

    assert blows(replace(photos, opaque=3800), [photos] * 3) == {ErrorCode.CONTENT_CHANGED}


def test_a_new_administrator_is_named_once() -> None:
    taken = replace(NORMAL, administrators=("admin", "alice", "mallory"))

    (finding,) = compare(taken, HISTORY)

    assert (finding.code, finding.severity) == (ErrorCode.NEW_ADMINISTRATORS, Severity.BLOW)
    assert finding.text.endswith("mallory.")
    assert compare(taken, [*HISTORY, taken]) == ()
    assert compare(replace(NORMAL, administrators=("alice",)), HISTORY) == ()


def test_blows_come_before_warnings() -> None:
    both = replace(NORMAL, size_bytes=int(NORMAL.size_bytes * 0.7), administrators=("mallory",))

    assert [finding.severity for finding in compare(both, HISTORY)] == [Severity.BLOW, Severity.WARNING]


def test_what_is_not_known_is_not_compared() -> None:
    bare = Fingerprint(size_bytes=NORMAL.size_bytes)

    assert compare(bare, HISTORY) == ()
    assert compare(NORMAL, [bare] * 3) == ()


def test_a_fingerprint_survives_its_json_and_fields_of_later_versions() -> None:
    assert Fingerprint.from_json(NORMAL.as_json() | {"colour": "red"}) == NORMAL
    assert Fingerprint.from_json({}) is None


def test_a_fingerprint_keeps_the_largest_tables_only() -> None:
    kept = largest_tables({f"public.t{number}": number for number in range(1000)})

    assert len(kept) == MOST_TABLES
    assert min(kept.values()) == 800
