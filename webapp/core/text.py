"""Values as people read them, and foreign text made safe to show. English, no clock, no locale."""

from __future__ import annotations

import re
from datetime import datetime

NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"
THIN_SPACE = "\N{NARROW NO-BREAK SPACE}"
_SIZE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_JUST_NOW_SECONDS = 45
_DAYS_WITH_HOURS = 7
_MAX_SHOWN = 20_000
# ECMA-48 control sequences (CSI), strings ended by BEL or ST (OSC, DCS, ...), and two-character escapes.
_ANSI = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]?|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?|\x9b[0-?]*[ -/]*[@-~]?"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_LONE_SURROGATES = re.compile("[\ud800-\udfff]")


def format_size(size_bytes: int) -> str:
    """A size with three significant digits in decimal units and a no-break space: `5.02 GB`, `812 MB`, `0 B`."""
    sign, value = ("-", -size_bytes) if size_bytes < 0 else ("", size_bytes)
    amount = float(value)
    for unit in _SIZE_UNITS:
        text = str(value) if unit == "B" else _three_digits(amount)
        if float(text) < 1000 or unit == _SIZE_UNITS[-1]:
            break
        amount /= 1000
    return f"{sign}{text}{NO_BREAK_SPACE}{unit}"


def _three_digits(amount: float) -> str:
    """Rounded to three significant digits, no trailing zeros after the point; `1000` where rounding reaches it."""
    decimals = next((d for d, limit in ((2, 9.995), (1, 99.95)) if amount < limit), 0)
    text = f"{amount:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_duration(seconds: float) -> str:
    """A length of time in its two largest units: `58 s`, `7 min 41 s`, `2 h 03 min`, `2 d 4 h`, or `under 1 s`."""
    if seconds < 1:
        return "under 1 s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return _two_units(whole, (_MINUTE, "min"), (1, "s"))
    whole = _nearest(seconds, _MINUTE)
    if whole < _DAY:
        return _two_units(whole, (_HOUR, "h"), (_MINUTE, "min"))
    return _two_units(_nearest(seconds, _HOUR), (_DAY, "d"), (_HOUR, "h"))


def _nearest(seconds: float, unit: int) -> int:
    return round(seconds / unit) * unit


def _two_units(seconds: int, large: tuple[int, str], small: tuple[int, str]) -> str:
    """Both parts, the small one with two digits below the hour mark and left out when it is zero."""
    count, rest = divmod(seconds, large[0])
    part = rest // small[0]
    if not part:
        return f"{count} {large[1]}"
    return f"{count} {large[1]} {part:02d} {small[1]}" if small[1] != "h" else f"{count} {large[1]} {part} {small[1]}"


def format_ago(then: datetime, now: datetime) -> str:
    """The distance between two aware instants: `just now`, `12 min ago`, `8 h ago`, `2 d 4 h ago`, `in 12 min`."""
    seconds = (now - then).total_seconds()
    if abs(seconds) < _JUST_NOW_SECONDS:
        return "just now" if seconds >= 0 else "in under 1 min"
    text = _distance(abs(seconds))
    return f"{text} ago" if seconds > 0 else f"in {text}"


def _distance(seconds: float) -> str:
    """One unit, two for the first days."""
    minutes, hours = round(seconds / _MINUTE), round(seconds / _HOUR)
    if minutes < 60:
        return f"{max(minutes, 1)} min"
    if hours < 24:
        return f"{hours} h"
    if hours < _DAYS_WITH_HOURS * 24:
        return _two_units(hours * _HOUR, (_DAY, "d"), (_HOUR, "h"))
    return f"{round(seconds / _DAY)} d"


def format_count(number: int) -> str:
    """A whole number with a thin no-break space between thousands."""
    return f"{number:,}".replace(",", THIN_SPACE)


def format_files_and_links(number: int) -> str:
    """What a snapshot counts of all that is no directory, devices and pipes too: `1 file or link`, `1 291 files and links`."""
    return f"{format_count(number)} {plural(number, 'file or link', 'files and links')}"


def plural(number: int, one: str, many: str) -> str:
    """The word alone that fits a number: ``one`` for 1, else ``many``."""
    return one if number == 1 else many


def truncate_middle(text: str, limit: int) -> str:
    """At most ``limit`` characters, with `…` in place of the middle."""
    if len(text) <= limit:
        return text
    if limit <= 1:
        return "…"[:limit]
    head = (limit - 1) // 2
    return f"{text[:head]}…{text[len(text) - (limit - 1 - head) :]}"


def strip_controls(text: str, limit: int = _MAX_SHOWN) -> str:
    """Foreign text without escapes, controls (but newline and tab) and direction tricks, at most ``limit`` characters.

    Line ends of other systems, and carriage returns of progress displays, become newlines.
    """
    text = text[
        : limit * 4
    ]  # bounds the work; what is cut here could at best have filled up what was stripped before it
    text = _ANSI.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    text = _BIDI.sub("", _CONTROLS.sub("", text))
    text = _LONE_SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)
    return text if len(text) <= limit else text[: max(limit - 1, 0)] + "…"


def tail_lines(text: str, lines: int, max_chars: int) -> str:
    """The last lines, at most ``max_chars`` characters of them: the end is where the cause of a failure stands."""
    kept = "\n".join(text.rstrip().split("\n")[-lines:]) if lines > 0 else ""
    return kept if len(kept) <= max_chars else "…" + kept[len(kept) - max_chars + 1 :] if max_chars > 0 else ""
