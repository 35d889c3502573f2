"""Pieces of an archive: a directory, the filestore, one attachment, one table; whole or not at all, wherever it is killed."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.archives import TRAILER, copy_block, odoo_dump, odoo_zip, python_zip, sha1, store_name
from tests.support.postgres import PostgresServer
from tests.support.postgres_backups import StoppingReporter
from tests.support.restore_pieces import Shelved, Written, dump_of, journal_in, killed_at, shelve
from tests.support.sshd import SshServer
from webapp.core.errors import ArchiveError, HoldfastError, StoreError, TaskStopped
from webapp.core.plans import NO_SECRET, FilestorePlan, PostgresPlan
from webapp.core.reports import CheckState
from webapp.core.restore_plans import RestorePlan, RestoreResult
from webapp.core.status import ErrorCode, FilestoreKind, RestoreOutcome, RestoreTarget
from webapp.engine.report import SilentReporter
from webapp.engine.restore import files, table
from webapp.engine.snapshots.places import open_root

FILES = [b"one", b"two" * 70_000, b""]
NASTY = [
    ("1", "plain"),
    ("2", "a, comma"),
    ("3", 'a "quote"'),
    ("4", "two\nlines\r\n"),
    ("5", "tab\tand \\ backslash"),
    ("6", ""),
    ("7", None),
    ("8", "\\."),
    ("9", "\\N"),
    ("10", "é ☃ \u202e"),
    ("11", " spaces "),
    ("12", "x" * 3_000_000),
]


@pytest.fixture
def odoo(tmp_path: Path) -> Shelved:
    """An Odoo's archive."""
    return shelve(tmp_path, odoo_zip(FILES))


@pytest.fixture
def ground(tmp_path: Path) -> Path:
    """A directory for restores."""
    (tmp_path / "restored").mkdir()
    return tmp_path / "restored"


