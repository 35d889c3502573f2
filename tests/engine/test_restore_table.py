"""One table of an archive as CSV: PostgreSQL reads back what was backed up, and what cannot be written is said."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.archives import TRAILER, copy_block, odoo_dump, odoo_zip, python_zip
from tests.support.postgres import PostgresServer
from tests.support.restore_pieces import FILES, Shelved, Written, check_and_run, dump_of, shelve
from webapp.core.errors import ArchiveError, HoldfastError
from webapp.core.reports import CheckState
from webapp.core.status import RestoreTarget
from webapp.engine.report import SilentReporter
from webapp.engine.restore import table

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

    result = check_and_run(table, shelved.plan(RestoreTarget.TABLE, directory=str(ground), piece=name))

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

    check_and_run(
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
