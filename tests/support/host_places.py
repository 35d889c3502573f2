"""A host that a real sshd answers for, with a job and files of its own; and what its runs leave in the catalogue.

``host_server`` and ``place`` are fixtures: a conftest imports them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.support.host_rows import make_host, make_host_job, make_host_run
from tests.support.host_trees import make_tree
from tests.support.sshd import SshServer, running_sshd
from webapp.core.status import TaskStatus
from webapp.services import backups, snapshots
from webapp.services.snapshot_places import place_of
from webapp.store.db import db, writing
from webapp.store.models import Job, Run, SnapshotRecord


def clock() -> datetime:
    """Now, for services that run a task."""
    return datetime.now(UTC)


@pytest.fixture(scope="session")
def host_server() -> Iterator[SshServer]:
    """The sshd of every host."""
    with running_sshd() as running:
        yield running


@dataclass
class Place:
    """A host with a job, its files in ``source``."""

    source: Path
    root: Path
    instance_id: int
    job_id: int

    def snapshot(self, **values: Any) -> Run:
        """A run of the job, executed."""
        run = make_host_run(self.job_id, clock(), **values)
        backups.execute_run(run.id, clock=clock)
        done: Run = again(run)
        return done

    def good(self) -> SnapshotRecord:
        """The snapshot of a run that must go well."""
        run = self.snapshot()
        assert run.status is TaskStatus.COMPLETED, run.error_message
        record = snapshots.find_of_run(run.id)
        assert record is not None
        db.session.expunge(record.archive)
        db.session.expunge(record)
        return record

    def set_job(self, **values: Any) -> None:
        """Change columns of the job."""
        with writing() as session:
            job = session.get_one(Job, self.job_id)
            for key, value in values.items():
                setattr(job, key, value)

    def tree(self, record: SnapshotRecord) -> Path:
        """The source's tree in the snapshot."""
        return Path(place_of(record).tree + str(self.source))


@pytest.fixture
def place(service: Flask, host_server: SshServer, tmp_path: Path) -> Place:
    """A host with a job of nightly snapshots and two dozen files."""
    source, root = tmp_path / "source", tmp_path / "root"
    make_tree(source, files=24, odd=False)
    instance = make_host(host_server, source, root, clock())
    return Place(source, root, instance.id, make_host_job(instance, clock()).id)


def again(row: Any) -> Any:
    """The row as it is now: what a worker's session gave is detached by then."""
    db.session.commit()
    identity = sa.inspect(row).identity
    return db.session.get_one(type(row), identity, populate_existing=True)