def _tree(root: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


def _contents(root: Path) -> dict[str, bytes]:
    return {name: content for name, content in _tree(root).items() if content is not None}


def _run(module: Any, plan: RestorePlan) -> RestoreResult:
    report = module.check(plan, SilentReporter())
    assert report.allowed, report
    result = module.run(plan, Written(), SilentReporter())
    assert isinstance(result, RestoreResult)
    return result


def test_a_directory_gets_dump_manifest_and_filestore(odoo: Shelved, ground: Path) -> None:
    result = _run(files, odoo.plan(RestoreTarget.DIRECTORY, directory=str(ground / "acme")))

    found = _contents(ground / "acme")
    assert {name: found[f"filestore/{name}"] for name in map(store_name, FILES)} == dict(
        zip(map(store_name, FILES), FILES, strict=True)
    )
    assert found["dump.sql"] == odoo_dump(FILES)
    assert json.loads(found["manifest.json"])["db_name"] == "prod"
    assert json.loads(found["holdfast-manifest.json"])["sha256"] == odoo.manifest.sha256
    assert result.outcome is RestoreOutcome.CREATED
    assert result.files == 5
    assert os.listdir(ground) == ["acme"]


def test_a_directory_that_is_there_and_empty_will_do(odoo: Shelved, ground: Path) -> None:
    _run(files, odoo.plan(RestoreTarget.DIRECTORY, directory=str(ground), with_filestore=False))

    assert sorted(_contents(ground)) == ["dump.sql", "holdfast-manifest.json", "manifest.json"]


def test_the_filestore_alone_goes_into_a_directory(odoo: Shelved, ground: Path) -> None:
    plan = odoo.plan(RestoreTarget.FILESTORE, directory=str(ground / "files"), file_mode="600")

    result = _run(files, plan)

    assert _contents(ground / "files") == dict(zip(map(store_name, FILES), FILES, strict=True))
    assert result.checks[0].state is CheckState.PASSED
    assert {stat.S_IMODE(path.stat().st_mode) for path in [ground / "files", *ground.glob("files/*")]} == {0o700}


def test_an_attachment_is_one_file(odoo: Shelved, ground: Path) -> None:
    name = store_name(FILES[1])

    result = _run(files, odoo.plan(RestoreTarget.ATTACHMENT, directory=str(ground / "new"), piece=name))

    assert _contents(ground) == {f"new/{sha1(FILES[1])}": FILES[1]}
    assert result.files == 1


def test_an_attachment_that_is_not_there_is_said_so(odoo: Shelved, ground: Path) -> None:
    for piece in (store_name(b"other"), "../../etc/passwd", ""):
        plan = odoo.plan(RestoreTarget.ATTACHMENT, directory=str(ground), piece=piece)

        assert not files.check(plan, SilentReporter()).allowed
        with pytest.raises(HoldfastError):
            files.run(plan, Written(), SilentReporter())
    assert os.listdir(ground) == []


@pytest.mark.parametrize("target", [RestoreTarget.DIRECTORY, RestoreTarget.FILESTORE])
def test_a_directory_that_is_not_empty_is_left_alone(target: RestoreTarget, odoo: Shelved, ground: Path) -> None:
    (ground / "mine").write_bytes(b"mine")
    plan = odoo.plan(target, directory=str(ground))

    report = files.check(plan, SilentReporter())
    with pytest.raises(StoreError) as caught:
        files.run(plan, Written(), SilentReporter())

    assert not report.allowed
    assert caught.value.code is ErrorCode.TARGET_EXISTS
    assert _tree(ground) == {"mine": b"mine"}


def test_files_that_exist_are_never_overwritten(odoo: Shelved, ground: Path) -> None:
    (ground / sha1(b"one")).write_bytes(b"mine")
    (ground / "20261122-023004_prod_public.res_users.csv").write_bytes(b"mine")
    before = _tree(ground)

    for module, target, piece in (
        (files, RestoreTarget.ATTACHMENT, store_name(b"one")),
        (table, RestoreTarget.TABLE, "res_users"),
    ):
        with pytest.raises(StoreError) as caught:
            module.run(odoo.plan(target, directory=str(ground), piece=piece), Written(), SilentReporter())
        assert caught.value.code is ErrorCode.TARGET_EXISTS
    assert _tree(ground) == before


def _in_a_store(odoo: Shelved, ground: Path) -> str:
    return os.path.dirname(odoo.path) + "/restored"


def _in_a_root_of_snapshots(odoo: Shelved, ground: Path) -> str:
    root = ground.parent / "snapshots"
    open_root(str(root), create=True)
    (root / "web-01").mkdir()
    return str(root / "web-01" / "restored")


def _through_a_link(odoo: Shelved, ground: Path) -> str:
    (ground / "link").symlink_to("/tmp")
    return str(ground / "link" / "holdfast-evil")


PLACES: dict[str, Callable[[Shelved, Path], str]] = {
    "relative": lambda odoo, ground: "restored",
    "nothing": lambda odoo, ground: "",
    "with dots": lambda odoo, ground: f"{ground}/../evil",
    "below nothing": lambda odoo, ground: f"{ground}/a/b",
    "a file": lambda odoo, ground: odoo.path,
    "in a store": _in_a_store,
    "among snapshots": _in_a_root_of_snapshots,
    "through a link": _through_a_link,
    "kernel's": lambda odoo, ground: "/proc/holdfast",
}


@pytest.mark.parametrize("name", PLACES)
def test_places_that_will_not_do_are_refused(name: str, odoo: Shelved, ground: Path) -> None:
    plan = odoo.plan(RestoreTarget.DIRECTORY, directory=PLACES[name](odoo, ground))

    allowed = files.check(plan, SilentReporter()).allowed
    with pytest.raises(StoreError):
        files.run(plan, Written(), SilentReporter())

    assert not allowed or name == "kernel's"
    assert _contents(ground) == {}


@pytest.mark.parametrize("module", [files, table], ids=["files", "table"])
def test_a_damaged_archive_is_refused_before_the_target_is_touched(module: Any, odoo: Shelved, ground: Path) -> None:
    data = bytearray(Path(odoo.path).read_bytes())
    data[len(data) // 2] ^= 1
    Path(odoo.path).write_bytes(data)
    journal = Written()

    for target, piece in ((RestoreTarget.DIRECTORY, ""), (RestoreTarget.TABLE, "res_users")):
        with pytest.raises(ArchiveError):
            module.run(odoo.plan(target, directory=str(ground / "x"), piece=piece), journal, SilentReporter())

    assert journal.entries == []
    assert os.listdir(ground) == []


@pytest.mark.parametrize(
    ("module", "target", "piece"),
    [
        (files, RestoreTarget.DIRECTORY, ""),
        (files, RestoreTarget.ATTACHMENT, store_name(b"one")),
        (table, RestoreTarget.TABLE, "res_users"),
    ],
    ids=["directory", "attachment", "table"],
)
def test_a_stop_in_the_middle_leaves_nothing(
    module: Any, target: RestoreTarget, piece: str, odoo: Shelved, ground: Path
) -> None:
    reporter = StoppingReporter()
    plan = odoo.plan(target, directory=str(ground / "x"), piece=piece)

    with pytest.raises(TaskStopped):
        module.run(plan, lambda data: reporter.stop(), reporter)

    assert os.listdir(ground) == []


# One table.


@pytest.fixture(scope="module")
def nasty(postgres_server: PostgresServer) -> PostgresServer:
    """A server with a table of values that CSV finds hard."""
    postgres_server.create_database("nasty")
    make = 'CREATE TABLE public.pairs (id integer, "Odd, name" text); CREATE TABLE public.one (v text);'
    postgres_server.execute(f'{make} CREATE SCHEMA "my schema"; CREATE TABLE "my schema"."T" (n integer);', "nasty")
    with postgres_server.connect("nasty") as connection:
        for number, text in NASTY:
            connection.execute("INSERT INTO pairs VALUES (%s, %s)", (int(number), text))
            connection.execute("INSERT INTO one VALUES (%s)", (text,))
        connection.execute('INSERT INTO "my schema"."T" SELECT generate_series(1, 20000)')
    return postgres_server


@pytest.mark.parametrize("kind", ["zip", "custom"])
@pytest.mark.parametrize("name", ["pairs", "public.one", "my schema.T"])
def test_postgresql_reads_the_table_back_as_it_was(
    name: str, kind: str, nasty: PostgresServer, tmp_path: Path, ground: Path
) -> None:
    data = python_zip({"dump.sql": dump_of(nasty, "nasty")}) if kind == "zip" else dump_of(nasty, "nasty", "-Fc")
    shelved = shelve(tmp_path, data, name="nasty_2026-11-22_02-30-04.zip")

    result = _run(table, shelved.plan(RestoreTarget.TABLE, directory=str(ground), piece=name))

    (path,) = ground.iterdir()
    assert path.name.startswith("20261122-023004_nasty_") or kind == "custom"
    source = {"pairs": "public.pairs", "public.one": "public.one", "my schema.T": '"my schema"."T"'}[name]
    back = f"{'pairs' if name == 'pairs' else 'other'}_back_{kind}"
    with nasty.connect("nasty") as connection:
        connection.execute(f"DROP TABLE IF EXISTS {back}; CREATE TABLE {back} (LIKE {source})".encode())
        with connection.cursor().copy(f"COPY {back} FROM STDIN (FORMAT csv, HEADER)".encode()) as copy:
            copy.write(path.read_bytes())
        differing = f"(TABLE {source} EXCEPT ALL TABLE {back}) UNION ALL (TABLE {back} EXCEPT ALL TABLE {source})"
        assert connection.execute(differing.encode()).fetchall() == []
        connection.execute(f"DROP TABLE {back}".encode())
    assert result.rows == (20_000 if "T" in name else len(NASTY))
    assert result.checks[0].state is CheckState.PASSED


def test_the_header_names_the_columns(tmp_path: Path, ground: Path) -> None:
    dump = (
        b"CREATE TABLE public.t (id integer);\n"
        + copy_block("public.t", ['"a,b"', "c"], [("1", "\\N"), ("", "2")])
        + TRAILER
    )

    _run(
        table,
        shelve(tmp_path, python_zip({"dump.sql": dump})).plan(RestoreTarget.TABLE, directory=str(ground), piece="t"),
    )

    assert next(ground.iterdir()).read_bytes() == b'"a,b",c\n1,\n"",2\n'


@pytest.mark.parametrize(
    ("piece", "words"),
    [
        ("res_user", "res_users"),
        ("public.nothing", "holds no table"),
        ("", "No table"),
        ("partitioned", "partition"),
        ("inserted", "INSERT"),
    ],
)
def test_tables_that_cannot_be_written_are_said_so(piece: str, words: str, tmp_path: Path, ground: Path) -> None:
    extra = (
        b"CREATE TABLE public.partitioned (id integer) PARTITION BY LIST (id);\n"
        b"CREATE TABLE public.inserted (id integer);\nINSERT INTO public.inserted VALUES (1);\n"
    )
    shelved = shelve(tmp_path, odoo_zip(FILES, dump=odoo_dump(FILES, extra=extra)))
    plan = shelved.plan(RestoreTarget.TABLE, directory=str(ground), piece=piece)
    unaware = replace(plan, manifest=replace(plan.manifest, table_rows=None))

    said = table.check(plan, SilentReporter()).checks[-1]
    try:
        table.run(unaware, Written(), SilentReporter())
    except HoldfastError as error:
        said_later = error.message + error.hint

    assert said.state is CheckState.FAILED
    assert words in said.detail + said.hint + said_later
    assert os.listdir(ground) == []


def test_rows_that_differ_from_the_snapshot_fail_the_restore(odoo: Shelved, ground: Path) -> None:
    plan = odoo.plan(RestoreTarget.TABLE, directory=str(ground), piece="res_users")
    rows = {**(plan.manifest.table_rows or {}), "public.res_users": 3}

    with pytest.raises(ArchiveError):
        table.run(replace(plan, manifest=replace(plan.manifest, table_rows=rows)), Written(), SilentReporter())

    assert os.listdir(ground) == []


# Killed anywhere.


@pytest.mark.parametrize(
    ("module", "target", "piece"),
    [
        (files, RestoreTarget.DIRECTORY, ""),
        (files, RestoreTarget.ATTACHMENT, store_name(b"one")),
        (table, RestoreTarget.TABLE, "res_users"),
    ],
    ids=["directory", "attachment", "table"],
)
def test_killed_at_any_step_it_is_there_whole_or_not_at_all(
    module: Any, target: RestoreTarget, piece: str, odoo: Shelved, ground: Path, tmp_path: Path
) -> None:
    plan = odoo.plan(target, directory=str(ground / "x"), piece=piece)
    _run(module, plan)
    whole = _tree(ground)
    outcomes = []

    for step in range(1, 200):
        shutil.rmtree(ground / "x", ignore_errors=True)
        (tmp_path / "journal").unlink(missing_ok=True)
        died = killed_at(step, lambda journal: module.run(plan, journal, SilentReporter()), tmp_path / "journal")
        left = replace(plan, journal=journal_in(tmp_path / "journal"))
        first, again = module.settle(left, SilentReporter()), module.settle(left, SilentReporter())
        assert first.outcome is again.outcome
        assert _tree(ground) == (whole if first.outcome is RestoreOutcome.CREATED else {}), step
        outcomes.append(first.outcome)
        if not died:
            break

    assert len(outcomes) > 6
    assert outcomes[0] is RestoreOutcome.UNTOUCHED
    assert outcomes[-1] is RestoreOutcome.CREATED


# The filestore at an instance's own place.


def _at_instance(odoo: Shelved, filestore: FilestorePlan, **changes: Any) -> RestorePlan:
    server = PostgresPlan("127.0.0.1", 1, "nobody", NO_SECRET, filestore=filestore)
    names = {"temporary_name": "prod__restoring_418_1", "kept_name": "prod__before_20261122_023004"}
    return odoo.plan(RestoreTarget.FILESTORE, server=server, database="prod", **names, **changes)


@pytest.fixture
def local(ground: Path) -> FilestorePlan:
    """Where a local instance keeps filestores."""
    return FilestorePlan(FilestoreKind.LOCAL, str(ground))


NEW = {f"prod/{name}": content for name, content in zip(map(store_name, FILES), FILES, strict=True)}


def test_a_new_filestore_appears_at_its_place(odoo: Shelved, local: FilestorePlan, ground: Path) -> None:
    result = _run(files, _at_instance(odoo, local))

    assert _contents(ground) == NEW
    assert (result.outcome, result.kept_filestore, result.files) == (RestoreOutcome.CREATED, "", 3)


def test_a_filestore_that_is_there_is_kept_beside(odoo: Shelved, local: FilestorePlan, ground: Path) -> None:
    (ground / "prod" / "aa").mkdir(parents=True)
    (ground / "prod" / "aa" / "old").write_bytes(b"old")
    plan = _at_instance(odoo, local)

    report = files.check(plan, SilentReporter())
    result = files.run(plan, Written(), SilentReporter())

    assert [check.state for check in report.checks if check.key == "filestore_before"] == [CheckState.WARNING]
    assert _contents(ground) == {**NEW, "prod__before_20261122_023004/aa/old": b"old"}
    assert result.outcome is RestoreOutcome.REPLACED
    assert result.kept_filestore == str(ground / "prod__before_20261122_023004")


def test_a_filestore_killed_at_any_step_is_the_old_or_the_new(
    odoo: Shelved, local: FilestorePlan, ground: Path, tmp_path: Path
) -> None:
    plan, journal = _at_instance(odoo, local), tmp_path / "journal"
    outcomes = set()

    for step in range(1, 200):
        shutil.rmtree(ground)
        (ground / "prod" / "aa").mkdir(parents=True)
        (ground / "prod" / "aa" / "old").write_bytes(b"old")
        journal.unlink(missing_ok=True)
        died = killed_at(step, lambda write: files.run(plan, write, SilentReporter()), journal)
        outcome = files.settle(replace(plan, journal=journal_in(journal)), SilentReporter()).outcome
        replaced = {**NEW, "prod__before_20261122_023004/aa/old": b"old"}
        assert _contents(ground) == (replaced if outcome is RestoreOutcome.REPLACED else {"prod/aa/old": b"old"}), step
        outcomes.add(outcome)
        if not died:
            break

    assert outcomes == {RestoreOutcome.UNTOUCHED, RestoreOutcome.REPLACED}


def test_a_filestore_on_another_host_is_put_in_place_there(odoo: Shelved, ssh_server: SshServer, scratch: Path) -> None:
    base = scratch / "filestores"
    (base / "prod" / "aa").mkdir(parents=True)
    (base / "prod" / "aa" / "old").write_bytes(b"old")
    plan = _at_instance(odoo, FilestorePlan(FilestoreKind.SSH, str(base), ssh_server.plan()))

    result = _run(files, plan)

    assert _contents(base) == {**NEW, "prod__before_20261122_023004/aa/old": b"old"}
    assert result.outcome is RestoreOutcome.REPLACED
    settled = files.settle(replace(plan, journal={}), SilentReporter())
    assert settled.outcome is RestoreOutcome.UNTOUCHED
