"""Connection tests: asked for by a person, executed by a worker, kept as a list of checks with what to do about each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.core.actors import Actor
from webapp.core.errors import HoldfastError, InvalidInput
from webapp.core.reports import Check, CheckState, find_failure
from webapp.core.status import ErrorCode, FilestoreKind, InstanceKind, TaskType
from webapp.engine.report import tell_check
from webapp.engine.snapshots.probe import LIMITED, probe_host
from webapp.engine.sources.base import Source
from webapp.engine.sources.registry import build_source
from webapp.services import audit
from webapp.services.execution import Outcome, execute
from webapp.services.hosts import backup_root_of, get_host, host_plan
from webapp.services.instance_plans import secrets_of, source_plan
from webapp.services.instances import get_instance
from webapp.services.reporting import TaskReporter
from webapp.services.settings import get_settings
from webapp.services.tasks import add, find_active, find_newest, ring
from webapp.store.db import db, release, writing
from webapp.store.models import ConnectionTest, Instance

TIME_LIMIT_SECONDS = 120
VERSION_CHECKS = {"odoo": "odoo_version", "odoo_version": "odoo_version", "postgresql_version": "postgresql_version"}


def request_connection_test(instance_id: int, *, actor: Actor, now: datetime) -> ConnectionTest:
    """Ask a worker to test the connection; an active test is answered, not doubled. Raises NotFound."""
    with writing() as session:
        instance = get_instance(instance_id)
        active = find_active(ConnectionTest, ConnectionTest.instance_id == instance_id)
        if active is not None:
            return active
        task = ConnectionTest(
            type=TaskType.CONNECTION_TEST,
            title=f"{instance.name}: test connection"[:200],
            triggered_by=actor.triggered_by,
            instance_id=instance.id,
            instance_name=instance.name,
            time_limit_seconds=TIME_LIMIT_SECONDS,
        )
        add(task, now=now)
        session.flush()
        audit.record(
            actor,
            "instance.tested",
            subject_kind="instance",
            subject_id=instance.id,
            subject_name=instance.name,
            details={"task_id": task.id},
            now=now,
        )
    ring([task.id])
    return task


def find_newest_test(instance_id: int) -> ConnectionTest | None:
    """The newest connection test, whatever its state."""
    return find_newest(ConnectionTest, ConnectionTest.instance_id == instance_id)


def newest_tests(instance_ids: Sequence[int]) -> dict[int, ConnectionTest]:
    """The same for each instance that was ever tested, in one query."""
    newest = (
        sa.select(sa.func.max(ConnectionTest.id))
        .where(ConnectionTest.instance_id.in_(instance_ids))
        .group_by(ConnectionTest.instance_id)
        .correlate(None)
    )
    found = db.session.scalars(sa.select(ConnectionTest).where(ConnectionTest.id.in_(newest)))
    return {test.instance_id: test for test in found if test.instance_id}


def list_found_databases(instance_id: int) -> list[str]:
    """The databases that the newest test which found any has seen, sorted."""
    query = (
        sa.select(ConnectionTest.databases)
        .where(ConnectionTest.instance_id == instance_id)
        .order_by(ConnectionTest.id.desc())
        .limit(10)
    )
    return next((sorted(names) for names in db.session.scalars(query) if names), [])


def is_limited(instance_id: int) -> bool:
    """Whether rrsync answered for the host in the newest test that got an answer of its rsync."""
    query = (
        sa.select(ConnectionTest.checks)
        .where(ConnectionTest.instance_id == instance_id)
        .order_by(ConnectionTest.id.desc())
        .limit(10)
    )
    said = (check for checks in db.session.scalars(query) for check in checks or () if check["key"] == "rsync")
    return next((LIMITED in check["value"] for check in said if check["value"].startswith("protocol")), False)


def run_connection_test(task_id: int, *, clock: Callable[[], datetime]) -> None:
    """Execute a connection test task."""
    execute(task_id, _test, clock=clock)


def _test(task_id: int, reporter: TaskReporter) -> Outcome:
    task = db.session.get_one(ConnectionTest, task_id)
    instance = task.instance
    if instance is None or instance.deleted_at is not None:
        raise InvalidInput("The instance of this test was deleted.")
    if instance.kind is InstanceKind.HOST:
        return _test_host(instance, reporter)
    instance_id, wanted = instance.id, list(instance.databases)
    needs_host_key = (
        instance.pg_through_ssh or instance.filestore_kind is FilestoreKind.SSH
    ) and not instance.ssh_host_key
    plan = source_plan(instance)
    reporter.hide(*secrets_of(plan))
    source = build_source(plan)
    release()
    if needs_host_key:
        checks = [_host_key_missing()]
    else:
        reporter.step("probe", "Ask every question")
        checks = source.probe(wanted[0] if wanted else None, reporter)
    names = _discover(source, checks, reporter)
    checks = [*checks, *_missing(wanted, names)]
    _log(checks, reporter)
    outcome = Outcome(values={"checks": [check.as_json() for check in checks], "databases": names})
    outcome.error = find_failure(checks, code=ErrorCode.CONNECTION_FAILED)
    outcome.store = lambda session: _store_versions(session, instance_id, checks)
    return outcome


def _test_host(instance: Instance, reporter: TaskReporter) -> Outcome:
    """All that a snapshot will need, asked of the host and of the disk that takes it."""
    plan, root = host_plan(instance), backup_root_of(get_host(instance.id))
    reserve_bytes = get_settings().reserve_bytes
    reporter.hide(*secrets_of(plan))
    release()
    reporter.step("probe", "Ask every question")
    checks = probe_host(plan, root=root, reserve_bytes=reserve_bytes, reporter=reporter)
    _log(checks, reporter)
    outcome = Outcome(values={"checks": [check.as_json() for check in checks], "databases": []})
    outcome.error = find_failure(checks, code=ErrorCode.CONNECTION_FAILED)
    return outcome


def _discover(source: Source, checks: list[Check], reporter: TaskReporter) -> list[str]:
    """The databases there, where nothing failed; a refusal to list them is a check's business, not a second failure."""
    if find_failure(checks, code=ErrorCode.CONNECTION_FAILED) is not None:
        return []
    reporter.step("discover", "Find databases")
    try:
        names = source.list_databases()
    except HoldfastError as error:
        reporter.log(error.message, "warning")
        return []
    reporter.log(f"{len(names)} found: {', '.join(names[:50])}" if names else "None found.")
    return names


