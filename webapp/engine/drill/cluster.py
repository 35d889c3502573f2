"""A throw-away PostgreSQL cluster: made in a cage, reached through one socket, gone afterwards whatever happened."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from webapp.core.errors import HoldfastError
from webapp.core.status import ErrorCode
from webapp.core.text import format_size, strip_controls, tail_lines
from webapp.engine.drill.cage import Cage, make_cage
from webapp.engine.drill.placement import remove_cluster, spread_below
from webapp.engine.drill.programs import ServerPrograms
from webapp.engine.process import Background, Finished, background, clean_environment
from webapp.engine.process import run as run_program
from webapp.engine.report import Reporter

Connection = psycopg.Connection[tuple[Any, ...]]

ADMIN = "holdfast_admin"
LOADER = "holdfast_drill"
PORT = 5432
LONGEST_SOCKET = 107
CHECKSUMS_SINCE = 18
START_SECONDS = 60
DEAD_AFTER_SECONDS = 60
_NAME = re.compile(r"drill-\d+-\d+-[0-9a-f]{8}")
_MEMORY_SHARE = 8
_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "1h",
    "wal_buffers": "32MB",
    "autovacuum": "off",
    "jit": "off",
    "max_locks_per_transaction": "1024",
    "dynamic_shared_memory_type": "mmap",
    "logging_collector": "off",
    "lc_messages": "C",
    "shared_preload_libraries": "",
    "max_prepared_transactions": "0",
    "bgwriter_lru_maxpages": "0",
    "track_counts": "off",
}
# Sorting takes and gives back its memory with every index: the C library keeps it, since fresh pages cost more than their use.
_KEEP_MEMORY = {
    "GLIBC_TUNABLES": "glibc.malloc.mmap_max=0:glibc.malloc.top_pad=1048576:glibc.malloc.trim_threshold=4294967296"
}
# Since when servers know a setting.
_NEWER_SETTINGS = {17: {"allow_alter_system": "off"}, 18: {"io_method": "sync"}}


@dataclass(slots=True)
class Cluster:
    """A running cluster with an empty database that the loader owns. Only ``admin`` may do what the loader may not."""

    cage: Cage
    server: ServerPrograms
    home: str
    database: str
    reserve_bytes: int
    passwords: dict[str, str] = field(repr=False)
    broken: str = ""
    _process: Background | None = None
    _socket: int = -1

    @property
    def socket_directory(self) -> str:
        """Where the Unix socket lies, on our side."""
        return f"{self.home}/socket"

    def connect(self, user: str = LOADER, *, database: str = "", options: str = "") -> Connection:
        """A session in autocommit mode; nothing of this process's environment has a say in it."""
        return psycopg.connect(
            host=f"/proc/self/fd/{self._socket}",  # a socket's path has 107 bytes at most, a directory's may have more
            port=PORT,
            user=user,
            password=self.passwords[user],
            dbname=database or self.database,
            sslmode="disable",
            gssencmode="disable",
            passfile="/dev/null",
            connect_timeout=15,
            options=options,
            application_name="holdfast drill",
            client_encoding="UTF8",
            autocommit=True,
            prepare_threshold=None,
        )

    def environment(self) -> dict[str, str]:
        """For a program in the cage that works with the database as its owner."""
        return clean_environment(
            {
                "PGHOST": self.cage.inside(self.socket_directory),
                "PGPORT": str(PORT),
                "PGUSER": LOADER,
                "PGPASSWORD": self.passwords[LOADER],
                "PGDATABASE": self.database,
                "HOME": self.cage.inside(f"{self.home}/boot"),
            }
        )

    def end(self) -> None:
        """End the server at once, from any thread."""
        if self._process is not None:
            self._process.end(self.cage.stop_signal)

    def failure(self, error: Exception) -> HoldfastError:
        """The drill could not go on, through no fault of the archive: the server is gone or the disk full."""
        said = tail_lines(strip_controls(self._process.stderr_tail() if self._process else ""), 3, 400)
        why = self.broken or f"its PostgreSQL server failed: {strip_controls(str(error), 300)} {said}".strip()
        hint = "Look at the free memory and the free disk of the worker, then try again."
        return _impossible(f"The drill could not be finished: {why}", hint)


