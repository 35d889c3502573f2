"""What the page of a restore drill shows. Read-only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from webapp.core.reports import Check, CheckState
from webapp.services.archives import get_archive
from webapp.services.drills import get_drill
from webapp.services.task_pages import TaskPage, get_task_page
from webapp.store.models import Archive, Drill


@dataclass(frozen=True, slots=True)
class DrillPage:
    """All that the page shows. ``asked`` are the questions that were really asked; ``passed`` of them were answered well."""

    seen: TaskPage
    drill: Drill
    archive: Archive
    checks: Sequence[Check]
    asked: int
    passed: int

    @property
    def gave_a_verdict(self) -> bool:
        """Whether the restore point was judged; a drill that could not be held says nothing about it."""
        return not self.seen.live and self.asked > 0

    @property
    def first_failure(self) -> Check | None:
        """The first question that was answered wrongly."""
        return next((check for check in self.checks if check.state is CheckState.FAILED), None)


def get_drill_page(drill_id: int, now: datetime) -> DrillPage:
    """One drill. Raises NotFound."""
    drill = get_drill(drill_id)
    checks = [Check.from_json(item) for item in drill.checks]
    asked = [check for check in checks if check.state is not CheckState.SKIPPED]
    return DrillPage(
        seen=get_task_page(drill, now),
        drill=drill,
        archive=get_archive(drill.archive_id),
        checks=checks,
        asked=len(asked),
        passed=sum(check.state in (CheckState.PASSED, CheckState.WARNING) for check in asked),
    )
