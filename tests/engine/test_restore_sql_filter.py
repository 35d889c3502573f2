"""What psql gets of a dump: everything that is data and meaning, nothing that is a command of psql."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.archives import odoo_dump
from tests.support.postgres import PostgresServer
from webapp.core.errors import ArchiveError
from webapp.core.status import ErrorCode
from webapp.engine.process import ProcessFailed, stream
from webapp.engine.report import SilentReporter
from webapp.engine.restore.sql_filter import DumpFilter
from webapp.engine.restore.sql_rules import ServerFacts, StatementRules

SERVER = ServerFacts(
    150018,
    frozenset({"statement_timeout", "client_encoding", "standard_conforming_strings"}),
    frozenset({"odoo"}),
    "odoo",
    False,
)


def filtered(dump: bytes, size: int = 1 << 20) -> bytes:
    rules = StatementRules(SERVER)
    pieces = [dump[at : at + size] for at in range(0, len(dump), size)]
    return b"".join(DumpFilter(rules).filtered(pieces))


def kept(dump: bytes) -> bytes:
    return filtered(dump).strip()


HOSTILE = {
    "shell": b"SELECT 1;\n\\! touch CANARY\n",
    "in a line": b"SELECT 1 \\! touch CANARY\n;",
    "connect": b"\\connect other\n",
    "copy": b"\\copy t TO PROGRAM 'touch CANARY'\n",
    "backquotes": b"\\unrestrict `touch CANARY`\n",
    "restrict with more": b"\\restrict abc \\! touch CANARY\n",
    "restrict inside a statement": b"SELECT 1\n\\restrict abc\n;",
    "after an empty COPY": b"COPY t (a) FROM stdin;\n\\.\n\\! touch CANARY\n",
    "behind a COPY": b"COPY t (a) FROM stdin; \\! touch CANARY\n\\.\n",
    "COPY inside parentheses": b"SELECT (1; COPY t FROM stdin;\n\\! touch CANARY\n\\.\n",
    "COPY inside a body": b"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; COPY t FROM stdin;\n\\! touch CANARY\n\\.\n",
    "COPY inside a body, hidden": b"CREATE /**/ OR REPLACE --\nPROCEDURE f() BEGIN ATOMIC COPY t FROM stdin;\n\\! touch CANARY\n",
    "program": b"COPY t FROM PROGRAM 'touch CANARY';",
    "server file": b"COPY t TO '/tmp/CANARY';",
    "escape string": b"SELECT E'\\' ; \\! touch CANARY\n --';\n\\! touch CANARY\n",
    "number and escape string": b"SELECT 1e'\\' ';\n\\! touch CANARY\n --';",
    "escape string goes on": b"SELECT E'a'\n'\\' ';\n\\! touch CANARY\n --';",
    "escape string goes on after a comment": b"SELECT E'a' -- x\n'\\' ';\n\\! touch CANARY\n --';",
    "dollar after a number": b"SELECT 1$$ ' $$ \\! touch CANARY\n ';",
    "dollar in a name": b"SELECT a$$ ' $$ \\! touch CANARY\n ';",
    "junk and escape string": b"SELECT 1ae'\\' ';\n\\! touch CANARY\n --';",
    "later number and escape string": b"SELECT a, b, c, d, 1.e'\\' ';\n\\! touch CANARY\n --';",
    "variable and string": b"SELECT :e'\\' \\! touch CANARY\n';\n",
    "variable for a word": b"CREATE FUNCTION f() :begin; COPY t FROM stdin;\n'\n\\.\n\\! touch CANARY\n';",
    "variable of psql": b"SELECT 1 :DBNAME \\! touch CANARY\n;",
    "nul": b"SELECT 'a\0';\n",
    "strings off": b"SET standard_conforming_strings = off;",
    "client encoding": b"SET client_encoding = 'SJIS';",
    "client encoding by call": b"SELECT pg_catalog.set_config('client_encoding', 'GBK', false);",
    "rollback": b"ROLLBACK;",
    "another database": b"DROP DATABASE other;",
    "a role": b"CREATE ROLE mallory SUPERUSER;",
    "a user": b"ALTER USER odoo SUPERUSER;",
    "the system": b"ALTER SYSTEM SET archive_command = 'touch CANARY';",
    "a library": b"LOAD '/tmp/evil.so';",
    "csv": b"COPY t FROM stdin WITH (FORMAT csv);\n\\.\n\\! touch CANARY\n",
}


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("name", HOSTILE)
def test_what_could_run_programs_is_refused(name: str, size: int) -> None:
    with pytest.raises(ArchiveError) as caught:
        filtered(HOSTILE[name], size)

    assert caught.value.code is ErrorCode.HOSTILE_ARCHIVE


@pytest.mark.parametrize("name", [name for name in HOSTILE if b"\\" in HOSTILE[name]])
def test_psql_itself_runs_nothing_of_it(name: str, postgres_server: PostgresServer, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    dump = b"CREATE TEMP TABLE t (a text);\n" + HOSTILE[name].replace(b"CANARY", str(canary).encode())
    argv = [
        str(postgres_server.binaries / "psql"),
        "-X",
        "-q",
        "-v",
        "ON_ERROR_STOP=1",
        "--single-transaction",
        "--file=-",
    ]
    sieve = DumpFilter(StatementRules(SERVER)).filtered([dump])

    with (
        pytest.raises((ArchiveError, ProcessFailed)),
        stream(argv, env=postgres_server.environment(), reporter=SilentReporter(), stdin=sieve) as chunks,
    ):
        for _ in chunks:
            pass

    assert not os.path.exists(canary)


LEFT_OUT = {
    b"\\restrict abcDEF123\n": "",
    b"\\unrestrict abcDEF123\n": "",
    b"SET transaction_timeout = 0;": "settings that the server does not know",
    b"SET default_tablespace = fast;": "tablespaces",
    b"SET SESSION AUTHORIZATION 'bob';": "owners",
    b"RESET SESSION AUTHORIZATION;": "owners",
    b"ALTER TABLE public.a OWNER TO bob;": "owners",
    b'ALTER FUNCTION public.f(a integer) OWNER TO "the ""bob""";': "owners",
    b"COMMENT ON EXTENSION pg_trgm IS 'x';": "comments on extensions",
    b"GRANT SELECT ON TABLE public.a TO nobody_here;": "grants of or to missing roles",
    b"REVOKE ALL ON SCHEMA public FROM PUBLIC, nobody_here;": "grants of or to missing roles",
    b"ALTER DEFAULT PRIVILEGES FOR ROLE bob GRANT SELECT ON TABLES TO odoo;": "grants of or to missing roles",
    b"CREATE SUBSCRIPTION s CONNECTION 'host=evil' PUBLICATION p;": "subscriptions and publications",
    b"BEGIN;": "transaction marks",
    b"SELECT * FROM pg_catalog.pg_restore_relation_stats('version', 1);": "statistics",
    b"-- a comment \\! only\n": "",
    b"/* nested /* \\! */ too */": "",
}
PASSING = (
    b"SET statement_timeout = 0;",
    b"SET my.own = 'x';",
    b"SELECT pg_catalog.set_config('search_path', '', false);",
    b"GRANT ALL ON SCHEMA public TO PUBLIC;",
    b"GRANT SELECT ON TABLE public.a TO odoo WITH GRANT OPTION;",
    b"CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public;",
    b"COMMENT ON COLUMN public.a.b IS 'ALTER TABLE x OWNER TO y';",
    b"CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $_$SELECT '\\! ;' || $1; COPY x FROM stdin; $_$;",
    b"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END;",
    b"CREATE RULE r AS ON INSERT TO a DO ALSO (INSERT INTO b VALUES (1); SELECT 'x;y');",
    b"INSERT INTO a VALUES (1.5e10, E'it\\'s \\\\ ;', 'back\\slash', U&'d\\0061t', B'101', x'1F', ARRAY[E'a', 'b']);",
    b"ALTER TABLE \"a;\\b\" ADD CONSTRAINT c CHECK ((x)::text ~ '^\\d+$'::text);",
    b"SELECT $1 + $2;",
    b"SELECT date'2026-01-01', x.e, a[1:2], a[1:n], 'x'::text, '1'::character varying(3)[];",
    b"CREATE USER MAPPING FOR odoo SERVER s;",
    b"DO $do$BEGIN PERFORM 1; END$do$;",
)


