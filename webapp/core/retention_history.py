"""A retention policy replayed over a history of archives, day by day: what would have been there, and how much room it took.

Pure, and a simulation: freezes, the cap and what was in use then have no say; pins do, as if they had always been there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from webapp.core.retention import RetentionPoint, RetentionPolicy, plan_retention
from webapp.core.status import ArchiveState

DAY = timedelta(days=1)
MOST_DAYS = 800
_GONE = (ArchiveState.TRASHED, ArchiveState.DELETING, ArchiveState.DELETED, ArchiveState.MISSING)


@dataclass(frozen=True, slots=True)
class ReplayedDay:
    """What was there after one day's retention."""

    at: datetime
    count: int
    size_bytes: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Replay:
    """A policy over a history; ``days`` are oldest first, ``survivors`` newest first."""

    days: tuple[ReplayedDay, ...]
    survivors: tuple[RetentionPoint, ...]

    @property
    def count(self) -> int:
        """How many archives there would be now."""
        return self.days[-1].count if self.days else 0

    @property
    def size_bytes(self) -> int:
        """The room that they would take now."""
        return self.days[-1].size_bytes if self.days else 0

    @property
    def most_bytes(self) -> int:
        """The most room that was ever taken at the end of a day."""
        return max((day.size_bytes for day in self.days), default=0)

    @property
    def oldest_at(self) -> datetime | None:
        """How far back one could still go now."""
        return min((point.taken_at for point in self.survivors), default=None)


def replay_retention(
    policy: RetentionPolicy, history: Sequence[RetentionPoint], *, since: datetime, now: datetime
) -> Replay:
    """Apply the policy at every midnight (UTC) from ``since`` on, and once more now; archives come when they were taken.

    Raises ValueError for more than 800 days.
    """
    coming = sorted((_revive(point) for point in history), key=lambda point: (point.taken_at, point.archive_id))
    alive: list[RetentionPoint] = []
    days: list[ReplayedDay] = []
    for moment in _moments(since, now):
        while coming and coming[0].taken_at <= moment:
            alive.append(coming.pop(0))
        gone = {dropped.point.archive_id for dropped in plan_retention(policy, alive, moment).drop}
        alive = [point for point in alive if point.archive_id not in gone]
        days.append(ReplayedDay(moment, len(alive), sum(point.size_bytes for point in alive), len(gone)))
    return Replay(tuple(days), tuple(reversed(alive)))


def _revive(point: RetentionPoint) -> RetentionPoint:
    """The archive as it was: what was deleted since stood in the store."""
    return replace(point, in_use=False, state=ArchiveState.STORED if point.state in _GONE else point.state)


def _moments(since: datetime, now: datetime) -> list[datetime]:
    if (now - since) / DAY > MOST_DAYS:
        raise ValueError(f"a history of more than {MOST_DAYS} days")
    midnight = since.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return [moment for n in range(1, MOST_DAYS + 2) if (moment := midnight + n * DAY) < now] + [now]