@contextmanager
def open_cluster(
    server: ServerPrograms, directory: str, name: str, *, database: str, reserve_bytes: int, reporter: Reporter
) -> Iterator[Cluster]:
    """A cluster of its own in ``directory``, as ``name``. Raises HoldfastError(drill_impossible)."""
    with ExitStack() as stack:
        home = stack.enter_context(_place(directory, name))
        cage = make_cage(home, server.root, server.program("postgres"))
        passwords = {user: secrets.token_urlsafe(24) for user in (ADMIN, LOADER)}
        cluster = Cluster(cage, server, home, database, reserve_bytes, passwords)
        _require_short(cage.inside(cluster.socket_directory), directory)
        _initialise(cluster, reporter)
        cluster._socket = os.open(cluster.socket_directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, cluster._socket)
        process = stack.enter_context(_running(cluster, reporter))
        cluster._process = process
        stack.enter_context(reporter.on_stop(cluster.end))
        stack.enter_context(_guarded(cluster))
        _await_ready(cluster, process, reporter)
        yield cluster


def _require_short(socket_directory: str, directory: str) -> None:
    if len(f"{socket_directory}/.s.PGSQL.{PORT}".encode()) > LONGEST_SOCKET:
        hint = "Set HOLDFAST_DRILL_DIR to a shorter one."
        raise _impossible(f"The path {directory} is too long for PostgreSQL's socket.", hint)


@contextmanager
def scratch_cage(server: ServerPrograms, directory: str, name: str) -> Iterator[Cage]:
    """A cage without a cluster, for a program that reads what is not to be trusted."""
    with _place(directory, name) as home:
        yield make_cage(home, server.root, server.program("postgres"))


def new_name(task_id: int, fence: int) -> str:
    """A name that no other cluster has."""
    return f"drill-{task_id}-{fence}-{secrets.token_hex(4)}"


def room_in(directory: str) -> int:
    """Free bytes where clusters are made; the directory is made when it is not there. Raises HoldfastError."""
    try:
        if not os.path.isdir(directory):
            Path(directory).mkdir(parents=True, exist_ok=True)
            os.chmod(directory, 0o711)  # noqa: S103 - its user must be able to enter; each cluster is closed to others
        return shutil.disk_usage(directory).free
    except OSError as error:
        raise _impossible(
            f"The drill's directory {directory} cannot be used: {error.strerror}.", "Set HOLDFAST_DRILL_DIR."
        ) from error


