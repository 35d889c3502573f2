"""A host, a Holdfast that keeps its snapshots, and a model that remembers what the host held when each of them was taken.

Everything that touches the services happens in forked children, so that any of them can be killed and none of its connections
lives over a fork. Time only goes on: each step of the recovery happens a lease later than the one before.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import flask_migrate
import sqlalchemy as sa

from tests.proof.stage import KEY, answer_in_child, app_in, exit_code, in_child
from tests.support.app import ALICE, service_context
from tests.support.factories import make_instance, make_job
from tests.support.host_trees import Facts, change_tree, make_tree, read_source
from tests.support.sshd import SshServer, only_reads, running_sshd
from webapp.core.plans import Secret
from webapp.core.status import ACTIVE_STATUSES, ArchiveFormat, ArchiveState, Content, InstanceKind, TaskStatus, TaskType
from webapp.engine.shelf import open_shelf
from webapp.services import (
    archives,
    backups,
    jobs,
    points,
    retention,
    snapshot_discovery,
    snapshot_removals,
    sweeper,
)
from webapp.store.db import db, release, writing
from webapp.store.models import Archive, Host, SnapshotRecord, Task
from webapp.vault import Vault

DIRECTORY = "proof"
PASSES = 6
PASS_SECONDS = 80.0  # more than a lease and the sweeper's grace
TASKS: dict[TaskType, Callable[..., None]] = {
    TaskType.BACKUP: backups.execute_run,
    TaskType.RETENTION: retention.execute_retention,
    TaskType.VERIFICATION: archives.execute_verification,
    TaskType.SNAPSHOT_DISCOVERY: snapshot_discovery.execute_discovery,
    TaskType.SNAPSHOT_REMOVAL: snapshot_removals.execute_removal,
}


@dataclass
class World:
    """The host, the installation, and what is expected of every snapshot (by name: what it may hold)."""

    server: SshServer
    directory: Path
    ahead: timedelta = timedelta()
    day: int = 0
    held: list[Facts] = field(default_factory=list)
    expected: dict[str, Facts] = field(default_factory=dict)

    @property
    def source(self) -> Path:
        """What the host has."""
        return self.directory / "source"

    @property
    def place(self) -> Path:
        """The installation's directory."""
        return self.directory / "holdfast"

    @property
    def snapshots(self) -> Path:
        """Where the host's snapshots lie."""
        return self.place / "snapshots" / DIRECTORY

    def now(self) -> datetime:
        """The world's time."""
        return datetime.now(UTC) + self.ahead

    def wait(self, seconds: float) -> None:
        """Time goes on, at once."""
        self.ahead += timedelta(seconds=seconds)

    def pass_a_day(self) -> None:
        """The source changes; from now on a snapshot may hold what it holds now. ``held`` is what the newest may hold."""
        self.day += 1
        change_tree(self.source, seed=self.day)
        self.held = [*self.held[-1:], read_source(self.source)]

    def forget_the_past(self) -> None:
        """What the next snapshot holds is what the source has now, or will have."""
        self.held = self.held[-1:]

    def ask(self, question: Callable[[], Any]) -> Any:
        """The answer of the services."""
        return answer_in_child(self.place, question)

    def request_snapshot(self) -> int:
        """Somebody presses «Run now»; the run's id."""
        return int(self.ask(lambda: jobs.run_now(1, actor=ALICE, now=self.now())[0].id))

    def request_discovery(self) -> int:
        """Somebody asks to look on disk; the task's id."""
        return int(self.ask(lambda: snapshot_discovery.request_discovery(1, actor=ALICE, now=self.now()).id))

    def delete(self, count: int) -> list[int]:
        """The ``count`` oldest snapshots are deleted for good by a person; the removals' ids."""
        return list(self.ask(lambda: _delete_oldest(count, self.now())))

    def forget(self, names: list[str]) -> None:
        """The rows of these snapshots are lost, as after an older copy of the database was put back."""
        self.ask(lambda: _forget(names))

    def list_names(self) -> list[str]:
        """Promoted snapshots on disk, the oldest first."""
        return sorted(path.name for path in self.snapshots.iterdir() if not path.name.startswith("."))

    def count_stored(self) -> int:
        """How many snapshots count."""
        return int(self.ask(_count_stored))

    def start(self, task_id: int, execute: Callable[..., None] | None = None) -> Started:
        """A worker that waits, wired, until it is told to execute the task."""
        ready_read, ready_write = os.pipe()
        go_read, go_write = os.pipe()

        def work() -> None:
            os.environ["TMPDIR"] = str(self.place / "tmp")
            with service_context(app_in(self.place)):
                function = execute or TASKS[_type_of(task_id)]
                os.write(ready_write, b"r")
                os.read(go_read, 1)
                function(task_id, clock=self.now)

        child = in_child(work)
        os.read(ready_read, 1)
        for descriptor in (ready_read, ready_write, go_read):
            os.close(descriptor)
        return Started(child, go_write)

    def recover(self, passes: int = PASSES) -> None:
        """Sweep and execute, a lease later each time, until nothing is left to do or the passes are over."""
        code = exit_code(in_child(lambda: _recover_in_child(self, passes)))
        self.wait(passes * PASS_SECONDS)
        if code != 0:
            raise RuntimeError(f"the recovery ended with {code}")


