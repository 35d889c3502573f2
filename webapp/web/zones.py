"""Time zones to choose from."""

from __future__ import annotations

from functools import cache
from zoneinfo import available_timezones


@cache
def zone_names() -> tuple[str, ...]:
    """Every IANA zone that names a place, and UTC, in order. Old aliases such as "EST" are left out."""
    names = {
        name for name in available_timezones() if "/" in name and not name.startswith(("Etc/", "SystemV/", "posix/"))
    }
    return ("UTC", *sorted(names))


def zone_choices(*, with_default: bool = False) -> dict[str, str]:
    """Choices for a select field, value → words; ``with_default`` puts "as the installation" first."""
    found = {name: name.replace("_", " ") for name in zone_names()}
    return {"": "As the installation"} | found if with_default else found