@pytest.mark.parametrize("statement", LEFT_OUT)
def test_what_a_server_cannot_take_is_left_out(statement: bytes) -> None:
    rules = StatementRules(SERVER)

    passed = b"".join(DumpFilter(rules).filtered([statement]))

    assert passed.strip() == b""
    assert list(rules.left_out) == ([LEFT_OUT[statement]] if LEFT_OUT[statement] else [])


@pytest.mark.parametrize("size", [1, 5, 1 << 20])
@pytest.mark.parametrize("statement", PASSING)
def test_what_pg_dump_writes_passes_unchanged(statement: bytes, size: int) -> None:
    assert filtered(statement, size).strip() == statement


def test_rows_pass_untouched_whatever_they_hold() -> None:
    rows = b"1\t\\\\! echo\n2\t\\N;DROP DATABASE x;\n\\\\.\n3\t--'\n"
    dump = b"COPY t (a, b) FROM stdin;\n" + rows + b"\\.\nSET statement_timeout = 1;\nCOPY e FROM stdin;\n\\.\n"

    assert filtered(dump) == dump


def test_an_end_in_the_middle_is_an_error() -> None:
    for dump in (b"SELECT 1", b"SELECT 'a", b"COPY t FROM stdin;\n1\n", b"COPY t FROM stdin;\n1\n\\.", b"/* a"):
        with pytest.raises(ArchiveError) as caught:
            filtered(dump)
        assert caught.value.code is ErrorCode.TRUNCATED


def test_a_statement_of_any_length_passes_in_bounded_memory() -> None:
    long = b"INSERT INTO t VALUES ('" + b"x" * 3_000_000 + b"');"

    assert filtered(long, 65_536) == long
    assert filtered(b"COMMENT ON EXTENSION e IS '" + b"y" * 3_000_000 + b"';", 65_536).strip() == b""


@given(st.lists(st.integers(1, 400), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_the_cut_into_pieces_changes_nothing(sizes: list[int]) -> None:
    dump = b"\\restrict k\n" + odoo_dump([b"one", b"two"]) + b"\n".join(PASSING) + b"\n\\unrestrict k\n"
    pieces, at = [], 0
    for size in sizes:
        pieces.append(dump[at : at + size])
        at += size

    assert b"".join(DumpFilter(StatementRules(SERVER)).filtered([*pieces, dump[at:]])) == filtered(dump)
