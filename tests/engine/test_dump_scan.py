"""The dump scanner finds what a dump holds, however it is cut, and is not taken in by look-alikes."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.archives import TRAILER, copy_block, odoo_dump, odoo_rows, sha1, store_name
from webapp.core.errors import ArchiveError
from webapp.engine.archive.dump_scan import DumpScanner, DumpSummary, Pick, Row
from webapp.engine.archive.sql_statements import decode_field, table_name

TRICKY = rb"""--
-- PostgreSQL database dump
--
\restrict abc

SET standard_conforming_strings = on;

CREATE FUNCTION public.f() RETURNS text LANGUAGE plpgsql AS $_$
COPY public.fake (id) FROM stdin;
1
\.
-- PostgreSQL database dump complete
$_$;

COMMENT ON FUNCTION public.f() IS 'it''s; COPY public.fake2 (a) FROM stdin;
-- PostgreSQL database dump complete
1';
/* CREATE TABLE public.fake3 (a int); /* nested */ ' */
CREATE TABLE public."odd ""name; '$$' -- x" (
    "from; stdin" text DEFAULT E'a\'b;\\',
    n text DEFAULT '\'
);
CREATE UNLOGGED TABLE other.plain (a$b$c integer);
CREATE INDEX i ON other.plain USING btree (a$b$c) WHERE (a$b$c > 1);

COPY public."odd ""name; '$$' -- x" ("from; stdin", n) FROM stdin;
-- PostgreSQL database dump complete	\N
COPY public.fake4 (a) FROM stdin;	'
\\.	CREATE TABLE public.fake5 (a int);
x\\\.	$$
\.


COPY other.plain (a$b$c) FROM stdin;
\.

COPY public.no_columns  FROM stdin;


\.

--
-- PostgreSQL database dump complete
--

\unrestrict abc

"""


def scan(dump: bytes, cuts: list[int] | None = None, picks: dict[str, Pick] | None = None) -> DumpSummary:
    """Scan a dump in the pieces given by their lengths, then the rest in one."""
    scanner = DumpScanner(picks)
    position = 0
    for length in cuts or []:
        scanner.feed(dump[position : position + length])
        position += length
    scanner.feed(dump[position:])
    return scanner.finish()


def test_look_alikes_are_not_taken_for_the_real_thing() -> None:
    found = scan(TRICKY)

    assert found.tables == {"public.odd \"name; '$$' -- x", "other.plain"}
    assert found.rows == {"public.odd \"name; '$$' -- x": 4, "other.plain": 0, "public.no_columns": 2}
    assert found.complete
    assert found.inserted == set()


@settings(max_examples=300)
@given(st.lists(st.integers(0, 90), max_size=60))
def test_every_way_of_cutting_gives_the_same_answer(cuts: list[int]) -> None:
    assert scan(TRICKY, cuts) == scan(TRICKY)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 71, 72, 73, 1000])
def test_pieces_of_one_size_give_the_same_answer(size: int) -> None:
    assert scan(TRICKY, [size] * (len(TRICKY) // size)) == scan(TRICKY)


def test_no_cut_off_dump_is_complete() -> None:
    whole_until = TRICKY.rindex(b"complete") + len(b"complete")

    for length in range(whole_until):
        assert not scan(TRICKY[:length]).complete, length


def test_a_dump_cut_in_a_row_says_where() -> None:
    dump = odoo_dump([b"a", b"b"])

    found = scan(dump[: dump.index(b"alice")])

    assert not found.complete
    assert found.ended_in == "in the data of public.res_users"


@pytest.mark.parametrize("more", [b"DROP TABLE x;\n", b"\\connect other\n", b"x", b"COPY t (a) FROM stdin;\n\\.\n"])
def test_a_trailer_followed_by_something_is_no_trailer(more: bytes) -> None:
    assert not scan(odoo_dump([]) + more).complete


@pytest.mark.parametrize("more", [b"", b"\n\n", b"\\unrestrict key\n\n", b"-- a remark\n"])
def test_a_trailer_may_be_followed_by_nothing_that_matters(more: bytes) -> None:
    assert scan(odoo_dump([]) + more).complete


def test_rows_of_picked_tables_are_shown_with_their_escapes_resolved() -> None:
    seen: list[Row] = []
    rows = [("1", "\\\\N", "a\\tb\\n\\\\", "x"), ("2", "\\N", "caf\u00e9 \\x41\\101", "y")]
    dump = copy_block("public.t", ("id", "n", '"text; ""col"""', "last"), rows) + TRAILER

    found = scan(dump, [7] * 20, {"public.t": Pick(('text; "col"', "n"), seen.extend)})

    assert seen == [(b"a\tb\n\\", b"\\N"), ("caf\u00e9 AA".encode(), None)]
    assert found.picked == {"public.t"}


