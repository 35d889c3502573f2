"""The strict load: what pg_dump writes is taken in parallel and ends as it was; one statement refused ends it."""

from __future__ import annotations

import random

import pytest

from tests.support.drills import empty_database, load_dump
from webapp.core.errors import ArchiveError
from webapp.engine.drill import load
from webapp.engine.drill.cluster import ADMIN, Cluster
from webapp.engine.drill.dump_reader import CopyBlock, DumpReader
from webapp.engine.drill.statements import Shape, understand

KEYS = "ALTER TABLE ONLY public.{0}\n    ADD CONSTRAINT {0}_pkey PRIMARY KEY (id);\n"
ODD = rb"""--
-- PostgreSQL database dump
--
-- Dumped from database version 16.2

\\restrict abc

SET standard_conforming_strings = on;
CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN 1=1 THEN 1 ELSE 2 END; SELECT 2; END;
CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2);
INSERT INTO x VALUES (E'a\\';b\\\\', 'c;''d', $x$ ; $$ ; $x$, "q;""x", 'e\\', E'');
COPY public."T b" (id, "a;b") FROM stdin;
1	x\\\\.
\\\\.	2
3	y
\\.

COPY public.empty (id) FROM stdin;
\\.
/* a /* b */ ; */ SELECT 1; -- ; hm
SELECT 2 -- ;
;
--
-- PostgreSQL database dump complete
--

\\unrestrict abc
""".replace(b"\\\\", b"\\")


def cut(chunks: list[bytes]) -> tuple[object, ...]:
    reader = DumpReader(iter(chunks))
    found = [
        (item.statement, b"".join(piece.data for piece in item.rows)) if isinstance(item, CopyBlock) else item
        for item in reader
    ]
    return found, reader.table_bytes, reader.complete, reader.size, reader.majors


def test_a_dump_is_cut_into_statements_wherever_its_pieces_end() -> None:
    whole = cut([ODD])

    assert whole[1:] == ({"public.T b": 17, "public.empty": 0}, True, len(ODD), [16])
    assert isinstance(whole[0], list)
    assert len(whole[0]) == 8
    assert whole[0][4] == (b'COPY public."T b" (id, "a;b") FROM stdin', b"1\tx\\\\.\n\\\\.\t2\n3\ty\n")
    assert whole[0][-1] == b"SELECT 2 -- ;"
    for size in (1, 2, 3, 5, 7, 11, 64, 100):
        assert cut([ODD[at : at + size] for at in range(0, len(ODD), size)]) == whole, size
    for seed in range(50):
        source, at, chunks = random.Random(seed), 0, []
        while at < len(ODD):
            size = source.choice([1, 2, 3, 50, 400])
            chunks.append(ODD[at : at + size])
            at += size
        assert cut(chunks) == whole, seed


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("SET statement_timeout = 0", Shape.SETTING),
        ("SET ROLE postgres", Shape.OTHER),
        ("SET SESSION AUTHORIZATION x", Shape.OTHER),
        ("SELECT pg_catalog.set_config('search_path', '', false)", Shape.SETTING),
        ("SELECT pg_catalog.setval('public.\"a b_id_seq\"', 7, true)", Shape.SEQUENCE),
        ("SELECT pg_catalog.setval(evil(), 7, true)", Shape.OTHER),
        ("CREATE UNIQUE INDEX i ON ONLY public.t USING btree (id)", Shape.INDEX),
        ("CREATE INDEX CONCURRENTLY i ON public.t USING btree (id)", Shape.OTHER),
        ("ALTER TABLE ONLY public.t\n    ADD CONSTRAINT k UNIQUE (a, b)", Shape.KEY),
        (
            "ALTER TABLE ONLY public.t\n    ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES public.u(id) ON DELETE CASCADE",
            Shape.FOREIGN_KEY,
        ),
        ("ALTER TABLE ONLY public.t\n    ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES public.u(id) NOT VALID", Shape.OTHER),
        ("ALTER TABLE ONLY public.t\n    ADD CONSTRAINT c CHECK (a > 1)", Shape.OTHER),
        ("COMMENT ON CONSTRAINT k ON public.t IS 'x'", Shape.COMMENT),
        ("COMMENT ON EXTENSION vector IS 'x'", Shape.EXTENSION_COMMENT),
        ("CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public", Shape.EXTENSION),
        ("GRANT ALL ON TABLE public.t TO odoo", Shape.RIGHTS),
        ("ALTER TABLE public.t OWNER TO odoo", Shape.RIGHTS),
        ("ALTER MATERIALIZED VIEW public.\"m v\" OWNER TO \"o d\"", Shape.RIGHTS),
        ("CREATE EVENT TRIGGER x ON ddl_command_end EXECUTE FUNCTION public.e()", Shape.FOR_SUPERUSERS),
        ("CREATE OR REPLACE VIEW public.\"v w\" WITH (security_barrier='true') AS\n SELECT 1", Shape.VIEW),
        ("CREATE VIEW public.v AS\n SELECT 1", Shape.VIEW),
        ("CREATE MATERIALIZED VIEW public.v AS\n SELECT 1\n  WITH NO DATA", Shape.OTHER),
        ("CREATE RECURSIVE VIEW public.v (a) AS SELECT 1", Shape.OTHER),
        ("REFRESH MATERIALIZED VIEW public.v", Shape.OTHER),
        ("DROP TABLE public.t", Shape.OTHER),
    ],
)  # fmt: skip
def test_only_what_pg_dump_writes_is_recognised(text: str, shape: Shape) -> None:
    assert understand(text.encode()).shape is shape


