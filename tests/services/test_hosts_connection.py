"""A host's connection test, whole: asked for by a person, executed against a real sshd and a real rsync."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.app import ALICE, BOB
from tests.support.drafts import HOST, changed
from tests.support.sshd import SshServer, make_key, only_reads, running_sshd
from webapp.core.plans import Secret
from webapp.core.reports import Check, CheckState
from webapp.core.status import ErrorCode, TaskStatus
from webapp.services import connection_tests, instance_keys, instances
from webapp.store.models import ConnectionTest, Instance
from webapp.tasks.clock import utc_now

pytestmark = pytest.mark.usefixtures("service")


@pytest.fixture(scope="module")
def server() -> Iterator[SshServer]:
    with running_sshd() as found:
        yield found


def add(server: SshServer, source: Path, now: datetime, *, pin: bool = True) -> Instance:
    draft = changed(
        HOST, ssh_host="127.0.0.1", ssh_port=str(server.port), ssh_user=server.user,
        ssh_private_key=Secret(server.private_key), paths=str(source), excludes="",
    )  # fmt: skip
    instance = instances.create_instance(draft, actor=ALICE, now=now)
    if pin:
        scanned = instance_keys.scan(instance.id)
        assert scanned.fingerprint.startswith("SHA256:")
        instance_keys.pin_host_key(instance.id, scanned.line, actor=ALICE, now=now)
    return instances.get_instance(instance.id)


def try_out(instance_id: int, now: datetime) -> ConnectionTest:
    task = connection_tests.request_connection_test(instance_id, actor=BOB, now=now)
    connection_tests.run_connection_test(task.id, clock=utc_now)
    found = connection_tests.find_newest_test(instance_id)
    assert found is not None
    return found


def states(task: ConnectionTest) -> dict[str, CheckState]:
    checks = [Check.from_json(item) for item in task.checks]
    return {check.key: check.state for check in checks}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    directory.mkdir()
    (directory / "hosts").write_text("127.0.0.1 localhost\n")
    return directory


def test_a_host_that_is_ready_passes_every_question(server: SshServer, source: Path, now: datetime) -> None:
    instance_id = add(server, source, now).id

    task = try_out(instance_id, now)

    assert set(states(task).values()) == {CheckState.PASSED}, task.checks
    assert (task.status, task.databases) == (TaskStatus.COMPLETED, [])


def test_a_key_that_may_only_read_is_enough(source: Path, now: datetime) -> None:
    with running_sshd() as limited:
        task = try_out(add(limited, source, now).id, now)
        assert not connection_tests.is_limited(task.instance_id or 0)
        only_reads(limited, Path("/"))
        task = try_out(task.instance_id or 0, now)

    assert task.status is TaskStatus.COMPLETED, task.checks
    assert connection_tests.is_limited(task.instance_id or 0)


def test_before_the_key_is_pinned_nothing_logs_in_and_the_rest_is_answered(
    server: SshServer, source: Path, now: datetime
) -> None:
    instance_id = add(server, source, now, pin=False).id

    task = try_out(instance_id, now)

    assert (task.status, task.error_code) == (TaskStatus.FAILED, ErrorCode.HOST_KEY_MISMATCH)
    assert states(task)["tcp"] is CheckState.PASSED
    assert states(task)["ssh"] is CheckState.FAILED
    assert states(task)["paths"] is CheckState.SKIPPED
    assert states(task)["root"] is CheckState.PASSED


def test_a_host_that_shows_another_key_is_refused_with_both_prints(
    server: SshServer, source: Path, now: datetime, tmp_path: Path
) -> None:
    instance = add(server, source, now)
    shown = instance_keys.pinned_host_key(instance)
    other = instance_keys.pin_host_key(instance.id, make_key(tmp_path / "other")[1], actor=ALICE, now=now)
    pinned = instance_keys.pinned_host_key(other)
    assert shown is not None
    assert pinned is not None

    task = try_out(other.id, now)

    assert (task.status, task.error_code) == (TaskStatus.FAILED, ErrorCode.HOST_KEY_MISMATCH)
    assert shown.fingerprint in task.error_message
    assert pinned.fingerprint in task.error_message


def test_a_path_that_is_not_there_fails(server: SshServer, source: Path, now: datetime) -> None:
    task = try_out(add(server, source / "gone", now).id, now)

    assert (task.status, task.error_code) == (TaskStatus.FAILED, ErrorCode.FILES_UNREADABLE), [
        c["detail"] + c["hint"] for c in task.checks
    ]
    assert "gone" in task.error_message
