"""What a person may say to rsync beyond what Holdfast says itself: options from a short list, patterns, and paths."""

from __future__ import annotations

import re
from collections.abc import Sequence

from webapp.core.errors import InvalidInput
from webapp.core.path_text import path_bytes

MAX_OPTIONS = 20
MAX_LENGTH = 1024
# What every snapshot is pulled with anyway. Accepted, because people bring their options along, and left out.
ALWAYS_ON = frozenset(
    {
        *("-a", "--archive", "-H", "--hard-links", "--numeric-ids", "--delete", "--delete-excluded", "--fake-super"),
        *("--partial", "-s", "--secluded-args", "--protect-args", "--relative", "-R", "--ignore-errors"),
    }
)
_SIZE = re.compile(r"[0-9]{1,15}(\.[0-9]{1,3})?([KMGTP]i?B?)?", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,4}")
_SUFFIXES = re.compile(r"[A-Za-z0-9_./\[\]-]{1,500}")
# Each option that may be given, with the form of its value; None for none.
_ALLOWED: dict[str, re.Pattern[str] | None] = {
    "--compress": None,
    "--compress-choice": re.compile("zstd|lz4|zlibx|zlib|none"),
    "--compress-level": re.compile("[0-9]|1[0-9]|2[0-2]"),
    "--skip-compress": _SUFFIXES,
    "--whole-file": None,
    "--no-whole-file": None,
    "--checksum": None,
    "--sparse": None,
    "--cvs-exclude": None,
    "--prune-empty-dirs": None,
    "--max-size": _SIZE,
    "--min-size": _SIZE,
    "--modify-window": _NUMBER,
    "--omit-dir-times": None,
    "--no-devices": None,
    "--no-specials": None,
    "--no-inc-recursive": None,
    "--open-noatime": None,
}
_SHORT = {
    "-z": "--compress",
    "-W": "--whole-file",
    "-c": "--checksum",
    "-S": "--sparse",
    "-C": "--cvs-exclude",
    "-m": "--prune-empty-dirs",
    "-O": "--omit-dir-times",
}
_CONTROLS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


def check_options(words: Sequence[str]) -> tuple[str, ...]:
    """The options as they are given to rsync: long, each once, in their order, without those that are always given.

    Raises InvalidInput for any that is not on the list, so that none can name a file, a program or another direction.
    """
    if len(words) > MAX_OPTIONS:
        raise InvalidInput(f"At most {MAX_OPTIONS} rsync options can be given.", field="rsync_options")
    checked = [_check_option(word.strip()) for word in words if word.strip() not in ALWAYS_ON and word.strip()]
    return tuple(dict.fromkeys(checked))


def allowed_options() -> tuple[str, ...]:
    """The options a person may give, as they are written: for the form's hint and the docs."""
    return tuple(name if form is None else f"{name}=…" for name, form in _ALLOWED.items())


def _check_option(word: str) -> str:
    name, equals, value = word.partition("=")
    name = _SHORT.get(name, name)
    if name not in _ALLOWED:
        raise InvalidInput(
            f"The rsync option {word[:80]!r} is not one that can be given here.",
            field="rsync_options",
            hint=f"These can: {', '.join(allowed_options())}.",
        )
    form = _ALLOWED[name]
    if form is None and equals:
        raise InvalidInput(f"The rsync option {name} takes no value.", field="rsync_options")
    if form is not None and not form.fullmatch(value):
        hint = "Write it as one word: --name=value."
        raise InvalidInput(f"The rsync option {name} needs a value that rsync knows.", field="rsync_options", hint=hint)
    return f"{name}{equals}{value}"


def check_pattern(text: str) -> str:
    """One include or exclude pattern as rsync knows them. Raises InvalidInput for what is none."""
    if not text.strip():
        raise InvalidInput("A pattern must not be empty.", field="excludes")
    _check_text(text, "pattern", "excludes")
    return text


def check_host_path(text: str) -> str:
    """One absolute path of a host, without a slash at its end. Raises InvalidInput."""
    _check_text(text, "path", "paths")
    if not text.startswith("/"):
        raise InvalidInput(
            f"The path {text[:80]!r} must be absolute.", field="paths", hint="Write it with a leading /."
        )
    parts = [part for part in text.split("/") if part]
    if any(part in (".", "..") for part in parts):
        raise InvalidInput(f"The path {text[:80]!r} must not hold «.» or «..».", field="paths")
    return "/" + "/".join(parts)


def _check_text(text: str, what: str, field: str) -> None:
    if len(path_bytes(text)) > MAX_LENGTH:
        raise InvalidInput(f"A {what} can have at most {MAX_LENGTH} bytes.", field=field)
    if _CONTROLS.search(text):
        raise InvalidInput(f"A {what} must be one line of plain text: {text[:80]!r}.", field=field)
