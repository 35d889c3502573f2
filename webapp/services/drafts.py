"""What people typed, checked field by field: every refusal is kept, so that a form can show all of them at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, TypeVar

from webapp.core.errors import Conflict, InvalidInput

Value = TypeVar("Value")
Word = TypeVar("Word", bound=StrEnum)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_CONTROLS_BUT_LINES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class InvalidDraft(InvalidInput):
    """One or more fields cannot be used; as a sentence it is the first of ``problems``."""

    def __init__(self, problems: Iterable[InvalidInput]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        super().__init__(first.message, field=first.field, hint=first.hint)


class StaleDraft(Conflict):
    """Another person saved the thing since the form was opened. ``current_version`` is what it has now."""

    def __init__(self, what: str, current_version: int) -> None:
        super().__init__(
            f"{what} was changed by someone else since you opened this form.",
            hint="Your entries are still here. Compare them with the saved values, then save again to replace those.",
        )
        self.current_version = current_version


class DraftCheck:
    """Collects the refusals of one draft. ``finish`` raises InvalidDraft when there were any."""

    def __init__(self) -> None:
        self.problems: list[InvalidInput] = []

    def refuse(self, field: str, message: str, hint: str = "") -> None:
        """Keep one refusal."""
        self.problems.append(InvalidInput(message, field=field, hint=hint))

    def take(self, field: str, read: Callable[..., Value], *values: Any, default: Value) -> Value:
        """``read(*values)``, or ``default`` with the refusal kept under ``field``."""
        try:
            return read(*values)
        except InvalidInput as error:
            self.refuse(field, error.message, error.hint)
            return default

    def text(self, field: str, value: str, *, label: str, most: int, needed: bool = False) -> str:
        """One line of text, trimmed."""
        clean = value.strip()
        if not clean and needed:
            self.refuse(field, f"{label} is missing.")
        elif len(clean) > most:
            self.refuse(field, f"{label} is longer than {most} characters.")
        elif _CONTROLS.search(clean):
            self.refuse(field, f"{label} holds characters that do not belong there.", "Type it again by hand.")
        return clean

    def lines(self, field: str, value: str, *, label: str, most: int) -> str:
        """Text of several lines."""
        clean = value.replace("\r\n", "\n").strip()
        if len(clean) > most:
            self.refuse(field, f"{label} is longer than {most} characters.")
        elif _CONTROLS_BUT_LINES.search(clean):
            self.refuse(field, f"{label} holds characters that do not belong there.")
        return clean

    def number(self, field: str, value: str, *, label: str, low: int, high: int) -> int:
        """A whole number within its bounds; ``low`` when refused."""
        clean = value.strip()
        if clean.isascii() and clean.isdigit() and len(clean) < 12 and low <= int(clean) <= high:
            return int(clean)
        self.refuse(field, f"{label} must be a whole number from {low} to {high}.")
        return low

    def word(self, field: str, value: str, words: type[Word], *, label: str) -> Word:
        """One of the stored words; the first of them when refused."""
        try:
            return words(value)
        except ValueError:
            self.refuse(field, f"{label}: choose one of the options.")
            return next(iter(words))

    def finish(self) -> None:
        """Raise InvalidDraft when anything was refused."""
        if self.problems:
            raise InvalidDraft(self.problems)
