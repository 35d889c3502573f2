"""What every verb has: a context, an answer for people and for programs, and words for tables."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from webapp.core.actors import SHELL, Actor
from webapp.core.errors import InvalidInput
from webapp.core.plans import Secret
from webapp.core.status import TaskStatus
from webapp.core.text import format_ago, format_size, strip_controls
from webapp.services.tasks import get_task
from webapp.settings import Settings
from webapp.store.db import release

LOOK_EVERY_SECONDS = 0.5

Parsers = Any  # argparse has no public name for what add_subparsers() returns


@dataclass(frozen=True, slots=True)
class Answer:
    """What a verb says: ``data`` as JSON, ``text`` for people, and the exit code."""

    data: Any
    text: str
    code: int = 0


@dataclass(frozen=True, slots=True)
class Context:
    """What a verb works with."""

    settings: Settings
    actor: Actor = field(default=SHELL)

    def now(self) -> datetime:
        """The clock of this door."""
        return datetime.now(UTC)


Verb = Callable[[Context, argparse.Namespace], Answer]


def add_noun(parsers: Parsers, name: str, help_text: str) -> Parsers:
    """A noun; returns where its verbs go."""
    noun = parsers.add_parser(name, help=help_text, description=help_text, allow_abbrev=False)
    return noun.add_subparsers(dest="verb", required=True, metavar="VERB")


def add_verb(
    parsers: Parsers, name: str, run: Verb, help_text: str, *, with_json: bool = True, database: str = "migrated"
) -> argparse.ArgumentParser:
    """A verb. ``database``: "migrated" (it must be), "any" (an app is made, nothing is checked), or "none"."""
    parser: argparse.ArgumentParser = parsers.add_parser(
        name,
        help=help_text,
        description=help_text,
        allow_abbrev=False,  # else --password would be taken for --password-file
    )
    parser.set_defaults(run=run, database=database, json=False)
    if with_json:
        parser.add_argument("--json", action="store_true", help="answer as JSON")
    return parser


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], *, none: str) -> str:
    """Columns under their heads; the sentence ``none`` when there are no rows."""
    cells = [[strip_controls(str(value)) for value in row] for row in rows]
    if not cells:
        return none
    widths = [max(len(line[number]) for line in [list(heads), *cells]) for number in range(len(heads))]
    lines = [heads, ["-" * width for width in widths], *cells]
    return "\n".join(
        "  ".join(value.ljust(width) for value, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Names and values below each other; empty values are left out."""
    shown = [(name, strip_controls(str(value))) for name, value in pairs if value not in ("", None)]
    width = max((len(name) for name, _ in shown), default=0)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in shown)


def moment(at: datetime | None) -> str | None:
    """A time as JSON says it."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def ago(at: datetime | None, now: datetime) -> str:
    """A time as a table says it."""
    return "never" if at is None else format_ago(at, now)


def size(size_bytes: int | None) -> str:
    """A size as a table says it."""
    return "-" if size_bytes is None else format_size(size_bytes)


def number_from_one(text: str) -> int:
    """The type of an argument such as ``--limit``. Raises ArgumentTypeError."""
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:12]) <= 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1,000,000,000")
    return int(text)


def add_password_options(parser: argparse.ArgumentParser) -> None:
    """Where a password comes from; never the command line, which every user of the machine can read."""
    parser.add_argument(
        "--password-file",
        metavar="FILE",
        help="read the password from this file, - for standard input; otherwise you are asked for it",
    )


def read_password(arguments: argparse.Namespace) -> Secret:
    """The password from a file, standard input or a prompt. Raises InvalidInput."""
    path: str | None = arguments.password_file
    if path is not None and path != "-":
        return Secret(read_text(path).rstrip("\r\n"))
    if path is not None or not sys.stdin.isatty():
        return Secret(sys.stdin.readline().rstrip("\r\n"))
    first = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != first:
        raise InvalidInput("The two passwords differ.", field="password")
    return Secret(first)


def read_text(path: str) -> str:
    """A file's text, - for standard input. Raises InvalidInput."""
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not text'}.") from None


def read_fields(path: str, known: Iterable[str]) -> dict[str, Any]:
    """A JSON object of known fields from a file. Raises InvalidInput naming what is wrong."""
    try:
        found = json.loads(read_text(path))
    except ValueError as error:
        raise InvalidInput(f"{path} is not JSON: {error}.") from None
    if not isinstance(found, dict):
        raise InvalidInput(f"{path} must hold one JSON object.")
    unknown = sorted(set(found) - set(known))
    if unknown:
        raise InvalidInput(
            f"{path} has unknown fields: {', '.join(unknown)}.", hint=f"Known: {', '.join(sorted(known))}."
        )
    return found


def add_wait_option(parser: argparse.ArgumentParser) -> None:
    """For verbs that ask a worker for something."""
    parser.add_argument("--wait", action="store_true", help="wait until it has ended; exit code 1 when it failed")


def wait_until_final(task_ids: Sequence[int]) -> bool:
    """Whether all tasks ended well, once they have ended."""
    left, good = set(task_ids), True
    while left:
        for task_id in sorted(left):
            status = TaskStatus(get_task(task_id).status)
            if status.is_final:
                left.discard(task_id)
                good = good and status is not TaskStatus.FAILED
        release()
        if left:
            time.sleep(LOOK_EVERY_SECONDS)
    return good
