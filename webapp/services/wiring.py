"""What the doors hand to the services: directories, the vault, the queue, the numbers of the lease. Set once per process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from webapp.core.plans import NO_SECRET, Secret
from webapp.queue.monitor import QueueReport
from webapp.vault import Vault


class TaskQueue(Protocol):
    """The bell. The database is the calendar, so every method may raise core.errors.QueueDown without anything being lost."""

    def push(self, *, queue: str, task_type: str, task_id: int, queue_task_id: str, description: str) -> None:
        """Ask a worker to do the task now; twice with the same id is the same as once."""

    def known(self, queue_task_ids: list[str]) -> set[str]:
        """Those of the ids that wait, are scheduled or run in RQ now."""

    def push_later(
        self, *, queue: str, task_type: str, task_id: int, queue_task_id: str, description: str, at: datetime
    ) -> None:
        """As ``push``, at a time (aware UTC), through rq-scheduler."""

    def drop(self, queue_task_id: str) -> None:
        """Forget a waiting entry; nothing happens when there is none."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """See the module docstring.

    ``look_at_queue`` asks Redis what it knows (``webapp.queue.monitor.look``); None where nobody watches the queue.
    ``restore_directory`` None is ``restored`` in the data directory.
    """

    data_directory: Path
    archive_directory: Path
    vault: Vault
    queue: TaskQueue
    lease_seconds: int = 60
    heartbeat_seconds: int = 15
    compression_threads: int = 2
    session_idle_minutes: int = 30
    session_absolute_hours: int = 12
    restore_directory: Path | None = None
    upload_limit_bytes: int = 64 * 1024**3
    self_backup_passphrase: Secret = NO_SECRET
    look_at_queue: Callable[[datetime], QueueReport] | None = None
    drill_directory: Path | None = None
    drill_jobs: int = 2
    drill_boot_command: tuple[str, ...] = ()

    @property
    def drills(self) -> Path:
        """Where throw-away clusters are made."""
        return self.drill_directory or self.data_directory / "drills"


_installed: list[Wiring] = []


def install(wiring: Wiring) -> None:
    """Called by a door, once (tests: once per app)."""
    _installed[:] = [wiring]


def wired() -> Wiring:
    """The wiring of this process. Raises RuntimeError when no door has installed one."""
    if not _installed:
        raise RuntimeError("no wiring is installed: start through app, worker or cli")
    return _installed[0]
