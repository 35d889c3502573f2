"""Dumps that run code when they are restored: nothing of it happens, or what happens stays in the cage."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg
import pytest

from tests.support.drills import HEAD, TAIL, answers, load_dump, plan_of, written_zip
from tests.support.postgres_backups import StoppingReporter
from webapp.core.errors import ArchiveError, HoldfastError, TaskStopped
from webapp.core.status import ErrorCode
from webapp.engine.drill.cage import Strength
from webapp.engine.drill.cluster import ADMIN, Cluster
from webapp.engine.drill.dump_reader import DumpReader
from webapp.engine.drill.run import run
from webapp.engine.report import SilentReporter


@dataclass
class Canaries:
    """A directory that anybody may write to, a port and a socket that anybody may reach; ``touched`` says who did."""

    directory: Path
    port: int
    called: list[str] = field(default_factory=list)

    @property
    def file(self) -> str:
        return str(self.directory / "canary")

    def touched(self) -> list[str]:
        return [*os.listdir(self.directory), *self.called]


@pytest.fixture(scope="module")
def aviary() -> Iterator[Path]:
    """Outside of /tmp, which is another one inside a cage."""
    directory = Path(f"/var/tmp/holdfast-canaries-{os.getpid()}")
    directory.mkdir()
    directory.chmod(0o777)
    yield directory
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()


@pytest.fixture
def canaries(aviary: Path) -> Iterator[Canaries]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        birds = Canaries(aviary, listener.getsockname()[1])
        over = threading.Event()

        def listen() -> None:
            while not over.is_set():
                try:
                    listener.accept()[0].close()
                    birds.called.append("port")
                except TimeoutError:
                    continue

        thread = threading.Thread(target=listen)
        thread.start()
        yield birds
        over.set()
        thread.join()


TABLE = "CREATE TABLE public.t (id integer, name text);\nCOPY public.t (id, name) FROM stdin;\n1\tone\n2\ttwo\n\\.\n"
# {file} is a canary that anybody may write, {port} one that anybody may call.
META = {
    "a shell": "\\! touch {file}\n",
    "a shell after data": TABLE + "\\! touch {file}\n",
    "a copy to a program": TABLE + "\\copy public.t TO PROGRAM 'touch {file}'\n",
    "a copy to a file": TABLE + "\\copy public.t TO '{file}'\n",
    "back-quotes": "\\unrestrict `touch {file}`\n",
    "back-quotes in a variable": "\\set x `touch {file}`\n",
    "output to a file": "\\o {file}\nSELECT 1;\n",
    "output to a program": "SELECT 1 \\g |touch {file}\n;",
    "another server": "\\connect postgresql://127.0.0.1:{port}/x\n",
    "an included file": "\\i {file}\n",
    "large object to a file": "\\lo_export 1 {file}\n",
}
CALL = "CREATE FUNCTION public.f(integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$\nBEGIN EXECUTE 'COPY "
CALL += "(SELECT 1) TO PROGRAM ''touch {file}'''; RETURN 1; END $$;\n"
REFUSED = {
    "copy to a program": TABLE + "COPY public.t TO PROGRAM 'touch {file}';\n",
    "copy to a file": TABLE + "COPY public.t TO '{file}';\n",
    "copy from a program": TABLE + "COPY public.t FROM PROGRAM 'touch {file}; echo 1';\n",
    "copy from a file": TABLE + "COPY public.t (name) FROM '/etc/passwd';\n",
    "a block": "DO $$ BEGIN EXECUTE 'COPY (SELECT 1) TO PROGRAM ''touch {file}'''; END $$;\n",
    "a function in a default": CALL + "CREATE TABLE public.t (id integer DEFAULT public.f(1), name text);\n"
    "COPY public.t (name) FROM stdin;\none\n\\.\n",
    "a function in a check": CALL + "CREATE TABLE public.t (id integer CHECK (public.f(id) = 1));\n"
    "COPY public.t (id) FROM stdin;\n1\n\\.\n",
    "a function in a generated column": CALL
    + "CREATE TABLE public.t (id integer, g integer GENERATED ALWAYS AS (public.f(id)) STORED);\n"
    "COPY public.t (id) FROM stdin;\n1\n\\.\n",
    "a function in an index": CALL + TABLE + "CREATE INDEX i ON public.t USING btree (public.f(id));\n",
    "a function in a trigger": "CREATE TABLE public.t (id integer);\nCREATE FUNCTION public.g() RETURNS trigger LANGUAGE "
    "plpgsql AS $$ BEGIN EXECUTE 'COPY (SELECT 1) TO PROGRAM ''touch {file}'''; RETURN NEW; END $$;\n"
    "CREATE TRIGGER x BEFORE INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.g();\n"
    "COPY public.t (id) FROM stdin;\n1\n\\.\n",
    "a function in a materialised view": CALL + TABLE + "CREATE MATERIALIZED VIEW public.m AS SELECT public.f(id) FROM "
    "public.t WITH NO DATA;\nREFRESH MATERIALIZED VIEW public.m;\n",
    "an untrusted language": "CREATE FUNCTION public.c() RETURNS integer LANGUAGE c AS 'libc.so.6', 'abort';\n",
    "a large object to a file": "SELECT pg_catalog.lo_create('7');\nSELECT pg_catalog.lo_export(7, '{file}');\n",
    "a large object from a file": "SELECT pg_catalog.lo_import('/etc/passwd');\n",
    "reading a file": "SELECT pg_catalog.pg_read_file('/etc/passwd');\n",
    "listing a directory": "SELECT pg_catalog.pg_ls_dir('/');\n",
    "loading a library": "LOAD '/tmp/evil.so';\n",
    "a library for sessions": "SET session_preload_libraries = 'evil';\n",
    "a setting of the system": "ALTER SYSTEM SET archive_command = 'touch {file}';\n",
    "becoming superuser": "ALTER ROLE holdfast_drill SUPERUSER;\n",
    "becoming another": "SET ROLE holdfast_admin;\n",
    "a server's programs": "GRANT pg_execute_server_program TO holdfast_drill;\nCOPY (SELECT 1) TO PROGRAM 'touch {file}';\n",
    "a tablespace": "CREATE TABLESPACE x LOCATION '{directory}';\n",
    "another database's server": "CREATE EXTENSION/**/dblink;\n",
    "a foreign file": "CREATE EXTENSION/**/file_fdw;\n",
}


@pytest.mark.parametrize("case", META)
def test_a_command_to_psql_is_never_run(case: str, canaries: Canaries) -> None:
    dump = HEAD + META[case].format(file=canaries.file, port=canaries.port) + TAIL

    with pytest.raises(ArchiveError) as raised:
        for item in DumpReader(iter([dump.encode()])):
            list(getattr(item, "rows", ()))

    assert raised.value.code in (ErrorCode.HOSTILE_ARCHIVE, ErrorCode.TRUNCATED)
    assert canaries.touched() == []


def test_what_looks_like_a_command_in_rows_and_texts_is_none(drill_database: Cluster) -> None:
    odd = "COPY public.t (id, name) FROM stdin;\n3\t\\\\! touch /tmp/x\n4\t\\\\.\n\\.\n"

    report = load_dump(drill_database, TABLE + odd + "COMMENT ON TABLE public.t IS '\n\\! touch /tmp/x\n';\n")

    assert report.rows == {"public.t": 4}


@pytest.mark.parametrize("case", REFUSED)
def test_code_in_a_dump_does_not_leave_the_cage(case: str, drill_database: Cluster, canaries: Canaries) -> None:
    dump = REFUSED[case].format(file=canaries.file, port=canaries.port, directory=canaries.directory)

    with pytest.raises(HoldfastError) as raised:
        load_dump(drill_database, dump)

    assert raised.value.code in (ErrorCode.DRILL_IMPOSSIBLE, ErrorCode.RESTORE_FAILED), raised.value.message
    assert raised.value.permanent
    assert canaries.touched() == []


def test_what_only_a_superuser_may_make_is_left_out_and_said(drill_database: Cluster, canaries: Canaries) -> None:
    call = f"host=127.0.0.1 port={canaries.port} dbname=x connect_timeout=2"

    report = load_dump(
        drill_database,
        TABLE
        + "CREATE FUNCTION public.e() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;\n"
        + "CREATE EVENT TRIGGER x ON ddl_command_end EXECUTE FUNCTION public.e();\n"
        + f"CREATE SUBSCRIPTION s CONNECTION '{call}' PUBLICATION p;\n"
        + "GRANT ALL ON TABLE public.t TO PUBLIC;\nALTER TABLE public.t OWNER TO somebody;\n",
    )

    assert len(report.unproven) == 2
    assert report.left_out == 4
    assert canaries.touched() == []


def test_even_a_superuser_could_not_get_out(drill_database: Cluster, canaries: Canaries) -> None:
    if drill_database.cage.strength is not Strength.FULL:
        pytest.skip("this kernel gives us no namespaces")
    call = f"exec 3<>/dev/tcp/127.0.0.1/{canaries.port}"

    for command in (f"touch {canaries.file}", f"bash -c '{call}'", "touch /etc/holdfast-canary"):
        with pytest.raises(psycopg.Error), drill_database.connect(ADMIN) as session:
            session.execute(f"COPY (SELECT 1) TO PROGRAM $x${command}$x$".encode())

    assert canaries.touched() == []
    assert not Path("/etc/holdfast-canary").exists()


def test_the_loader_reaches_its_own_database_only(drill_database: Cluster) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"pg_hba\.conf"):
        drill_database.connect(database="template1")


def test_settings_that_a_dump_gives_its_role_do_not_reach_the_questions(tmp_path: Path, canaries: Canaries) -> None:
    path = tmp_path / "prod.zip"
    tricks = (
        "ALTER ROLE holdfast_drill SET statement_timeout = '1ms';\nALTER ROLE holdfast_drill SET search_path = evil;\n"
    )
    manifest = written_zip(path, TABLE + tricks)

    report = run(plan_of(path, manifest, tmp_path / "drills"), SilentReporter())

    assert report.passed, answers(report)
    assert answers(report)["drill_rows"].value == "2"


@pytest.mark.parametrize("extension", ["dblink", "file_fdw", "postgres_fdw", "plpython3u"])
def test_an_extension_that_reaches_outside_is_never_made(extension: str, tmp_path: Path) -> None:
    path = tmp_path / "prod.zip"
    manifest = written_zip(path, f"CREATE EXTENSION IF NOT EXISTS {extension} WITH SCHEMA public;\n" + TABLE)

    with pytest.raises(HoldfastError, match=extension) as raised:
        run(plan_of(path, manifest, tmp_path / "drills"), SilentReporter())

    assert raised.value.code is ErrorCode.DRILL_IMPOSSIBLE


@pytest.mark.parametrize("statement", ["SELECT pg_catalog.pg_sleep(3600);", "DO $$ BEGIN LOOP END LOOP; END $$;"])
def test_a_dump_that_never_ends_is_stopped_with_its_cluster(statement: str, tmp_path: Path) -> None:
    path = tmp_path / "prod.zip"
    manifest = written_zip(path, TABLE + statement + "\n")
    reporter = StoppingReporter()
    threading.Thread(target=stop_when_loading, args=(reporter,), daemon=True).start()

    with pytest.raises(TaskStopped):
        run(plan_of(path, manifest, tmp_path / "drills"), reporter)

    assert os.listdir(tmp_path / "drills") == []
    assert processes_with(str(tmp_path)) == []


def stop_when_loading(reporter: StoppingReporter) -> None:
    deadline = time.monotonic() + 60
    while "load" not in reporter.steps and time.monotonic() < deadline:
        time.sleep(0.02)  # Between two looks; the loop has its deadline.
    time.sleep(0.3)  # So that the statement has begun; an earlier stop is one that is easier.
    reporter.stop()


def processes_with(text: str) -> list[str]:
    """Command lines of processes that name the text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode()
            if text in line and "pytest" not in line:
                found.append(line)
    return found


def test_a_hostile_dump_makes_a_drill_that_failed(tmp_path: Path, canaries: Canaries) -> None:
    path = tmp_path / "prod.zip"
    manifest = replace(written_zip(path, f"\\! touch {canaries.file}\n"), is_odoo=True)

    report = run(plan_of(path, manifest, tmp_path / "drills"), SilentReporter())

    assert not report.passed
    assert "command to psql" in answers(report)["drill_load"].detail
    assert canaries.touched() == []
