"""Connection tests, whole: asked for by a person, executed against a server that answers as Odoo does."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.app import ALICE, BOB, RecordingQueue
from tests.support.drafts import ODOO_HTTP, ODOO_POSTGRES, changed
from tests.support.odoo_like import OdooLike
from webapp.core.errors import NotFound
from webapp.core.plans import Secret
from webapp.core.reports import Check, CheckState
from webapp.core.status import ErrorCode, TaskStatus
from webapp.services import connection_tests, instances
from webapp.services.instance_rules import InstanceDraft
from webapp.store.db import db
from webapp.store.models import ConnectionTest, TaskLog
from webapp.tasks.clock import utc_now

pytestmark = pytest.mark.usefixtures("service")


def draft_for(odoo: OdooLike, **fields: object) -> InstanceDraft:
    plain = changed(ODOO_HTTP, url=odoo.url, allow_plain_http=True, master_password=Secret("our own password"))
    return changed(plain, **fields)


def try_out(instance_id: int, now: datetime) -> ConnectionTest:
    task = connection_tests.request_connection_test(instance_id, actor=BOB, now=now)
    connection_tests.run_connection_test(task.id, clock=utc_now)
    found = connection_tests.find_newest_test(instance_id)
    assert found is not None
    return found


def state_of(task: ConnectionTest, key: str) -> CheckState:
    return next(Check.from_json(item).state for item in task.checks if item["key"] == key)


def test_a_good_connection_leaves_checks_databases_and_versions(now: datetime) -> None:
    with OdooLike() as odoo:
        instance = instances.create_instance(draft_for(odoo), actor=ALICE, now=now)
        instance_id, version = instance.id, instance.version

        task = try_out(instance_id, now)

    assert task.status is TaskStatus.COMPLETED_WITH_WARNINGS  # plain http is told, every time
    assert state_of(task, "odoo") is CheckState.PASSED
    assert task.databases == ["prod"]
    assert connection_tests.list_found_databases(instance_id) == ["prod"]
    stored = instances.get_instance(instance_id)
    assert stored.odoo_version == "18.0"
    assert stored.version == version


def test_no_password_is_posted_whatever_the_server_is(now: datetime) -> None:
    with OdooLike(master_password="admin") as odoo:
        instance_id = instances.create_instance(draft_for(odoo), actor=ALICE, now=now).id

        for _ in range(3):
            task = try_out(instance_id, now)

        assert odoo.insecure
        assert not odoo.saw("our own password")
    assert (task.status, task.error_code) == (TaskStatus.FAILED, ErrorCode.INSECURE_MASTER_PASSWORD)
    assert task.hint


def test_a_database_that_is_not_there_fails_the_test(now: datetime) -> None:
    with OdooLike() as odoo:
        draft = draft_for(odoo, database_selection="selected", databases=("prod", "gone"))
        task = try_out(instances.create_instance(draft, actor=ALICE, now=now).id, now)

    assert (task.status, task.error_code) == (TaskStatus.FAILED, ErrorCode.DATABASE_NOT_FOUND)
    assert "gone" in task.error_message


def test_a_server_that_is_away_is_said_plainly(now: datetime) -> None:
    with OdooLike() as odoo:
        draft = draft_for(odoo)
    task = try_out(instances.create_instance(draft, actor=ALICE, now=now).id, now)

    assert (task.status, task.error_code) == (TaskStatus.FAILED, ErrorCode.CONNECTION_FAILED)
    assert state_of(task, "tcp") is CheckState.FAILED
    assert state_of(task, "odoo") is CheckState.SKIPPED
    assert "Connection: failed" in " ".join(db.session.scalars(sa.select(TaskLog.message)))


def test_without_a_pinned_host_key_nobody_logs_in(now: datetime, tmp_path: Path) -> None:
    draft = changed(ODOO_POSTGRES, filestore_kind="ssh", ssh_host="127.0.0.1", ssh_port="1", ssh_user="odoo")
    task = try_out(instances.create_instance(draft, actor=ALICE, now=now).id, now)

    assert (task.status, task.error_code) == (TaskStatus.FAILED, ErrorCode.HOST_KEY_MISMATCH)
    assert "pin" in task.hint


def test_asking_twice_is_one_test(now: datetime, queue: RecordingQueue) -> None:
    instance = instances.create_instance(ODOO_HTTP, actor=ALICE, now=now)

    first = connection_tests.request_connection_test(instance.id, actor=BOB, now=now)
    second = connection_tests.request_connection_test(instance.id, actor=BOB, now=datetime.now(UTC))

    assert first.id == second.id
    assert [entry["queue_task_id"] for entry in queue.pushed] == [f"test-{first.id}"]
    with pytest.raises(NotFound):
        connection_tests.request_connection_test(999, actor=BOB, now=now)
