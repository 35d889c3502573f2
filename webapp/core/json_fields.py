"""What the fields of a manifest may hold, asked of values as read from JSON, none of which is trusted."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from webapp.core.errors import ArchiveError
from webapp.core.reports import CheckState
from webapp.core.status import ErrorCode

Rule = Callable[[object], bool]


def require_fields(data: object, own: tuple[str, int], rules: Mapping[str, Rule], *, whose: str) -> dict[str, Any]:
    """The values of a manifest of ``own`` (format, version), which has exactly the fields that ``rules`` has, each as it may be.

    ``whose`` ("archive") is for the sentence. Raises ArchiveError for anything else.
    """
    if not isinstance(data, dict):
        raise _wrong(whose, "it is not an object")
    form, version = own
    if data.get("format") != form:
        raise _wrong(whose, "it is not one of Holdfast's")
    if data.get("version") != version:
        raise _wrong(whose, f"its version is {data.get('version')!r}, and this Holdfast reads version {version}")
    differing = (set(data) - {"format", "version"}) ^ set(rules)
    if differing:
        raise _wrong(whose, f"these fields are missing or unknown: {', '.join(sorted(map(str, differing)))}")
    for name, is_right in rules.items():
        if not is_right(data[name]):
            raise _wrong(whose, f"the field {name} has no value that it may have")
    return {name: data[name] for name in rules}


def _wrong(whose: str, why: str) -> ArchiveError:
    return ArchiveError(f"The {whose}'s manifest cannot be used: {why}.", code=ErrorCode.CORRUPT)


def is_count(value: object) -> bool:
    """A whole number from 0; a truth value is none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_optional_count(value: object) -> bool:
    """A count, or nothing."""
    return value is None or is_count(value)


def is_number(value: object) -> bool:
    """A finite number from 0; a truth value is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def is_text(value: object) -> bool:
    """A text, also an empty one."""
    return isinstance(value, str)


def is_list_of_text(value: object) -> bool:
    """A list of nothing but texts."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def is_map_of_text(value: object) -> bool:
    """An object of nothing but texts."""
    return isinstance(value, dict) and all(isinstance(item, str) for pair in value.items() for item in pair)


def is_digest(value: object) -> bool:
    """A SHA-256 in small hexadecimal digits."""
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def is_time(value: object) -> bool:
    """An ISO 8601 time with its zone, within the years that UTC has."""
    if not isinstance(value, str):
        return False
    try:
        moment = datetime.fromisoformat(value)
        moment.astimezone(UTC)  # at the edge of the calendar there is none
    except (ValueError, OverflowError):
        return False
    return moment.tzinfo is not None


def is_list_of_warnings(value: object) -> bool:
    """A list of objects with a code and a message."""
    return isinstance(value, list) and all(is_map_of_text(item) and set(item) == {"code", "message"} for item in value)


def is_verification(value: object) -> bool:
    """What ``verification_summary`` keeps, or nothing."""
    if value is None:
        return True
    if not isinstance(value, dict) or set(value) != {"level", "passed", "checks"}:
        return False
    checks = value["checks"]
    return (
        isinstance(value["level"], str)
        and isinstance(value["passed"], bool)
        and isinstance(checks, list)
        and all(map(_is_check, checks))
    )


def _is_check(value: object) -> bool:
    texts = ("key", "title", "state")
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(name), str) for name in texts)
        and value["state"] in [state.value for state in CheckState]
    )