def _missing(wanted: list[str], found: list[str]) -> list[Check]:
    """A failure for further databases that the instance names and the server does not have."""
    missing = [name for name in wanted[1:] if name not in found]
    if not found or not missing:
        return []
    return [
        Check(
            key="databases",
            title="Selected databases",
            state=CheckState.FAILED,
            detail=f"Not found: {', '.join(missing[:10])}.",
            value=f"{len(missing)} of {len(wanted)}",
            hint="Correct the names in the instance, or let its user see them.",
            code=ErrorCode.DATABASE_NOT_FOUND,
        )
    ]


def _log(checks: list[Check], reporter: TaskReporter) -> None:
    for check in checks:
        line = f"{check.title}: {check.state.value}" + (f": {check.detail}" if check.detail else "")
        tell_check(check, line, reporter, code=ErrorCode.INVALID_CONFIGURATION)


def _host_key_missing() -> Check:
    return Check(
        key="ssh_host_key",
        title="SSH host key",
        state=CheckState.FAILED,
        detail="No host key is pinned for the SSH host yet, so Holdfast will not log in there.",
        hint="Open the instance's settings, scan the host key, compare it and pin it.",
        code=ErrorCode.HOST_KEY_MISMATCH,
    )


def _store_versions(session: Session, instance_id: int, checks: list[Check]) -> None:
    """Keep the versions that the checks found. The form's version does not move: nobody edited anything."""
    passed = [check for check in checks if check.state is CheckState.PASSED and check.key in VERSION_CHECKS]
    values = {VERSION_CHECKS[check.key]: check.value[:32] for check in passed if check.value}
    if values:
        session.execute(sa.update(Instance).where(Instance.id == instance_id).values(**values))