def test_what_was_loaded_in_parallel_ends_as_it_was_said(drill_database: Cluster) -> None:
    rows = "".join(f"{number}\t{number % 7 + 1}\n" for number in range(1, 3001))
    load_dump(
        drill_database,
        "CREATE TABLE public.big (id integer NOT NULL, other integer);\nCREATE TABLE public.small (id integer NOT NULL);\n"
        f"COPY public.big (id, other) FROM stdin;\n{rows}\\.\n"
        "COPY public.small (id) FROM stdin;\n" + "".join(f"{n}\n" for n in range(1, 9)) + "\\.\n"
        + KEYS.format("big") + KEYS.format("small")
        + "".join(f"CREATE INDEX i{n} ON public.big USING btree (other, id);\n" for n in range(4))
        + "".join(
            f"ALTER TABLE ONLY public.big\n    ADD CONSTRAINT f{n} FOREIGN KEY (other) REFERENCES public.small(id);\n"
            for n in range(3)
        )
        + "COMMENT ON CONSTRAINT f1 ON public.big IS 'one; two';\n",
    )  # fmt: skip

    with drill_database.connect(ADMIN) as session:
        loaded = session.execute("SELECT count(*), count(DISTINCT id), sum(other) FROM public.big").fetchone()
        keys = session.execute("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated").fetchone()
        indexes = session.execute(
            "SELECT count(*) FROM pg_index WHERE indisvalid AND indrelid = 'public.big'::regclass"
        )
        comment = session.execute("SELECT description FROM pg_description WHERE classoid = 'pg_constraint'::regclass "
                                  "AND description LIKE 'one%'").fetchone()  # fmt: skip
        assert loaded == (3000, 3000, sum(number % 7 + 1 for number in range(1, 3001)))
        assert keys == (3,)
        assert indexes.fetchone() == (5,)
        assert comment == ("one; two",)


@pytest.mark.parametrize("most", [load.MOST_GATHERED_BYTES, 150])
def test_what_foreign_keys_and_views_rest_on_is_made_before_them(
    most: int, drill_database: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "MOST_GATHERED_BYTES", most)
    load_dump(
        drill_database,
        'CREATE TABLE public."T b" (id integer NOT NULL, code text);\nCREATE TABLE public.u (id integer NOT NULL, code text);\n'
        'COPY public."T b" (id, code) FROM stdin;\n1\ta\n2\tb\n\\.\nCOPY public.u (id, code) FROM stdin;\n1\tb\n\\.\n'
        "CREATE MATERIALIZED VIEW public.first AS SELECT count(*) AS n FROM public.u WITH NO DATA;\n"
        + KEYS.format("u")
        + 'ALTER TABLE ONLY public."T b"\n    ADD CONSTRAINT k PRIMARY KEY (id);\n'
        'CREATE INDEX plain ON public."T b" USING btree (code);\nCREATE UNIQUE INDEX codes ON public."T b" USING btree (code);\n'
        "CREATE OR REPLACE VIEW public.v AS\n SELECT id, code FROM public.u GROUP BY id;\n"
        'ALTER TABLE ONLY public.u\n    ADD CONSTRAINT f FOREIGN KEY (id) REFERENCES public."T b"(id);\n'
        'ALTER TABLE ONLY public.u\n    ADD CONSTRAINT g FOREIGN KEY (code) REFERENCES public."T b"(code);\n'
        'ALTER TABLE ONLY public."T b"\n    ADD CONSTRAINT h FOREIGN KEY (id) REFERENCES public."T b"(id);\n'
        "COMMENT ON VIEW public.v IS 'two';\nREFRESH MATERIALIZED VIEW public.first;\n",
    )

    with drill_database.connect(ADMIN) as session:
        keys = session.execute("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated").fetchone()
        indexes = session.execute(
            "SELECT count(*) FROM pg_index WHERE indisvalid AND indrelid = 'public.\"T b\"'::regclass"
        ).fetchone()
        assert (keys, indexes) == ((3,), (3,))
        assert session.execute("SELECT (SELECT n FROM public.first), (SELECT code FROM public.v)").fetchone() == (
            1,
            "b",
        )


