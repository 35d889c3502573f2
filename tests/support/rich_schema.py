"""A schema with one of everything that pg_dump can write and that a restore must not lose."""

from __future__ import annotations

import subprocess

from tests.support.postgres import PostgresServer

SCHEMA = r"""
CREATE SCHEMA "odd ""name""; \!";
CREATE EXTENSION unaccent;
CREATE EXTENSION citext SCHEMA "odd ""name""; \!";
CREATE TYPE mood AS ENUM ('it''s fine', 'back\slash', ';');
CREATE TYPE pair AS (a integer, b text);
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE TABLE nothing ();
CREATE TABLE base (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, m mood DEFAULT 'back\slash', p pair, n positive,
    double integer GENERATED ALWAYS AS (n * 2) STORED, tags text[] DEFAULT ARRAY['a''b', 'c\d'], t text COLLATE "C",
    e text DEFAULT E'line\nbreak\\', j jsonb, x xml, r int4range, at timestamptz, b bytea, i interval, f double precision);
CREATE TABLE child (extra text) INHERITS (base);
CREATE TABLE parts (k integer, v text) PARTITION BY LIST (k);
CREATE TABLE part_1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE part_rest PARTITION OF parts DEFAULT;
CREATE UNLOGGED TABLE unlogged (a integer);
CREATE TABLE "odd ""name""; \!"."col;umns" ("a; \! b" text, "c""d" integer CHECK ("c""d" <> 7), "E" text);
CREATE FUNCTION f_sql(a integer, b text DEFAULT 'x;y') RETURNS text LANGUAGE sql AS $_$SELECT $1 || $2 || '\! ; $$' $_$;
CREATE FUNCTION f_atomic(a integer) RETURNS integer LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN a > 0 THEN 1 ELSE 2 END; END;
CREATE PROCEDURE p_atomic() LANGUAGE sql BEGIN ATOMIC INSERT INTO unlogged VALUES (1); DELETE FROM unlogged; END;
CREATE FUNCTION f_plpgsql() RETURNS trigger LANGUAGE plpgsql AS $f$
BEGIN -- a comment; with 'quotes
  RAISE NOTICE '%', $$nested$$; RETURN NEW; /* and; \! */
END $f$;
CREATE TRIGGER tr BEFORE UPDATE ON base FOR EACH ROW WHEN (OLD.t IS DISTINCT FROM NEW.t) EXECUTE FUNCTION f_plpgsql();
CREATE RULE ru AS ON INSERT TO unlogged WHERE NEW.a > 5 DO ALSO (DELETE FROM nothing; UPDATE child SET extra = 'r;');
CREATE VIEW v AS SELECT id, t, f_sql(id) AS s FROM base WHERE t ~ '\d+;' OR t = E'a\\b';
CREATE MATERIALIZED VIEW mv AS SELECT k, count(*) AS n FROM parts GROUP BY k;
CREATE INDEX ix ON base USING gin (tags) WHERE t <> ';';
CREATE UNIQUE INDEX ux ON base (lower(t), (id + 1));
CREATE AGGREGATE agg (integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0');
CREATE OPERATOR === (LEFTARG = integer, RIGHTARG = integer, FUNCTION = int4eq);
CREATE CAST (pair AS text) WITH INOUT;
CREATE COLLATION nice (locale = 'C');
CREATE STATISTICS st ON n, t FROM base;
CREATE SEQUENCE sq START 7 INCREMENT -3 MINVALUE -100 MAXVALUE 100 CYCLE;
ALTER TABLE base ENABLE ROW LEVEL SECURITY;
CREATE POLICY pol ON base USING (t <> 'secret;');
CREATE EVENT TRIGGER et ON ddl_command_start WHEN TAG IN ('DROP FUNCTION') EXECUTE FUNCTION f_event();
COMMENT ON TABLE base IS 'a ''comment''; \! with
lines -- and /* marks';
COMMENT ON COLUMN base.t IS 'OWNER TO nobody';
ALTER TABLE base CLUSTER ON base_pkey;
ALTER TABLE parts REPLICA IDENTITY FULL;
GRANT SELECT (id, t), UPDATE (t) ON base TO PUBLIC;
GRANT USAGE ON SCHEMA "odd ""name""; \!" TO PUBLIC;
REVOKE ALL ON FUNCTION f_atomic(integer) FROM PUBLIC;
INSERT INTO base (m, p, n, t, j, x, r, at, b, i, f) VALUES
    ('it''s fine', ROW(1, E'x\ty'), 3, E'\\.\n\\N\r\n;''$$', '{"a": [1, null, "\\"]}', '<a>&amp;</a>', '[1,5)',
     '2026-01-01 00:00:00.123456+05', '\x00ff5c0a', '1 mon -2 days 03:04:05.6', 'NaN'), (DEFAULT, NULL, 1, NULL, NULL, NULL,
     'empty', 'infinity', '', '0', 1e-300);
INSERT INTO child (id, n, extra) VALUES (5, 9, '\.');
INSERT INTO parts VALUES (1, 'one'), (2, 'two'), (NULL, NULL);
INSERT INTO "odd ""name""; \!"."col;umns" VALUES ('\\', 1, 'é🙂'), ('', NULL, NULL);
INSERT INTO nothing DEFAULT VALUES;
SELECT nextval('sq'), nextval('sq');
SELECT lo_from_bytea(4711, '\x000102'), lo_from_bytea(4712, decode(repeat('ab', 50000), 'hex'));
REFRESH MATERIALIZED VIEW mv;
"""
_EVENT = "CREATE FUNCTION f_event() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN NULL; END';"


def build_rich_database(server: PostgresServer, name: str) -> None:
    """Create it."""
    server.create_database(name)
    server.execute(_EVENT + SCHEMA, name)


def schema_of(server: PostgresServer, database: str) -> list[str]:
    """The whole schema as pg_dump writes it, without the lines that are different each time."""
    argv = [str(server.binaries / "pg_dump"), "--schema-only", "--no-owner"]
    done = subprocess.run(argv, env=server.environment(database), capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]


def large_objects(server: PostgresServer, database: str) -> list[tuple[object, ...]]:
    """Every large object with its content's hash."""
    return server.rows("SELECT oid::int, md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY 1", database)
