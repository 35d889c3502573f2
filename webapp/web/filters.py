"""What templates can say without asking: filters for values as people read them, and our macros as globals.

``register(app)`` gives every template, and every block rendered alone:

- filters ``size duration ago when day clock iso count plural files_and_links trigger`` (None becomes an en dash), ``shown_path``
  and ``sent_path`` (a path for people, and for addresses);
- ``icon(name, cls)``, ``swap_morph``, ``htmx_config``, and ``poll(seconds)``, an hx-trigger that the setting
  UI_POLL_SCALE scales;
- the macros of templates/_macros/ as ``ui``, ``forms``, ``charts`` and ``banner``: no import needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flask import Flask, current_app

from webapp.core import text
from webapp.services.host_pages import speed_of
from webapp.services.retention_pages import draw_plan
from webapp.web import charts, htmx
from webapp.web.access import current_settings, request_time, signed_in
from webapp.web.file_paths import sent_path, shown_path
from webapp.web.icons import build_icon

NOTHING = "–"
MACROS = ("ui", "charts", "forms", "banner")


def register(app: Flask) -> None:
    """Attach everything to the app's templates. Call after ``app.jinja_env`` has its settings."""
    env = app.jinja_env
    env.filters.update(
        size=size, duration=duration, ago=ago, when=when, day=day, clock=clock, iso=iso, count=count, plural=text.plural
    )
    env.filters.update(files_and_links=files_and_links)
    env.filters.update(charts.FILTERS, trigger=trigger, retention_lines=draw_plan)
    env.filters.update(shown_path=shown_path, sent_path=sent_path, speed=speed)
    env.globals.update(
        icon=build_icon(Path(app.static_folder or "static") / "vendor" / "lucide"),
        poll=poll,
        swap_morph=htmx.SWAP_MORPH,
        htmx_config=htmx.CONFIG,
    )
    env.globals.update({name: Macros(name) for name in MACROS}, attributes=attributes)


@dataclass(frozen=True, slots=True)
class Macros:
    """The macros of one file in templates/_macros/, looked up when first used: blocks rendered alone see them too."""

    name: str

    def __getattr__(self, macro: str) -> Any:
        """The macro of that name. AttributeError (an undefined in Jinja) when the file has none."""
        return getattr(current_app.jinja_env.get_template(f"_macros/{self.name}.html").module, macro)


def attributes(field: Any, described_by: str, extra: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of a form field's input: what the template wants, and what ties it to its help and errors."""
    found = dict(extra)
    if described_by:
        found["aria-describedby"] = described_by
    if field.errors:
        found["aria-invalid"] = "true"
    return found


def poll(seconds: float) -> str:
    """An hx-trigger such as "every 3s". Tests scale it down by the setting UI_POLL_SCALE."""
    milliseconds = max(round(seconds * 1000 * float(current_app.config.get("UI_POLL_SCALE", 1))), 50)
    return f"every {milliseconds}ms" if milliseconds % 1000 else f"every {milliseconds // 1000}s"


def size(value: int | None) -> str:
    """`5.02 GB`."""
    return NOTHING if value is None else text.format_size(value)


def duration(value: float | None) -> str:
    """`7 min 41 s`, from seconds."""
    return NOTHING if value is None else text.format_duration(value)


def speed(record: Any) -> str:
    """`12.4 MB/s`, of a snapshot's transfer; "" where too little came to tell."""
    found = speed_of(record)
    return f"{text.format_size(int(found))}/s" if found else ""


def count(value: int | None) -> str:
    """`412 001`."""
    return NOTHING if value is None else text.format_count(value)


def files_and_links(value: int | None) -> str:
    """`1 291 files and links`: what a snapshot counts as new or gone."""
    return NOTHING if value is None else text.format_files_and_links(value)


def trigger(triggered_by: str) -> str:
    """Who or what started a task: "manual:alice" → `By alice`, "scheduled" → `Schedule`, "api:bob" → `API, bob`."""
    kind, _, who = triggered_by.partition(":")
    said = {
        "manual": f"By {who}",
        "api": f"API, {who}" if who else "API",
        "scheduled": "Schedule",
        "policy": "The job's rule",
    }
    return said.get(kind, triggered_by)


def ago(value: datetime | None, now: datetime | None = None) -> str:
    """`8 h ago`, `in 12 min`, against the time of this request."""
    return NOTHING if value is None else text.format_ago(value, now or request_time())


def when(value: datetime | None, zone: str = "") -> str:
    """`22 Nov 2026, 02:30:04 CET`: in the named zone, else the reader's, and always saying which."""
    return NOTHING if value is None else _say(value, zone, "%-d %b %Y, %H:%M:%S %Z")


def day(value: datetime | None, zone: str = "") -> str:
    """`Sun 22 Nov, 02:30`, with the year instead of the weekday when it is another one: short, for lists."""
    if value is None:
        return NOTHING
    this_year = value.year == request_time().year
    return _say(value, zone, "%a %-d %b, %H:%M" if this_year else "%-d %b %Y, %H:%M")


def clock(value: datetime | None, zone: str = "") -> str:
    """`02:30:04`, for log lines."""
    return NOTHING if value is None else _say(value, zone, "%H:%M:%S")


def iso(value: datetime) -> str:
    """RFC 3339 in UTC, for <time datetime>."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _say(value: datetime, zone: str, pattern: str) -> str:
    return value.astimezone(_zone(zone)).strftime(pattern)


def _zone(name: str) -> tzinfo:
    """The named zone, else the reader's, else the house's; UTC for a name that this machine does not know."""
    chosen = name or reader_zone()
    try:
        return ZoneInfo(chosen) if chosen else UTC
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def reader_zone() -> str:
    """The zone in which the one who asks reads times: their own choice, else the house's."""
    person = signed_in()
    return (person.time_zone if person else "") or current_settings().time_zone
