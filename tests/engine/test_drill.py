"""Restore drills of real archives: what is asked, what is found, what is left behind."""

from __future__ import annotations

import fcntl
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.drills import answers, backed_up, plan_of, written_zip
from tests.support.odoo_database import OdooDatabase
from tests.support.odoo_zip import attachments, dump_sql
from tests.support.postgres import PostgresServer, running_server, server_directories
from webapp.core.errors import HoldfastError
from webapp.core.manifest import Manifest
from webapp.core.reports import CheckState
from webapp.core.restore_plans import OwnQuestion
from webapp.core.status import ArchiveFormat, ErrorCode
from webapp.engine.drill import placement
from webapp.engine.drill.cluster import sweep
from webapp.engine.drill.programs import choose_server, find_servers
from webapp.engine.drill.run import run
from webapp.engine.report import SilentReporter

Archive = tuple[Path, Manifest]
EXT4_TOPDIR_FL = 0x20000


@pytest.fixture(scope="module")
def archive(postgres_server: PostgresServer, prod: OdooDatabase, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    path = tmp_path_factory.mktemp("archive") / "prod.zip"
    return path, backed_up(postgres_server, prod, path)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Where clusters are made; empty again afterwards."""
    yield tmp_path / "drills"
    assert not (tmp_path / "drills").exists() or os.listdir(tmp_path / "drills") == []


def test_a_good_archive_passes_and_tells_what_was_found(archive: Archive, directory: Path) -> None:
    path, manifest = archive
    questions = (
        OwnQuestion("SELECT count(*) FROM res_users WHERE active", "3"),
        OwnQuestion("SELECT 100 % 7 = 2", "t"),
        OwnQuestion("SELECT count(*) FROM res_users", "99"),
        OwnQuestion("DELETE FROM res_users", ""),
        OwnQuestion("SELECT 1 WHERE false", ""),
    )

    report = run(plan_of(path, manifest, directory, questions=questions), SilentReporter())

    found = answers(report)
    own = [check for check in report.checks if check.key.startswith("own_")]
    rest = [check for check in report.checks if check not in own and check.key != "odoo_freshness"]
    assert [check.state for check in rest] == [CheckState.PASSED] * len(rest), rest
    assert [check.state.value for check in own] == ["passed", "passed", "failed", "failed", "failed"]
    assert "read-only" in own[3].detail
    assert list(found)[:4] == ["archive_digest", "members", "drill_load", "drill_rows"]
    assert manifest.table_rows is not None
    assert report.facts["rows"] == sum(manifest.table_rows.values())
    assert report.facts["tables"] == len(manifest.table_rows)
    assert report.facts["files"] == manifest.attachment_count
    assert report.facts["level"] == "usable"
    assert 0 < report.load_seconds < report.seconds
    assert not report.passed


def test_a_custom_dump_is_drilled_too(postgres_server: PostgresServer, prod: OdooDatabase, directory: Path) -> None:
    path = directory.parent / "prod.dump"
    manifest = backed_up(postgres_server, prod, path, archive_format=ArchiveFormat.CUSTOM)

    report = run(plan_of(path, manifest, directory), SilentReporter())

    assert report.passed, report.checks
    assert report.facts["level"] == "usable"
    assert "attachments" not in answers(report)


@pytest.mark.skipif(len(server_directories()) < 2, reason="only one PostgreSQL is here")
def test_a_dump_of_the_newest_postgresql_is_loaded_into_such_a_server(tmp_path: Path, directory: Path) -> None:
    binaries = server_directories()[-1]
    path = tmp_path / "prod.zip"
    with running_server(binaries) as server:
        server.create_database("prod")
        server.execute(
            "CREATE EXTENSION vector; CREATE EXTENSION unaccent; CREATE TABLE t (id serial PRIMARY KEY, v vector(3), "
            "g int GENERATED ALWAYS AS (id * 2) STORED); INSERT INTO t (v) VALUES ('[1,2,3]'), ('[4,5,6]');"
            "CREATE TABLE c (id int REFERENCES t); INSERT INTO c VALUES (1);"
            "CREATE TABLE p (id int REFERENCES t, d date NOT NULL) PARTITION BY RANGE (d);"
            "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');"
            "INSERT INTO p VALUES (1, '2026-05-05'); CREATE INDEX ON p (id); SELECT lo_from_bytea(0, 'large');"
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END;"
            "CREATE VIEW w AS SELECT id, count(*) FROM t GROUP BY id; COMMENT ON CONSTRAINT t_pkey ON t IS 'x; y';"
            "CREATE ROLE reader; GRANT SELECT ON t TO reader",
            "prod",
        )
        odoo = OdooDatabase("prod", tmp_path, ())
        manifest = backed_up(server, odoo, path)

    report = run(plan_of(path, manifest, directory), SilentReporter())

    assert report.passed, report.checks
    assert report.facts["server"].startswith(str(choose_server(18, ["vector"]).major))
    assert report.facts["level"] == "equal"


def test_rows_that_are_not_those_of_the_snapshot_fail(archive: Archive, directory: Path) -> None:
    path, manifest = archive
    rows = {**(manifest.table_rows or {}), "public.res_users": 4, "public.gone": 1}
    lying = replace(manifest, table_rows=rows, versions={**manifest.versions, "odoo": "17.0"})

    report = run(plan_of(path, lying, directory), SilentReporter())

    found = answers(report)
    assert found["drill_rows"].state is CheckState.FAILED
    assert "res_users has 3 rows of 4" in found["drill_rows"].detail
    assert "gone has no rows of 1" in found["drill_rows"].detail
    assert found["odoo_version"].state is CheckState.FAILED
    assert report.facts["level"] == "loaded"


def test_an_archive_that_was_damaged_fails_and_says_where(archive: Archive, directory: Path) -> None:
    path, manifest = archive
    data = bytearray(path.read_bytes())
    data[2000:2010] = b"\0" * 10
    damaged = directory.parent / "prod.zip"
    damaged.write_bytes(data)

    report = run(plan_of(damaged, manifest, directory), SilentReporter())

    found = answers(report)
    assert {key for key, check in found.items() if check.state is CheckState.FAILED} == {
        "archive_digest",
        "members",
        "drill_load",
    }
    assert report.facts["level"] == "nothing"


def test_odoo_is_asked_what_would_keep_it_from_working(directory: Path) -> None:
    path = directory.parent / "prod.zip"
    files = attachments(3)
    dump = dump_sql(files).decode().split("SELECT pg_catalog.set_config('search_path', '', false);\n", 1)[1]
    dump = dump.split("--\n-- PostgreSQL database dump complete")[0]
    dump = dump.replace("2\tadmin\tt", "2\tadmin\tf").replace("1\tbase\tinstalled", "1\tbase\tto upgrade")
    name, content = next(iter(files.items()))
    manifest = written_zip(path, dump, files={**files, name: content + b"!"}, odoo=True)

    report = run(plan_of(path, manifest, directory), SilentReporter())

    found = answers(report)
    assert found["drill_load"].state is CheckState.PASSED
    for key in ("odoo_modules", "odoo_users", "attachments"):
        assert found[key].state is CheckState.FAILED, found[key]
    assert "differ from the SHA-1" in found["attachments"].detail


def test_sequences_behind_and_constraints_not_validated_are_warnings(directory: Path) -> None:
    path = directory.parent / "prod.zip"
    manifest = written_zip(
        path,
        "CREATE TABLE public.t (id integer NOT NULL);\n"
        "CREATE SEQUENCE public.s AS integer START WITH 1 INCREMENT BY 1 NO MINVALUE NO MAXVALUE CACHE 1;\n"
        "ALTER SEQUENCE public.s OWNED BY public.t.id;\n"
        "COPY public.t (id) FROM stdin;\n9\n\\.\nSELECT pg_catalog.setval('public.s', 8, true);\n"
        "ALTER TABLE public.t\n    ADD CONSTRAINT c CHECK ((id > 50)) NOT VALID;\n",
    )

    report = run(plan_of(path, manifest, directory), SilentReporter())

    found = answers(report)
    assert report.passed
    assert found["drill_sequences"].state is CheckState.WARNING
    assert "public.s gives 9, t.id has 9" in found["drill_sequences"].detail
    assert found["drill_constraints"].state is CheckState.WARNING


def test_a_boot_command_gets_the_database_and_no_network(archive: Archive, directory: Path) -> None:
    path, manifest = archive
    psql = find_servers()[0].program("psql")
    look = 'test $(wc -l < /proc/net/route) -le 1 && "$0" -Atqc "SELECT 1" postgres && exec "$0" -Atqc "$1"'
    query = "SELECT 1 / (count(*) - 2) FROM res_users"

    good = run(plan_of(path, manifest, directory, boot_command=("/bin/sh", "-c", look, psql, query)), SilentReporter())
    bad = run(
        plan_of(path, manifest, directory, boot_command=("/bin/sh", "-c", "echo no >&2; exit 3")), SilentReporter()
    )

    assert answers(good)["boot"].state is CheckState.PASSED, answers(good)["boot"]
    assert good.facts["level"] == "booted"
    assert answers(bad)["boot"].state is CheckState.FAILED
    assert "ended with 3. It said: no" in answers(bad)["boot"].detail


def test_without_a_fitting_server_or_room_the_drill_is_impossible(archive: Archive, directory: Path) -> None:
    path, manifest = archive
    full = 1 << 60

    with pytest.raises(HoldfastError) as no_room:
        run(plan_of(path, manifest, directory, reserve_bytes=full), SilentReporter())
    with pytest.raises(HoldfastError) as too_new:
        choose_server(99, ())
    with pytest.raises(HoldfastError) as unknown:
        choose_server(9, ["postgis"])

    for raised in (no_room, too_new, unknown):
        assert raised.value.code is ErrorCode.DRILL_IMPOSSIBLE
        assert raised.value.hint


def test_what_a_kill_leaves_is_swept_and_what_lives_is_not(archive: Archive, directory: Path) -> None:
    path, manifest = archive
    program = (
        "import sys, pickle\nfrom webapp.engine.drill.run import run\nfrom webapp.engine.report import SilentReporter\n"
        "class Loud(SilentReporter):\n    def step(self, key, title, detail=''):\n        print(key, flush=True)\n"
        "run(pickle.loads(sys.stdin.buffer.read()), Loud())\n"
    )
    slow = (OwnQuestion("SELECT pg_sleep(50)", ""),)
    plan = plan_of(path, manifest, directory, questions=slow)
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(pickle.dumps(plan))
    child.stdin.close()
    while child.stdout.readline().strip() != b"read":
        assert child.poll() is None

    assert sweep(str(directory), older_than_seconds=0) == []
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()

    await_no_process_in(str(directory))
    assert len(sweep(str(directory), older_than_seconds=0)) == 1
    assert sweep(str(directory), older_than_seconds=0) == []


def test_clusters_are_placed_apart_where_the_file_system_takes_the_wish(tmp_path: Path) -> None:
    before = file_flags(tmp_path)
    for _ in range(2):
        placement.spread_below(str(tmp_path))
        assert file_flags(tmp_path) == (before if before is None else before | EXT4_TOPDIR_FL)

    placement.spread_below(str(tmp_path / "nothing"))  # a wish: what stands against it is met where the cluster is made


def test_a_cluster_is_removed_without_following_its_links(tmp_path: Path) -> None:
    outside, home = tmp_path / "outside", tmp_path / "drill-1-1-00000000"
    (home / "data" / "base" / "5").mkdir(parents=True)
    (outside / "deep").mkdir(parents=True)
    for place in (home / "data" / "base" / "5" / "1259", outside / "canary", outside / "deep" / "canary"):
        place.write_text("x")
    (home / "data" / "base" / "6").symlink_to(outside)
    (home / "link").symlink_to(outside / "canary")

    placement.remove_cluster(str(home))

    placement.remove_cluster(str(home))  # somebody else was faster
    assert not home.exists()
    assert (outside / "canary").read_text() == (outside / "deep" / "canary").read_text() == "x"


def file_flags(directory: Path) -> int | None:
    """What ``lsattr -d`` shows; None where the file system is not an ext4."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", directory], capture_output=True, text=True, check=True).stdout
    if kind.strip() != "ext2/ext3":
        return None
    flags = bytearray(8)
    descriptor = os.open(directory, os.O_RDONLY)
    fcntl.ioctl(descriptor, 0x80086601, flags)
    os.close(descriptor)
    return int.from_bytes(flags[:4], sys.byteorder)


def await_no_process_in(directory: str) -> None:
    deadline = time.monotonic() + 20
    while named := [line for line in command_lines() if directory in line]:
        assert time.monotonic() < deadline, named
        time.sleep(0.05)  # Between two looks; the loop has its deadline.


def command_lines() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
