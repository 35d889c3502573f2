"""What the fields of a manifest may hold, and what is said of one that is anything else."""

from __future__ import annotations

import pytest

from webapp.core.errors import ArchiveError
from webapp.core.json_fields import (
    Rule,
    is_count,
    is_digest,
    is_list_of_text,
    is_list_of_warnings,
    is_map_of_text,
    is_number,
    is_optional_count,
    is_text,
    is_time,
    is_verification,
    require_fields,
)

OWN = ("holdfast-thing", 1)
RULES: dict[str, Rule] = {"size": is_count, "name": is_text}
CHECK = {"key": "digest", "title": "Digest", "state": "passed"}
RIGHT = {"format": "holdfast-thing", "version": 1, "size": 7, "name": "x"}


def verified(*checks: object) -> dict[str, object]:
    return {"level": "intact", "passed": True, "checks": list(checks)}


@pytest.mark.parametrize(
    ("rule", "right", "wrong"),
    [
        (is_count, [0, 7], [-1, 1.5, True, None, "7"]),
        (is_optional_count, [None, 0], [-1, False, ""]),
        (is_number, [0, 1.5], [-0.1, True, "1", None, float("nan"), float("inf")]),
        (is_text, ["", "x"], [None, 1, b"x"]),
        (is_list_of_text, [[], ["x"]], ["x", ["x", 1], None, {}]),
        (is_map_of_text, [{}, {"a": "b"}], [{"a": 1}, [], None]),
        (is_digest, ["ab" * 32], ["AB" * 32, "ab" * 31, "", None, "ab" * 32 + "\n"]),
        (is_time, ["2026-11-22T02:15:00+00:00", "2026-11-22T02:15:00Z"], ["2026-11-22T02:15:00", "today", 7, None]),
        (is_time, ["0001-01-01T12:00:00+01:00"], ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"]),
        (is_list_of_warnings, [[], [{"code": "x", "message": "y"}]], [None, [{"code": "x"}], [1], [{"a": "b"}]]),
        (is_verification, [None, verified(), verified(CHECK)], [{}, [], verified(1), verified({"state": "passed"})]),
        (is_verification, [verified(CHECK | {"state": "failed"})], [verified(CHECK | {"state": "perfect"})]),
    ],
)
def test_a_rule_takes_what_is_right_and_nothing_else(rule: Rule, right: list[object], wrong: list[object]) -> None:
    assert [value for value in right if not rule(value)] == []
    assert [value for value in wrong if rule(value)] == []


def test_the_fields_come_back_without_the_formats_own() -> None:
    assert require_fields(RIGHT, OWN, RULES, whose="thing") == {"size": 7, "name": "x"}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ([], "it is not an object"),
        ({"format": "other"}, "it is not one of Holdfast's"),
        (RIGHT | {"version": 2}, "its version is 2, and this Holdfast reads version 1"),
        (RIGHT | {"more": 1}, "these fields are missing or unknown: more"),
        ({"format": "holdfast-thing", "version": 1, "size": 7}, "these fields are missing or unknown: name"),
        (RIGHT | {"size": -1}, "the field size has no value that it may have"),
    ],
)
def test_anything_else_is_refused_with_the_reason(data: object, why: str) -> None:
    with pytest.raises(ArchiveError) as refused:
        require_fields(data, OWN, RULES, whose="thing")

    assert refused.value.message == f"The thing's manifest cannot be used: {why}."
