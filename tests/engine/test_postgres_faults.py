"""What can go wrong while PostgreSQL is dumped: never a success, always the right code, nothing left behind."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from tests.support.odoo_database import OdooDatabase, build_odoo_database
from tests.support.postgres import PostgresServer, restart, running_server, stop
from tests.support.postgres_backups import StoppingReporter, back_up
from tests.support.sshd import SshServer, make_key
from webapp.core.errors import SourceError, TaskStopped
from webapp.core.plans import FilestorePlan, Secret
from webapp.core.status import ArchiveFormat, Content, ErrorCode, FilestoreKind
from webapp.engine.pgtools import PgTools, find_tools
from webapp.engine.report import SilentReporter
from webapp.engine.sources.postgres import PostgresSource

KILLS = 60


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait with a deadline."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"not within 20 s: {what}"
        time.sleep(0.005)


def wrapper(directory: Path, server: PostgresServer, script: str) -> list[PgTools]:
    """Tools whose pg_dump is a script around the real one, "$real"."""
    directory.mkdir(exist_ok=True)
    program = directory / "pg_dump"
    program.write_text(f"#!/bin/sh\nreal={server.binaries}/pg_dump\n{script}\n")
    program.chmod(0o755)
    return [PgTools(str(directory), server.major, f"{server.major}.0")]


@pytest.fixture
def role(postgres_server: PostgresServer) -> Iterator[str]:
    """A role without rights of its own on ``limited``, a copy of an Odoo database."""
    postgres_server.drop_database("limited")
    postgres_server.execute("DROP ROLE IF EXISTS weak; CREATE ROLE weak LOGIN PASSWORD 'weak'")
    postgres_server.create_database("limited")
    postgres_server.execute(
        "CREATE TABLE open (x int); CREATE TABLE closed (x int); INSERT INTO closed VALUES (1);"
        "GRANT SELECT ON open TO weak",
        "limited",
    )
    yield "weak"
    postgres_server.drop_database("limited")
    postgres_server.execute("DROP ROLE weak")


def test_a_table_that_may_not_be_read_fails_the_backup(
    postgres_server: PostgresServer, role: str, tmp_path: Path
) -> None:
    plan = postgres_server.plan(user=role, password=Secret("weak"), is_odoo=False)

    with pytest.raises(SourceError, match="closed") as caught:
        back_up(plan, "limited", tmp_path / "a.zip")

    assert (caught.value.code, caught.value.permanent) == (ErrorCode.PERMISSION_DENIED, True)
    assert "pg_read_all_data" in caught.value.hint
    assert postgres_server.sessions() == []


@pytest.mark.parametrize("archive_format", [ArchiveFormat.ZIP, ArchiveFormat.CUSTOM])
def test_hidden_rows_fail_the_backup(
    postgres_server: PostgresServer, role: str, tmp_path: Path, archive_format: ArchiveFormat
) -> None:
    postgres_server.execute(
        "GRANT SELECT ON closed TO weak; ALTER TABLE closed ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY none ON closed USING (false)",
        "limited",
    )
    plan = postgres_server.plan(user=role, password=Secret("weak"), is_odoo=False)

    with pytest.raises(SourceError, match="row-level security") as caught:
        back_up(plan, "limited", tmp_path / "a", format=archive_format, content=Content.DATABASE)

    assert caught.value.code is ErrorCode.PERMISSION_DENIED
    assert "BYPASSRLS" in caught.value.hint


def test_a_lock_is_waited_for_and_no_longer(
    postgres_server: PostgresServer, prod: OdooDatabase, tmp_path: Path
) -> None:
    plan = postgres_server.plan(prod.filestore.parent, lock_wait_seconds=1)
    with postgres_server.connect("prod") as holder:
        holder.execute("BEGIN")
        holder.execute("LOCK res_partner IN ACCESS EXCLUSIVE MODE")

        with pytest.raises(SourceError) as caught:
            back_up(plan, "prod", tmp_path / "a.zip")
        holder.execute("ROLLBACK")

    assert caught.value.code is ErrorCode.LOCK_TIMEOUT
    assert not caught.value.permanent


def test_pg_dump_killed_at_any_moment_is_never_a_success(
    postgres_server: PostgresServer, prod: OdooDatabase, tmp_path: Path
) -> None:
    source = random.Random(11)
    signals = (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV)
    codes = set()
    for number in range(KILLS):
        # The dump of ``prod`` is 240 kB; the cut lies anywhere in it, and the whole end may even have been written.
        cut = source.randrange(0, 235_000)
        name = signals[number % len(signals)].name.removeprefix("SIG")
        script = f'"$real" "$@" | head -c {cut}; kill -{name} $$'
        tools = wrapper(tmp_path / "tools", postgres_server, script)

        with pytest.raises(SourceError) as caught:
            back_up(postgres_server.plan(prod.filestore.parent), "prod", tmp_path / "a.zip", tools=tools)
        codes.add(caught.value.code)

    assert codes == {ErrorCode.DUMP_FAILED}
    until(lambda: postgres_server.sessions() == [], "all sessions are gone")


def test_pg_dump_killed_in_the_middle_of_its_work_is_never_a_success(
    postgres_server: PostgresServer, prod: OdooDatabase, tmp_path: Path
) -> None:
    codes: set[ErrorCode] = set()
    for pause in ("0", "0.01", "0.03", "0.06"):
        tools = wrapper(tmp_path / "tools", postgres_server, f'"$real" "$@" & p=$!; sleep {pause}; kill -9 $p; wait $p')
        try:
            backup = back_up(postgres_server.plan(prod.filestore.parent), "prod", tmp_path / "a.zip", tools=tools)
        except SourceError as error:
            codes.add(error.code)
        else:  # It was faster than the signal.
            assert (
                backup.read("dump.sql").rstrip().endswith(b"complete")
                or b"unrestrict" in backup.read("dump.sql")[-200:]
            )
    assert codes <= {ErrorCode.DUMP_FAILED, ErrorCode.CONNECTION_LOST}


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ('"$real" "$@"; exit 1', ErrorCode.DUMP_FAILED),
        ("exit 1", ErrorCode.DUMP_FAILED),
        ("echo 'pg_dump: error: aborting because of server version mismatch' >&2; exit 1", ErrorCode.CLIENT_TOO_OLD),
        ("echo 'server closed the connection unexpectedly' >&2; exit 1", ErrorCode.CONNECTION_LOST),
        ("printf '\\033[31m\\377\\376 broken \\007' >&2; exit 1", ErrorCode.DUMP_FAILED),
        ("head -c 3000000 /dev/zero | tr '\\0' x >&2; echo; exit 3", ErrorCode.DUMP_FAILED),
    ],
)
def test_pg_dumps_last_words_are_understood_and_kept_short(
    postgres_server: PostgresServer, prod: OdooDatabase, tmp_path: Path, script: str, code: ErrorCode
) -> None:
    tools = wrapper(tmp_path / "tools", postgres_server, script)

    with pytest.raises(SourceError) as caught:
        back_up(postgres_server.plan(prod.filestore.parent), "prod", tmp_path / "a.zip", tools=tools)

    assert caught.value.code is code
    assert len(caught.value.message) < 1000
    assert "\x1b" not in caught.value.message


def test_client_tools_that_are_too_old_are_said_so_before_anything_is_written(
    postgres_server: PostgresServer, prod: OdooDatabase, tmp_path: Path
) -> None:
    old = [PgTools("/nonexistent", 14, "14.9")]

    with pytest.raises(SourceError, match=r"pg_dump 14\.9 cannot read a \d+\.\d+ server") as caught:
        back_up(postgres_server.plan(prod.filestore.parent), "prod", tmp_path / "a.zip", tools=old)

    assert (caught.value.code, caught.value.permanent) == (ErrorCode.CLIENT_TOO_OLD, True)
    assert f"postgresql-client-{postgres_server.major}" in caught.value.hint
    assert (tmp_path / "a.zip").stat().st_size == 0


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
    until(lambda: postgres_server.sessions() == [], "all sessions are gone")
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
    until(lambda: postgres_server.sessions() == [], "all sessions are gone")


def test_a_wrong_host_key_or_key_fails_before_anything_is_written(
    postgres_server: PostgresServer, prod: OdooDatabase, ssh_server: SshServer, tmp_path: Path
) -> None:
    _, other = make_key(tmp_path / "other")
    stranger, _ = make_key(tmp_path / "stranger")
    cases = [
        (ssh_server.plan(host_key=other), ErrorCode.HOST_KEY_MISMATCH),
        (ssh_server.plan(private_key=Secret(stranger)), ErrorCode.SSH_FAILED),
    ]
    for ssh, code in cases:
        filestore = FilestorePlan(FilestoreKind.SSH, str(prod.filestore.parent), ssh)
        for plan in (postgres_server.plan(filestore), postgres_server.plan(prod.filestore, tunnel=ssh)):
            with pytest.raises(SourceError) as caught:
                back_up(plan, "prod", tmp_path / "a.zip")
            assert caught.value.code is code
            assert (tmp_path / "a.zip").stat().st_size == 0


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


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"password": Secret("wrong")}, ErrorCode.AUTH_FAILED),
        ({"user": "nobody_here"}, ErrorCode.AUTH_FAILED),
        ({"port": 1}, ErrorCode.CONNECTION_FAILED),
        ({"host": "no-such-host.invalid"}, ErrorCode.DNS_FAILED),
        ({"sslmode": "require"}, ErrorCode.TLS_FAILED),
        ({"sslmode": "verify-full"}, ErrorCode.TLS_FAILED),
        ({"host": "127.0.0.1,evil.example"}, ErrorCode.INVALID_CONFIGURATION),
        ({"host": "127.0.0.1 port=1"}, ErrorCode.INVALID_CONFIGURATION),
        ({"host": ""}, ErrorCode.INVALID_CONFIGURATION),
        ({"sslmode": "none"}, ErrorCode.INVALID_CONFIGURATION),
        ({"password": Secret("a\nb")}, ErrorCode.INVALID_CONFIGURATION),
    ],
)
def test_a_server_that_cannot_be_reached_has_its_own_code(
    postgres_server: PostgresServer, changes: dict[str, object], code: ErrorCode
) -> None:
    plan = replace(postgres_server.plan(), **changes)  # type: ignore[arg-type]

    with pytest.raises(SourceError) as caught:
        PostgresSource(plan).list_databases()

    assert caught.value.code is code
    assert postgres_server.plan().password.reveal() not in caught.value.message


def test_tools_of_this_machine_fit_the_test_server(postgres_server: PostgresServer) -> None:
    assert postgres_server.major in {tools.major for tools in find_tools()}


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


def test_the_guard_waits_for_a_vacuum_that_is_under_way(
    postgres_server: PostgresServer, prod: OdooDatabase, tmp_path: Path
) -> None:
    with postgres_server.connect("prod") as vacuum:
        vacuum.execute("BEGIN")
        vacuum.execute("LOCK ir_attachment IN SHARE MODE")
        threading.Timer(0.5, lambda: _quietly(vacuum)).start()

        backup = back_up(postgres_server.plan(prod.filestore.parent), "prod", tmp_path / "a.zip")

    assert backup.reporter.warnings == []


def _quietly(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    connection.execute("ROLLBACK")
