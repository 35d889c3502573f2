"""Cron expressions: what they mean here, when they fire, and how they are said in English.

**Fields.** Exactly five: minute, hour, day of month, month, day of week. Values, lists (``1,15``), ranges (``1-5``),
steps over ``*`` or a range (``*/15``, ``8-18/2``), names JAN-DEC and MON-SUN; Sunday is 0 or 7. Where both day fields
are restricted (do not allow every value), a date matches when **either** does. ``@hourly @daily @midnight @weekly
@monthly @yearly @annually`` are short names. All else is refused when it is written, and so is what could never match.

**Time.** An expression is evaluated on the wall clock of one IANA zone. It has *wildcard hours* when its hour field
holds ``*``, ``*/n``, ``0-23`` or ``0-23/n``, or allows all 24 hours; otherwise it has *fixed hours*. That makes a
difference only where the zone moves its clock:

- *Gap* (wall times that never happen). Fixed hours: if at least one matching wall time is skipped, there is **one**
  run, at the first minute after the gap; a regular match at that same minute is the same run. Wildcard hours: nothing
  is made up for.
- *Fold* (wall times that happen twice). Fixed hours: run at the first occurrence only. Wildcard hours: run at both, so
  an hourly job stays hourly in real time.

A slot is the instant at which a matching wall minute begins. docs/cron.md says the same with examples; the tests hold
an independent minute-by-minute reading of these rules against this code.

This module is the door; the rooms behind it are ``cron_grammar`` (text to sets), ``cron_slots`` (sets to instants) and
``cron_words`` (sentences and the editor's builder).
"""

from __future__ import annotations

from webapp.core.cron_grammar import Cron, CronError, parse
from webapp.core.cron_slots import (
    Preview,
    maximum_gap,
    minimum_gap,
    next_after,
    preview,
    previous_or_at,
    slots_between,
    validate_zone,
)
from webapp.core.cron_words import BuilderMode, BuilderState, build, describe, detect

__all__ = [
    "BuilderMode",
    "BuilderState",
    "Cron",
    "CronError",
    "Preview",
    "build",
    "describe",
    "detect",
    "maximum_gap",
    "minimum_gap",
    "next_after",
    "parse",
    "preview",
    "previous_or_at",
    "slots_between",
    "validate_zone",
]
