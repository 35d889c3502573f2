"""What the live page of a restore or a drill shows of its task: outcome, steps with their bars, the newest lines of the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from webapp.core.status import TaskStatus
from webapp.services.run_pages import PAGE_LINES, Outcome, StepView, duration_seconds, outcome_of, step_views
from webapp.services.tasks import count_log_lines, list_log
from webapp.store.db import db
from webapp.store.models import Task, TaskLog


@dataclass(frozen=True, slots=True)
class TaskPage:
    """See the module. ``ahead``: tasks of the same queue that wait in front of it."""

    task: Task
    outcome: Outcome
    seconds: float | None
    steps: Sequence[StepView]
    lines: Sequence[TaskLog]
    last_line: int
    ahead: int

    @property
    def live(self) -> bool:
        """Whether it may still change."""
        return not self.task.status.is_final


def get_task_page(task: Task, now: datetime, *, from_line: int | None = None) -> TaskPage:
    """The newest lines of a long log, unless a first line is asked for."""
    total = count_log_lines(task.id)
    after = max(0, total - PAGE_LINES) if from_line is None else max(0, from_line - 1)
    lines = list_log(task.id, after, PAGE_LINES)
    return TaskPage(
        task=task,
        outcome=outcome_of(task),
        seconds=duration_seconds(task, now),
        steps=step_views(task, now),
        lines=lines,
        last_line=lines[-1].n if lines else after,
        ahead=_count_ahead(task),
    )


def _count_ahead(task: Task) -> int:
    if task.status is not TaskStatus.PENDING:
        return 0
    query = (
        sa.select(sa.func.count())
        .select_from(Task)
        .where(Task.status == TaskStatus.PENDING, Task.queue == task.queue, Task.id < task.id)
    )
    return db.session.scalar(query) or 0
