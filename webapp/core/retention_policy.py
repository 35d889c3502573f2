"""What retention decides on: the policy of a job, and the archives as the planner sees them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from webapp.core.retention_rules import RetentionError, RetentionRules, check_count
from webapp.core.status import ArchiveState, RetentionMode
from webapp.core.text import plural


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """How much is kept: the newest ``value`` archives, those not older than ``value`` days, or what ``rules`` want.

    ``value`` counts for the first two modes, ``rules`` and ``time_zone`` for the third. Raises RetentionError for a value
    that is not 1 to 36,500, and for rules that are missing.
    """

    mode: RetentionMode
    value: int = 1
    rules: RetentionRules | None = None
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        if self.mode not in tuple(RetentionMode):
            raise RetentionError(
                "This way of keeping backups does not exist.", hint="Choose a number, an age, or rules."
            )
        if self.mode != RetentionMode.RULES:
            check_count(self.value, self.unit)
        elif not isinstance(self.rules, RetentionRules):
            raise RetentionError("The rules of this retention are missing.", hint="Give at least one of them a number.")

    @property
    def unit(self) -> str:
        """What the value counts."""
        return "days" if self.mode == RetentionMode.OLDER_THAN_DAYS else "backups"

    def in_words(self) -> str:
        """«the last 7», «all of 30 days», or the rules."""
        if self.mode == RetentionMode.RULES and self.rules is not None:
            return self.rules.in_words()
        counted = self.mode == RetentionMode.KEEP_LAST_N
        return f"the last {self.value}" if counted else f"all of {self.value} {plural(self.value, 'day', 'days')}"

    def as_json(self) -> dict[str, object]:
        """The policy as a digest and the audit log see it: what has no say in its mode is left out."""
        if self.mode == RetentionMode.RULES and self.rules is not None:
            return {"mode": str(self.mode), "rules": self.rules.as_json(), "time_zone": self.time_zone}
        return {"mode": str(self.mode), "value": self.value}


@dataclass(frozen=True, slots=True)
class RetentionPoint:
    """One archive as the planner sees it.

    Attributes:
        taken_at: Aware; when the source was read.
        verified: Its latest verification passed.
        state: Stored and quarantined archives are planned, the latter as never verified; others are left out.
        in_use: Being restored, verified, copied or downloaded now.
        pinned: A person asked to keep it.
        drilled: Its latest restore drill passed; ``drill_failed``: it failed.
    """

    archive_id: int
    database: str
    taken_at: datetime
    verified: bool
    state: str
    size_bytes: int
    in_use: bool = False
    pinned: bool = False
    drilled: bool = False
    drill_failed: bool = False

    @property
    def counts(self) -> bool:
        """Whether the archive is good enough to be counted."""
        return self.verified and self.state == ArchiveState.STORED and not self.drill_failed
