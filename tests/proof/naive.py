"""The negative control: the same backup as it is often written. The harness must find it wanting, or the harness is blind.

It says «completed» before the archive is there, writes in place, and cleans up nothing.
"""

from __future__ import annotations

from tests.proof.invariants import Clock
from webapp.core.status import ArchiveState, TaskStatus, VerificationStatus
from webapp.engine.archive.digest import DigestingFile
from webapp.engine.report import SilentReporter
from webapp.engine.sources.registry import build_source
from webapp.services.backups import backup_plan
from webapp.services.runs import get_run
from webapp.services.wiring import wired
from webapp.store.db import release, writing
from webapp.store.models import Archive

SHA_OF_NOTHING = "0" * 64


def execute_run_naively(run_id: int, clock: Clock) -> None:
    """Row first, bytes later, at the final name."""
    run = get_run(run_id)
    if run.status is not TaskStatus.PENDING:
        return
    plan = backup_plan(run, clock())
    relative = f"naive/{run_id}.zip"
    path = wired().archive_directory / relative
    path.parent.mkdir(exist_ok=True)
    with writing() as session:
        run = get_run(run_id)
        run.status, run.completed_at = TaskStatus.COMPLETED, clock()
        session.add(
            Archive(
                run_id=run_id,
                instance_id=run.instance_id,
                instance_name=run.instance_name,
                database_name=run.database_name,
                content=run.content,
                format=run.format,
                relative_path=relative,
                size_bytes=0,
                sha256=SHA_OF_NOTHING,
                taken_at=clock(),
                created_at=clock(),
                state=ArchiveState.STORED,
                verification_status=VerificationStatus.NOT_RUN,
            )
        )
    release()
    path.unlink(missing_ok=True)
    with DigestingFile(str(path)) as sink:
        build_source(plan.source).write_archive(plan, sink, SilentReporter())
    with writing() as session:
        session.query(Archive).filter_by(run_id=run_id).one().sha256 = sink.sha256