@contextmanager
def _place(directory: str, name: str) -> Iterator[str]:
    """A directory that is ours while its lock is held; the lock goes with our process."""
    room_in(directory)
    spread_below(directory)
    home = str(Path(directory).resolve() / name)
    os.mkdir(home, 0o700)
    lock = os.open(f"{home}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield home
    finally:
        remove_cluster(home)
        with contextlib.suppress(OSError):
            os.unlink(f"{home}.lock")
        os.close(lock)


def sweep(directory: str, *, older_than_seconds: float = DEAD_AFTER_SECONDS) -> list[str]:
    """Remove clusters whose owner is gone; their names. Safe beside living ones, and beside another sweep."""
    removed = []
    try:
        names = sorted(name for name in os.listdir(directory) if _NAME.fullmatch(name.removesuffix(".lock")))
    except OSError:
        return []
    for name in dict.fromkeys(name.removesuffix(".lock") for name in names):
        home = Path(directory) / name
        if _is_dead(home, older_than_seconds):
            shutil.rmtree(home, ignore_errors=True)
            home.with_name(f"{name}.lock").unlink(missing_ok=True)
            removed.append(name)
    return removed


def _is_dead(home: Path, older_than_seconds: float) -> bool:
    """Whether nobody holds the lock. One being made, between directory and lock, is too young to be dead."""
    try:
        lock = os.open(f"{home}.lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        with contextlib.suppress(OSError):
            return time.time() - home.stat().st_mtime > older_than_seconds
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True


def _initialise(cluster: Cluster, reporter: Reporter) -> None:
    """Make the files of the cluster. Nobody gets in without a password, and the loader only into its database."""
    home, cage = cluster.home, cluster.cage
    for name in ("socket", "boot"):
        os.mkdir(f"{home}/{name}", 0o700)
    password = Path(home) / "password"
    password.write_text(cluster.passwords[ADMIN] + "\n")
    password.chmod(0o600)
    _give(cage, f"{home}/socket", f"{home}/boot", str(password))
    argv = [cluster.server.program("initdb"), "-D", f"{home}/data", "-U", ADMIN, "-A", "scram-sha-256", "-E", "UTF8"]
    argv += ["--lc-collate=C", "--no-sync", "--no-instructions", "--pwfile", str(password)]
    if cluster.server.major >= CHECKSUMS_SINCE:
        argv.append("--no-data-checksums")
    for ctype in ("C.UTF-8", "C"):
        done = _in_cage(cage, [*argv, f"--lc-ctype={ctype}", "--lc-messages=C"], reporter)
        if done.returncode == 0:
            break
        shutil.rmtree(f"{home}/data", ignore_errors=True)
    else:
        said = tail_lines(strip_controls(done.stderr_tail), 2, 300)
        raise _impossible(f"The drill's cluster could not be made: {said}", "Look at the free disk of the worker.")
    password.unlink()
    lines = [f'"{name}" {LOADER}' for name in (cluster.database, "postgres")] + [f"all {ADMIN}"]
    Path(f"{home}/data/pg_hba.conf").write_text("".join(f"local {line} scram-sha-256\n" for line in lines))


def _give(cage: Cage, *paths: str) -> None:
    if os.geteuid() == 0:
        for path in paths:
            os.chown(path, cage.uid, cage.uid)


def _in_cage(cage: Cage, command: Sequence[str], reporter: Reporter) -> Finished:
    return run_program(cage.argv(command), env=clean_environment(), timeout_seconds=120, reporter=reporter)


@contextmanager
def _running(cluster: Cluster, reporter: Reporter) -> Iterator[Background]:
    home = cluster.home
    settings = {**_SETTINGS, **_memory(), "unix_socket_directories": cluster.cage.inside(f"{home}/socket")}
    for major, newer in _NEWER_SETTINGS.items():
        settings |= newer if cluster.server.major >= major else {}
    argv = [cluster.server.program("postgres"), "-D", f"{home}/data"]
    for name, value in settings.items():
        argv += ["-c", f"{name}={value}"]
    with background(cluster.cage.argv(argv), env=clean_environment(_KEEP_MEMORY), reporter=reporter) as process:
        try:
            yield process
        finally:
            process.end(cluster.cage.stop_signal)


def _memory() -> dict[str, str]:
    """What index builds may take: a share of what is free now. Few buffers: every page is read from its file's cache anyway."""
    pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // (1 << 20)
    share = max(64, min(512, pages // _MEMORY_SHARE))
    return {"maintenance_work_mem": f"{share}MB", "shared_buffers": "32MB", "work_mem": "64MB"}


@contextmanager
def _guarded(cluster: Cluster) -> Iterator[None]:
    """End the server before it fills the disk that others need."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(1.0):
            with contextlib.suppress(OSError):
                free = shutil.disk_usage(cluster.home).free
                if free < cluster.reserve_bytes:
                    cluster.broken = f"only {format_size(free)} are free on the drill's disk."
                    cluster.end()
                    return

    thread = threading.Thread(target=watch, name="disk guard", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _await_ready(cluster: Cluster, process: Background, reporter: Reporter) -> None:
    """Wait for the first session, then make the loader and its database."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        reporter.check()
        try:
            session = cluster.connect(ADMIN, database="template1")
            break
        except psycopg.OperationalError as error:
            if process.returncode() is not None or time.monotonic() > deadline:
                raise cluster.failure(error) from error
            time.sleep(0.01)
    with session:
        session.execute(
            sql.SQL(
                "CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS PASSWORD {}"
            ).format(sql.Identifier(LOADER), sql.Literal(cluster.passwords[LOADER]))
        )


def create_database(cluster: Cluster, encoding: str) -> None:
    """The empty database, owned by the loader. Raises psycopg.Error for an encoding that does not exist."""
    name, owner = sql.Identifier(cluster.database), sql.Identifier(LOADER)
    with cluster.connect(ADMIN, database="template1") as session:
        spare = session.execute("SELECT count(*) FROM pg_database WHERE datname = 'postgres'").fetchone()
        if encoding == "UTF8" and spare == (1,):  # initdb's own empty database: nothing to copy
            session.execute(sql.SQL("ALTER DATABASE postgres RENAME TO {}").format(name))
            session.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, owner))
            return
        plain = "" if encoding == "UTF8" else " LC_COLLATE 'C' LC_CTYPE 'C'"
        text = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING {}" + plain)
        session.execute(text.format(name, owner, sql.Literal(encoding)))


def create_meeting_place(cluster: Cluster) -> None:
    """An empty database ``postgres``, where clients such as Odoo ask which databases there are."""
    with cluster.connect(ADMIN, database="template1") as session:
        if session.execute("SELECT count(*) FROM pg_database WHERE datname = 'postgres'").fetchone() == (0,):
            session.execute("CREATE DATABASE postgres TEMPLATE template0")


def _impossible(message: str, hint: str) -> HoldfastError:
    return HoldfastError(message, hint=hint, code=ErrorCode.DRILL_IMPOSSIBLE)
