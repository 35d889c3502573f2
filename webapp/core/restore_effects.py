"""What a restore of files does to the names at its target, or would: counted by kind, and in words."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeAlias

from webapp.core.text import format_count


class Effect(StrEnum):
    """What becomes of a name at the target. Skipped: it is of a kind that is not put there."""

    CREATED = "created"
    CHANGED = "changed"
    ATTRIBUTES = "attributes"
    DELETED = "deleted"
    SKIPPED = "skipped"


# As the engine has them, and as they are stored.
Counts: TypeAlias = Mapping[Effect, int] | Mapping[str, int]
# For one thing and for several; what they did, and what they would do.
_DONE = {
    Effect.CREATED: ("was created", "were created"),
    Effect.CHANGED: ("was overwritten", "were overwritten"),
    Effect.ATTRIBUTES: ("got another owner, mode or time", "got other owners, modes or times"),
    Effect.DELETED: ("was removed", "were removed"),
    Effect.SKIPPED: ("was left out", "were left out"),
}
_TRIED = {
    Effect.CREATED: ("would be created", "would be created"),
    Effect.CHANGED: ("would be overwritten", "would be overwritten"),
    Effect.ATTRIBUTES: ("would get another owner, mode or time", "would get other owners, modes or times"),
    Effect.DELETED: ("would be removed", "would be removed"),
    Effect.SKIPPED: ("would be left out", "would be left out"),
}


def effects_in_words(counts: Counts, *, dry_run: bool) -> list[str]:
    """A phrase for each thing that happens at all: "2 would be created", "1 got another owner, mode or time"."""
    words = _TRIED if dry_run else _DONE
    return [
        f"{format_count(number)} {words[effect][number != 1]}" for effect in Effect if (number := counts.get(effect, 0))
    ]


def count_changed(counts: Counts) -> int:
    """How many names are changed in any way at the target, or would be."""
    return sum(number for effect, number in counts.items() if effect != Effect.SKIPPED)
