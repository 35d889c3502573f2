"""Rows of a host for tests: an instance that a real sshd answers for, its Host, and its jobs."""

from __future__ import annotations

import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.support.factories import make_job
from tests.support.sshd import SshServer
from webapp.core.plans import Secret
from webapp.core.snapshot_plans import FILES
from webapp.core.status import ArchiveFormat, Content, DrillPolicy, InstanceKind, TaskType, VerificationLevel
from webapp.services.instance_plans import secret_context
from webapp.services.tasks import add
from webapp.services.wiring import wired
from webapp.store.db import db, writing
from webapp.store.models import Host, Instance, Job, Run


def make_host(
    server: SshServer, source: Path, root: Path, now: datetime, *, name: str = "web-01", **values: Any
) -> Instance:
    """A host whose one path is ``source``, with its snapshots below ``root``; ``values`` are of the Host row."""
    instance = Instance(
        uid=str(uuid.uuid4()),
        name=name,
        slug=name,
        kind=InstanceKind.HOST,
        ssh_host="127.0.0.1",
        ssh_port=server.port,
        ssh_user=server.user,
        ssh_host_key=server.host_key,
        created_at=now,
        updated_at=now,
    )
    row = {"directory": name, "backup_root": str(root), "paths": [str(source)]}
    with writing() as session:
        instance.ssh_private_key = wired().vault.seal(
            Secret(server.private_key), secret_context(instance, "ssh_private_key")
        )
        session.add(instance)
        session.flush()
        session.add(Host(instance_id=instance.id, **(row | values)))
    return instance


def make_host_job(instance: Instance, now: datetime, **values: Any) -> Job:
    """A nightly job of the host."""
    row = {
        "content": Content.FILES,
        "format": ArchiveFormat.SNAPSHOT,
        "verification_level": VerificationLevel.INTACT,
        "drill_policy": DrillPolicy.NEVER,
    }
    return make_job(instance, now, **(row | values))


def make_host_run(job_id: int, now: datetime, **values: Any) -> Run:
    """A pending run of a host's job."""
    with writing():
        job = db.session.get_one(Job, job_id)
        run = Run(
            type=TaskType.BACKUP,
            title=f"{job.instance.name} / files: {job.name}",
            triggered_by="manual:alice",
            instance_id=job.instance_id,
            instance_name=job.instance.name,
            job_id=job.id,
            job_name=job.name,
            database_name=FILES,
            content=Content.FILES,
            format=ArchiveFormat.SNAPSHOT,
            verification_level=VerificationLevel.INTACT,
            max_attempts=1,
            **values,
        )
        add(run, now=now)
    return run