@dataclass(frozen=True, slots=True)
class Started:
    """A waiting worker."""

    child: int
    door: int

    def go(self) -> None:
        """Let it work."""
        os.write(self.door, b"g")
        os.close(self.door)


@contextmanager
def built_world(*, files: int = 40, keep: int = 100) -> Iterator[World]:
    """A host with a tree of everything, reached through a key that only reads; an installation that keeps the last few."""
    directory = Path(tempfile.mkdtemp(prefix="holdfast-hosts-"))
    try:
        make_tree(directory / "source", files=files)
        with running_sshd() as server:
            only_reads(server, directory / "source")
            world = World(server, directory)
            world.held = [read_source(world.source)]
            (world.place / "tmp").mkdir(parents=True)
            code = exit_code(in_child(lambda: _furnish(world, keep)))
            assert code == 0, f"the installation could not be furnished: {code}"
            yield world
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _furnish(world: World, keep: int) -> None:
    app, moment, server = app_in(world.place), datetime.now(UTC), world.server
    open_shelf(str(world.place / "archives"), create=True)
    with service_context(app):
        flask_migrate.upgrade()
        instance = make_instance(
            moment,
            uid="proof",
            kind=InstanceKind.HOST,
            databases=[],
            pg_host="",
            ssh_host="127.0.0.1",
            ssh_port=server.port,
            ssh_user=server.user,
            ssh_private_key=Vault([KEY]).seal(Secret(server.private_key), "instance:proof:ssh_private_key"),
            ssh_host_key=server.host_key,
        )
        with writing() as session:
            session.add(Host(instance_id=instance.id, directory=DIRECTORY, paths=["/"]))
        make_job(
            instance,
            moment,
            content=Content.FILES,
            format=ArchiveFormat.SNAPSHOT,
            retention_value=keep,
            retries=8,
            retry_delay_seconds=0,
        )
        db.session.commit()


def _type_of(task_id: int) -> TaskType:
    found = TaskType(db.session.get_one(Task, task_id).type)
    release()
    return found


def _recover_in_child(world: World, passes: int) -> None:
    os.environ["TMPDIR"] = str(world.place / "tmp")
    with service_context(app_in(world.place)):
        for _ in range(passes):
            world.wait(PASS_SECONDS)
            sweeper.sweep(world.now())
            active = sa.select(Task.id, Task.status).where(Task.status.in_(ACTIVE_STATUSES)).order_by(Task.id)
            found = list(db.session.execute(active))
            release()
            if not found:
                return
            for task_id in [row.id for row in found if row.status is TaskStatus.PENDING]:
                TASKS[_type_of(task_id)](task_id, clock=world.now)


def _count_stored() -> int:
    query = sa.select(sa.func.count()).select_from(SnapshotRecord).join(Archive)
    return db.session.scalar(query.where(Archive.state == ArchiveState.STORED)) or 0


def _delete_oldest(count: int, now: datetime) -> list[int]:
    query = (
        sa.select(Archive.id)
        .join(SnapshotRecord, SnapshotRecord.archive_id == Archive.id)
        .where(Archive.state == ArchiveState.STORED)
        .order_by(SnapshotRecord.name)
        .limit(count)
    )
    chosen = list(db.session.scalars(query))
    for archive_id in chosen:
        for act in (points.delete, points.delete_for_good):
            preview = points.deletion_preview(archive_id, now=now)
            act(archive_id, typed=preview.must_type, digest=preview.digest, actor=ALICE, now=now)
            release()
    found = [snapshot_removals.request_removal(archive_id, now=now) for archive_id in chosen]
    return [task.id for task in found if task is not None]


def _forget(names: list[str]) -> None:
    ids = list(db.session.scalars(sa.select(SnapshotRecord.archive_id).where(SnapshotRecord.name.in_(names))))
    with writing() as session:
        session.execute(sa.delete(SnapshotRecord).where(SnapshotRecord.archive_id.in_(ids)))
        session.execute(sa.delete(Archive).where(Archive.id.in_(ids)))
