"""The world that the state machine of retention walks in: a store, two databases, the true time and what the clock shows.

A kill is an exception that no code of ours catches, raised at the n-th statement, commit, rename or unlink of an act.
"""

from __future__ import annotations

import collections
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize

from tests.proof.retention_kills import KILLER, Killed
from tests.support.app import Installation, RecordingQueue, build_installation, make_wiring
from tests.support.factories import make_archive, make_instance, make_job, make_run
from webapp.core.naming import archive_directory_name
from webapp.core.status import ArchiveState, RetentionMode, TaskStatus, VerificationStatus
from webapp.services import trash
from webapp.services.retention_clock import watch_clock
from webapp.services.wiring import wired
from webapp.store.db import db, release, writing
from webapp.store.models import Archive, Job

START = datetime(2026, 3, 27, 22, 0, tzinfo=UTC)  # clocks change in Brussels two nights later
DATABASES = ("acme", "demo")
STORED, TRASHED = ArchiveState.STORED, ArchiveState.TRASHED
ON_DISK = (ArchiveState.STORED, ArchiveState.QUARANTINED, ArchiveState.TRASHED)
COUNTED: collections.Counter[str] = collections.Counter()
SOME = st.integers(0, 10_000)
KILL_AT = st.one_of(st.none(), st.integers(1, 40))
_PLACES: list[tuple[Installation, Path]] = []


def installation() -> tuple[Installation, Path]:
    """One app for the whole process, below a directory in memory where there is one."""
    if not _PLACES:
        base = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
        directory = Path(tempfile.mkdtemp(prefix="holdfast-retention-", dir=base))
        _PLACES.append((build_installation(directory), directory))
    return _PLACES[0]


def clear_away() -> None:
    """Remove what ``installation`` made."""
    for _, directory in _PLACES:
        shutil.rmtree(directory, ignore_errors=True)
    _PLACES.clear()


class RetentionWorld(RuleBasedStateMachine):
    """What every rule works on. ``now`` is the true time; the clock shows ``now + skew``."""

    def __init__(self) -> None:
        super().__init__()
        app, directory = installation()
        store = Path(tempfile.mkdtemp(dir=directory))
        self.store_directory = store
        self.app = app.restore(make_wiring(store, RecordingQueue()))
        self.context = self.app.app_context()
        self.context.push()
        KILLER.attach(db.engine)
        self.now, self.skew, self.frozen = START, timedelta(0), False
        self.watched, self.made = START, 0

    def teardown(self) -> None:
        """Leave nothing open, and no files."""
        KILLER.disarm()
        release()
        self.context.pop()
        shutil.rmtree(self.store_directory)

    @property
    def clock(self) -> datetime:
        """What the machine's clock shows."""
        return self.now + self.skew

    @initialize()
    def begin(self) -> None:
        """A job that keeps two, and a clock that was seen."""
        make_job(make_instance(START), START, retention_mode=RetentionMode.KEEP_LAST_N, retention_value=2)
        trash.resume_deletions(self.clock)
        for database in DATABASES:
            self.back_up_some(database, VerificationStatus.PASSED, quarantined=False, count=5, step_hours=7)

    def back_up_some(
        self, database: str, status: VerificationStatus, *, quarantined: bool, count: int, step_hours: int
    ) -> None:
        """Runs that ended well, hours apart, while the sweeper watches the clock."""
        COUNTED["runs"] += count
        for _ in range(count):
            self.now += timedelta(hours=step_hours)
            self.store(database, status, quarantined=quarantined)
            if self.now - self.watched > timedelta(days=2):
                self.watched = self.now
                watch_clock(self.clock)

    def store(self, database: str, status: VerificationStatus, *, quarantined: bool) -> None:
        """A run that ended, its archive and the archive's file."""
        self.made += 1
        name = f"1-acme-prod/{archive_directory_name(START, database, self.made, 1)}/{database}.zip"
        name = f"quarantine/{name}" if quarantined else name
        job = db.session.get_one(Job, 1)
        with writing():
            run = make_run(job, self.clock, database_name=database, status=TaskStatus.COMPLETED)
            make_archive(
                run,
                self.clock,
                run_id=None,
                relative_path=name,
                verification_status=status,
                state=ArchiveState.QUARANTINED if quarantined else STORED,
                size_bytes=7,
            )
        path = Path(wired().archive_directory, name)
        path.parent.mkdir(parents=True)
        path.write_bytes(b"archive")

    def pick(self, which: int, states: tuple[ArchiveState, ...]) -> Archive | None:
        """Some archive in one of the states."""
        found = db.session.scalars(sa.select(Archive).where(Archive.state.in_(states)).order_by(Archive.id)).all()
        return found[which % len(found)] if found else None

    def under_knife(self, act: Callable[[], Any], kill_at: int | None) -> bool:
        """Do it, and perhaps be killed in it. Whether that happened."""
        release()
        KILLER.arm(kill_at)
        try:
            act()
        except Killed:
            COUNTED["killed"] += 1
            db.session.registry.clear()
            KILLER.bury()
            return True
        finally:
            KILLER.disarm()
        release()
        return False