def test_rows_after_a_view_are_loaded_after_it(drill_database: Cluster) -> None:
    table = "CREATE TABLE public.t (id integer NOT NULL);\nCREATE TABLE public.u (id integer);\n"
    rows = "COPY public.t (id) FROM stdin;\n1\n\\.\n"

    report = load_dump(
        drill_database,
        f"{table}{rows}CREATE VIEW public.v AS\n SELECT * FROM public.t;\nCOPY public.u (id) FROM stdin;\n2\n\\.\n",
    )

    assert report.rows == {"public.t": 1, "public.u": 1}


@pytest.mark.parametrize(
    ("dump", "said"),
    [
        ("CREATE TABLE public.t (id integer);\nCOPY public.t (id) FROM stdin;\none\n\\.\n", "invalid input syntax"),
        (
            "CREATE TABLE public.t (id integer);\nCOPY public.t (id) FROM stdin;\n1\n1\n\\.\n" + KEYS.format("t"),
            "could not create unique index",
        ),
        (
            "CREATE TABLE public.t (id integer);\nCREATE TABLE public.u (id integer);\nCOPY public.t (id) FROM stdin;\n7\n"
            "\\.\n"
            + KEYS.format("u")
            + "ALTER TABLE ONLY public.t\n    ADD CONSTRAINT f FOREIGN KEY (id) REFERENCES public.u(id);\n",
            "violates foreign key",
        ),
        (
            "CREATE TABLE public.t (id integer);\nCREATE MATERIALIZED VIEW public.v AS SELECT 1 / id FROM public.t WITH NO DATA;"
            "\nCOPY public.t (id) FROM stdin;\n0\n\\.\nREFRESH MATERIALIZED VIEW public.v;\n",
            "division by zero",
        ),
        (
            "CREATE TABLE public.t (id integer);\nCOPY public.t (id) FROM stdin;\n0\n\\.\n"
            "CREATE VIEW public.v AS SELECT other FROM public.t;\nCREATE INDEX i ON public.t USING btree (id);\n",
            "does not exist",
        ),
        ("CREATE TABLE public.t (id integer);\nCREATE VIEW public.v AS SELECT nothing FROM public.t;\n", "does not exist"),
        ("CREATE TABLE public.t (id integer);\nCOPY public.t (id) FROM stdin;\n1\n", "ends in the data of public.t"),
    ],
    ids=["row", "key", "foreign key", "filled view", "view", "statement", "cut off"],
)  # fmt: skip
def test_one_statement_that_is_refused_fails_the_load(dump: str, said: str, drill_database: Cluster) -> None:
    with pytest.raises(ArchiveError, match=said):
        load_dump(drill_database, dump)


def test_a_transaction_left_open_cannot_make_the_other_sessions_wait(drill_database: Cluster) -> None:
    table = "CREATE TABLE public.t (id integer);\nCOPY public.t (id) FROM stdin;\n1\n\\.\n"
    lock = "BEGIN;\nLOCK TABLE public.t;\n"

    with pytest.raises(ArchiveError, match="transaction open"):
        load_dump(drill_database, table + lock + "CREATE INDEX i ON public.t USING btree (id);\n")
    empty_database(drill_database)
    with pytest.raises(ArchiveError, match="transaction open"):
        load_dump(drill_database, table + lock + "COPY public.t (id) FROM stdin;\n1\n\\.\n")


def test_tablespaces_and_owners_of_the_source_need_not_be_here(drill_database: Cluster) -> None:
    report = load_dump(
        drill_database,
        "SET default_tablespace = fast;\nCREATE TABLE public.t (id integer);\nALTER TABLE public.t OWNER TO odoo;\n"
        "COPY public.t (id) FROM stdin;\n1\n\\.\nSET default_tablespace = fast;\nCREATE INDEX i ON public.t USING btree (id);\n",
    )

    assert report.rows == {"public.t": 1}
    assert report.left_out == 1
