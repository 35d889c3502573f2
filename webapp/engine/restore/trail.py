"""What a restore writes down before each step, so that whoever comes after a kill knows what to look for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from webapp.engine.restore.journal import Journal


@dataclass(frozen=True, slots=True)
class Trail:
    """Everything written down so far; each entry of the journal is the whole of it.

    Attributes:
        step: What was about to begin: create, load, files, place, bar, swap, exchange, done.
        new_oid: Of the database that is being loaded.
        old_oid: Of the database that is being replaced.
        old_allowed: Whether it let people in before.
        final_path: Where the filestore will lie; "" when none is restored.
        temporary_path: Where it is unpacked.
        kept_path: Where the replaced one goes.
        new_inode: Of the unpacked directory: tells it from the one it replaces, whatever they are called.
    """

    step: str = ""
    new_oid: int | None = None
    old_oid: int | None = None
    old_allowed: bool = True
    final_path: str = ""
    temporary_path: str = ""
    kept_path: str = ""
    new_inode: int | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of ``asdict``; an empty mapping is an empty trail."""
        known = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in known})


class TrailKeeper:
    """Writes the trail down durably, then remembers it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.trail = Trail()

    def before(self, step: str, **facts: Any) -> Trail:
        """To be called before the step; what the journal raises comes through, and then the step must not be made."""
        trail = replace(self.trail, step=step, **facts)
        # Remembered first: what the journal was told may be written even when it raises.
        self.trail = trail
        self._journal(asdict(trail))
        return trail
