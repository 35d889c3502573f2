"""Backups of PostgreSQL cut off or stopped in the middle: never a success, can be retried, nothing left behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.odoo_database import OdooDatabase, build_odoo_database
from tests.support.postgres import PostgresServer, restart, running_server, stop
from tests.support.postgres_backups import StoppingReporter, back_up
from tests.support.redis import wait_for
from tests.support.sshd import SshServer
from webapp.core.errors import SourceError, TaskStopped
from webapp.core.plans import FilestorePlan
from webapp.core.status import ErrorCode, FilestoreKind
from webapp.engine.report import SilentReporter


class At(SilentReporter):
    """Does something once, when the first bytes of the dump have come."""

    def __init__(self, action: Callable[[], None]) -> None:
        super().__init__()
        self._action: Callable[[], None] | None = action

    def progress(self, done: int, total: int | None = None, unit: str = "bytes", message: str = "") -> None:
        if self._action is not None:
            action, self._action = self._action, None
            action()


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PostgresServer, OdooDatabase]]:
    """A server that tests may restart, with a dump of about 15 MB."""
    with running_server() as server:
        yield server, build_odoo_database(server, "prod", tmp_path_factory.mktemp("own"), rows=15_000, files=10)


def test_a_server_restart_in_the_middle_can_be_retried(
    own_server: tuple[PostgresServer, OdooDatabase], tmp_path: Path
) -> None:
    server, database = own_server
    restarted: list[PostgresServer] = []
    plan = server.plan(database.filestore.parent)
    try:
        with pytest.raises(SourceError) as caught:
            back_up(plan, "prod", tmp_path / "a.zip", reporter=At(lambda: restarted.append(restart(server))))

        again = back_up(plan, "prod", tmp_path / "b.zip")
    finally:
        for one in restarted:
            stop(one)

    assert (caught.value.code, caught.value.permanent) == (ErrorCode.CONNECTION_LOST, False)
    assert again.files() == set(database.names)


def test_our_sessions_terminated_in_the_middle_can_be_retried(postgres_server: PostgresServer, tmp_path: Path) -> None:
    postgres_server.drop_database("large")
    database = build_odoo_database(postgres_server, "large", tmp_path / "filestores", rows=15_000, files=10)
    query = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name IN ('pg_dump', 'holdfast') AND datname = 'large'"
    )

    with pytest.raises(SourceError) as caught:
        back_up(
            postgres_server.plan(database.filestore.parent),
            "large",
            tmp_path / "a.zip",
            reporter=At(lambda: postgres_server.execute(query)),
        )

    assert (caught.value.code, caught.value.permanent) == (ErrorCode.CONNECTION_LOST, False)
    postgres_server.drop_database("large")


@pytest.mark.parametrize("when", [0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4])
@pytest.mark.parametrize("over_ssh", [False, True])
def test_a_stop_at_any_moment_leaves_nothing(
    postgres_server: PostgresServer,
    prod: OdooDatabase,
    ssh_server: SshServer,
    tmp_path: Path,
    when: float,
    over_ssh: bool,
) -> None:
    before = set(_children())
    reporter = StoppingReporter()
    root = str(prod.filestore.parent)
    plan = postgres_server.plan(root)
    if over_ssh:
        filestore = FilestorePlan(FilestoreKind.SSH, root, ssh_server.plan())
        plan = postgres_server.plan(filestore, tunnel=ssh_server.plan())
    timer = threading.Timer(when * (4 if over_ssh else 1), reporter.stop)
    timer.start()
    began = time.monotonic()

    try:
        back_up(plan, "prod", tmp_path / "a.zip", reporter=reporter)
    except TaskStopped:
        pass
    except SourceError:
        # The tunnel ends with the task: a session that was about to begin says that it could not.
        assert over_ssh
        assert reporter.stopped
    timer.join()

    assert time.monotonic() - began < 8
    wait_for(lambda: postgres_server.sessions() == [], "all sessions are gone")
    assert set(_children()) <= before


def test_a_stop_while_waiting_for_a_lock_is_heard_at_once(
    postgres_server: PostgresServer, prod: OdooDatabase, tmp_path: Path
) -> None:
    reporter = StoppingReporter()
    with postgres_server.connect("prod") as holder:
        holder.execute("BEGIN")
        holder.execute("LOCK ir_attachment IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        threading.Timer(0.4, reporter.stop).start()

        with pytest.raises(TaskStopped):
            back_up(postgres_server.plan(prod.filestore.parent), "prod", tmp_path / "a.zip", reporter=reporter)
        elapsed = time.monotonic() - began
        holder.execute("ROLLBACK")

    assert elapsed < 5
    wait_for(lambda: postgres_server.sessions() == [], "all sessions are gone")


def test_an_ssh_connection_cut_in_the_middle_is_never_a_success(
    postgres_server: PostgresServer, ssh_server: SshServer, tmp_path: Path
) -> None:
    postgres_server.drop_database("many")
    database = build_odoo_database(
        postgres_server, "many", tmp_path / "filestores", rows=20, files=300, median_file_bytes=20_000
    )
    filestore = FilestorePlan(FilestoreKind.SSH, str(database.filestore), ssh_server.plan())
    cuts: list[int] = []

    class Cutting(SilentReporter):
        def check(self) -> None:
            if self.steps and self.steps[-1] == "filestore":
                for pid in _children():
                    argv = Path(f"/proc/{pid}/cmdline").read_bytes()
                    if b"tar --create" in argv:
                        cuts.append(pid)
                        os.kill(pid, signal.SIGKILL)

    with pytest.raises(SourceError) as caught:
        back_up(postgres_server.plan(filestore), "many", tmp_path / "a.zip", reporter=Cutting())

    assert cuts
    assert caught.value.code in (ErrorCode.SSH_FAILED, ErrorCode.CONNECTION_LOST)
    postgres_server.drop_database("many")


def _children() -> list[int]:
    """Programs that this process started and that still run, but the servers of the tests."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state, parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:2]
            argv = (entry / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if (
            int(parent) == os.getpid()
            and state != "Z"
            and b"holdfast-pg-" not in argv
            and b"holdfast-sshd-" not in argv
        ):
            found.append(int(entry.name))
    return found
