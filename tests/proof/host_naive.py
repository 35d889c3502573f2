"""The negative control of `make proof-hosts`: a snapshot as it is often taken. The checks must find it wanting.

It says «completed» before the tree is there and lets rsync write at the final place.
"""

from __future__ import annotations

import os

from tests.proof.invariants import Clock
from webapp.core.status import ArchiveState, TaskStatus, VerificationStatus
from webapp.engine.process import clean_environment, run
from webapp.services.runs import get_run
from webapp.services.snapshot_places import relative_path_of
from webapp.services.snapshot_runs import snapshot_plan
from webapp.services.wiring import wired
from webapp.store.db import release, writing
from webapp.store.models import Archive, SnapshotRecord

SHA_OF_NOTHING = "0" * 64


def execute_run_naively(run_id: int, clock: Clock) -> None:
    """Rows first, files later, at the final name."""
    with writing() as session:
        row = get_run(run_id)
        if row.status is not TaskStatus.PENDING:
            return
        plan = snapshot_plan(row, clock())
        row.status, row.completed_at = TaskStatus.COMPLETED, clock()
        archive = Archive(
            run_id=run_id,
            instance_id=row.instance_id,
            instance_name=row.instance_name,
            database_name=row.database_name,
            content=row.content,
            format=row.format,
            relative_path=relative_path_of(plan.place),
            size_bytes=0,
            sha256=SHA_OF_NOTHING,
            taken_at=clock(),
            created_at=clock(),
            state=ArchiveState.STORED,
            verification_status=VerificationStatus.NOT_RUN,
        )
        session.add(archive)
        session.flush()
        session.add(
            SnapshotRecord(archive_id=archive.id, root=plan.root, directory=plan.directory, name=plan.name, paths=["/"])
        )
    release()
    os.makedirs(plan.place.tree)
    shared = [f"--link-dest={plan.base.tree}"] if plan.base is not None else []
    words = ["rsync", "-aH", "--numeric-ids", "--delete", "--fake-super", "--modify-window=-1", *shared]
    run(
        [*words, f"{wired().data_directory.parent}/source/", plan.place.tree],
        env=clean_environment(),
        timeout_seconds=60,
    )