def test_a_table_without_the_wanted_columns_is_counted_but_not_picked() -> None:
    seen: list[Row] = []

    found = scan(odoo_dump([b"a"]), picks={"public.ir_attachment": Pick(("nothing",), seen.extend)})

    assert found.rows["public.ir_attachment"] == 2
    assert (found.picked, seen) == (set(), [])


def test_odoo_dump_is_counted_and_its_attachments_are_shown() -> None:
    files = [b"one", b"two"]
    seen: list[Row] = []

    found = scan(odoo_dump(files), picks={"public.ir_attachment": Pick(("store_fname", "checksum"), seen.extend)})

    assert found.rows == odoo_rows(files)
    assert seen == [(store_name(f).encode(), sha1(f).encode()) for f in files] + [(None, None)]


def test_inserts_are_noticed() -> None:
    dump = b"CREATE TABLE public.t (a text);\nINSERT INTO public.t VALUES ('COPY x FROM stdin;');\n" + TRAILER

    found = scan(dump)

    assert (found.inserted, found.rows, found.complete) == ({"public.t"}, {}, True)


def test_old_servers_without_standard_strings_are_understood() -> None:
    dump = b"SET standard_conforming_strings = off;\nSELECT 'it\\'s; CREATE TABLE x (a int);';\n" + TRAILER

    found = scan(dump)

    assert (found.tables, found.complete) == (set(), True)


def test_a_row_of_any_length_takes_little_memory() -> None:
    row = b"1\t" + b"x" * 1024
    seen: list[Row] = []
    scanner = DumpScanner({"public.t": Pick(("id", "name"), seen.extend)})
    piece = b"y" * (1 << 20)
    tracemalloc.start()
    scanner.feed(b"COPY public.t (id, big, name) FROM stdin;\n" + row)
    for _ in range(64):
        scanner.feed(piece)
    scanner.feed(b"\tthe name\n\\.\n" + TRAILER)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert scanner.finish().complete
    assert seen == [(b"1", b"the name")]
    assert peak < 16 << 20


def test_windows_line_ends_are_understood() -> None:
    found = scan(odoo_dump([b"a"]).replace(b"\n", b"\r\n"))

    assert found.complete
    assert found.rows == odoo_rows([b"a"])


def test_a_copy_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(ArchiveError):
        scan(b"COPY a.b.c.d (x) FROM stdin;\n1\n\\.\n")


@pytest.mark.parametrize(
    ("written", "name"),
    [
        (b"public.t", "public.t"),
        (b"t", "public.t"),
        (b'"A.b"."c""d"', 'A.b.c"d'),
        ('"\u00e9t\u00e9".x'.encode(), "\u00e9t\u00e9.x"),
    ],
)
def test_names_are_decoded(written: bytes, name: str) -> None:
    assert table_name(written) == name


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"\\N", None),
        (b"", b""),
        (b"\\\\N", b"\\N"),
        (b"\\b\\f\\v\\r", b"\b\f\v\r"),
        (b"\\q", b"q"),
        (b"\\x4a\\7", b"J\x07"),
    ],
)
def test_fields_are_decoded(field: bytes, value: bytes | None) -> None:
    assert decode_field(field) == value
