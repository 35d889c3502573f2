"""A small but real Odoo-shaped database with its filestore, for tests and, larger, for the bench.

Everything is drawn from a seeded generator, so that two builds with the same knobs hold the same rows and files.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.support.postgres import PostgresServer

_TEXT = (
    "order invoice customer delivery quotation payment reminder product warehouse shipment meeting contract project task "
    "please find attached regarding your request we have received the goods and will send a confirmation by tomorrow "
    "price discount tax total amount due date reference number account bank transfer thank you kind regards team sales "
    "straße naïve façade Ærø Łódź 東京 Αθήνα été"
)
_SYLLABLES = "ba con der el fra gi hol in jo ka lem mo nu or pra qui res sta tur vi wel ya zo ent ing tion ter".split()  # noqa: SIM905 - a table

_SCHEMA = """
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE TABLE ir_module_module (id serial PRIMARY KEY, name varchar NOT NULL UNIQUE, state varchar(16),
    latest_version varchar, shortdesc jsonb, author varchar);
CREATE TABLE ir_config_parameter (id serial PRIMARY KEY, key varchar NOT NULL UNIQUE, value text NOT NULL);
CREATE TABLE res_partner (id serial PRIMARY KEY, name varchar, email varchar, street varchar, comment text,
    active boolean DEFAULT true, credit numeric, parent_id integer REFERENCES res_partner ON DELETE SET NULL,
    create_date timestamp DEFAULT '2026-01-01 08:00:00', CONSTRAINT res_partner_name_check CHECK (name <> ''));
CREATE TABLE res_users (id serial PRIMARY KEY, login varchar NOT NULL UNIQUE, password varchar, active boolean DEFAULT true,
    partner_id integer NOT NULL REFERENCES res_partner ON DELETE RESTRICT);
CREATE TABLE res_company (id serial PRIMARY KEY, name varchar NOT NULL UNIQUE,
    partner_id integer NOT NULL REFERENCES res_partner ON DELETE RESTRICT);
CREATE TABLE mail_message (id serial PRIMARY KEY, subject varchar, body text, date timestamp, model varchar, res_id integer,
    message_type varchar NOT NULL, author_id integer REFERENCES res_partner ON DELETE SET NULL, message_id varchar);
CREATE TABLE ir_attachment (id serial PRIMARY KEY, res_id integer, company_id integer, file_size integer, create_uid integer,
    write_uid integer, name varchar NOT NULL, res_model varchar, res_field varchar, type varchar NOT NULL, url varchar(1024),
    access_token varchar, store_fname varchar, checksum varchar(40), mimetype varchar, description text, index_content text,
    public boolean, create_date timestamp, write_date timestamp, db_datas bytea, original_id integer);
CREATE TABLE x_access_log (id bigserial, at date NOT NULL, line text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE x_access_log_2025 PARTITION OF x_access_log FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE x_access_log_2026 PARTITION OF x_access_log FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE "x Odd ""Name"" Table" (id integer PRIMARY KEY, "säule, 2" text, stamp timestamptz);
CREATE SEQUENCE ir_sequence_001 START 42;
"""
_AFTER = """
CREATE INDEX ir_attachment_store_fname_index ON ir_attachment (store_fname);
CREATE INDEX mail_message_model_res_id_index ON mail_message (model, res_id);
CREATE VIEW x_partner_message_report AS
    SELECT p.id, p.name, count(m.id) AS messages FROM res_partner p LEFT JOIN mail_message m ON m.author_id = p.id GROUP BY p.id;
CREATE MATERIALIZED VIEW x_message_types AS SELECT message_type, count(*) AS n FROM mail_message GROUP BY 1;
SELECT setval('res_partner_id_seq', (SELECT coalesce(max(id), 1) FROM res_partner));
SELECT setval('mail_message_id_seq', (SELECT coalesce(max(id), 1) FROM mail_message));
ANALYZE;
"""
_MODULES = ("base", "web", "mail", "contacts", "sale", "account", "stock")


@dataclass(frozen=True, slots=True)
class OdooDatabase:
    """What was built. ``filestore`` is the directory of this very database; ``names`` are the stored file names, sorted."""

    name: str
    filestore: Path
    names: tuple[str, ...]


def build_odoo_database(
    server: PostgresServer,
    name: str,
    filestore_root: Path,
    *,
    rows: int = 200,
    files: int = 40,
    median_file_bytes: int = 2_000,
    serie: str = "18.0",
    seed: int = 7,
) -> OdooDatabase:
    """Create database ``name`` with ``rows`` messages and ``files`` attachments in ``<filestore_root>/<name>``.

    One message is about 1 kB in the plain dump, so ``rows=930_000`` makes a dump of about 1 GB.
    """
    source = random.Random(seed)
    server.create_database(name)
    filestore = filestore_root / name
    filestore.mkdir(parents=True, exist_ok=True)
    with server.connect(name) as connection:
        connection.execute(_SCHEMA)
        _fill_modules(connection, serie)
        _fill_people(connection, max(20, rows // 20), source)
        _fill_messages(connection, rows, max(20, rows // 20), seed=seed)
        names = _fill_attachments(connection, filestore, files, median=median_file_bytes, source=source)
        _fill_the_rest(connection, source)
        connection.execute(_AFTER)
    return OdooDatabase(name, filestore, tuple(sorted(set(names))))


def add_attachment(
    connection: psycopg.Connection[tuple[object, ...]],
    filestore: Path,
    data: bytes,
    name: str,
) -> str:
    """Do what Odoo does: write the file first, then commit the row. Returns the stored name."""
    stored = write_file(filestore, data)
    connection.execute(
        "INSERT INTO ir_attachment (name, type, file_size, store_fname, checksum, mimetype, res_model)"
        " VALUES (%s, 'binary', %s, %s, %s, 'application/octet-stream', 'mail.message')",
        (name, len(data), stored, stored[3:]),
    )
    return stored


def write_file(filestore: Path, data: bytes) -> str:
    """Put content where Odoo puts it; returns "ab/abcd…"."""
    digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    folder = filestore / digest[:2]
    folder.mkdir(exist_ok=True)
    (folder / digest).write_bytes(data)
    return f"{digest[:2]}/{digest}"


def _sentences(source: random.Random, count: int) -> list[str]:
    invented = ["".join(source.choices(_SYLLABLES, k=source.randint(2, 4))) for _ in range(600)]
    vocabulary = _TEXT.split() * 3 + invented
    made = []
    for _ in range(count):
        words = source.choices(vocabulary, k=source.randint(6, 14))
        made.append(f"{' '.join(words).capitalize()} {source.randint(1, 99999)}.")
    return made


def _fill_modules(connection: psycopg.Connection[tuple[object, ...]], serie: str) -> None:
    for module in _MODULES:
        connection.execute(
            "INSERT INTO ir_module_module (name, state, latest_version, author) VALUES (%s, 'installed', %s, 'Odoo S.A.')",
            (module, f"{serie}.1.3"),
        )
    connection.execute("INSERT INTO ir_module_module (name, state) VALUES ('point_of_sale', 'uninstalled')")
    parameters = {
        "database.uuid": "5c1cde54-9f3c-4d4c-8b5d-0c5d9d6a4a01",
        "web.base.url": "http://localhost:8069",
    }
    for key, value in parameters.items():
        connection.execute("INSERT INTO ir_config_parameter (key, value) VALUES (%s, %s)", (key, value))


def _fill_people(
    connection: psycopg.Connection[tuple[object, ...]],
    count: int,
    source: random.Random,
) -> None:
    lines = _sentences(source, 400)
    with connection.cursor().copy("COPY res_partner (id, name, email, street, comment, credit) FROM STDIN") as copy:
        for number in range(1, count + 1):
            comment = None if number % 3 else f"{source.choice(lines)}\nback\\slash\tand tab \\. {source.choice(lines)}"
            credit = source.randint(0, 10**7) / 100
            copy.write_row(
                (
                    number,
                    f"Pärtner {number}",
                    f"p{number}@example.com",
                    source.choice(lines),
                    comment,
                    credit,
                )
            )
    for number, login in enumerate(("alice", "bob", "charlie"), 1):
        connection.execute("INSERT INTO res_users (login, partner_id) VALUES (%s, %s)", (login, number))
    connection.execute("INSERT INTO res_company (name, partner_id) VALUES ('My Company', 1)")


def _fill_messages(
    connection: psycopg.Connection[tuple[object, ...]],
    rows: int,
    people: int,
    *,
    seed: int,
) -> None:
    columns = "id, subject, body, date, model, res_id, message_type, author_id, message_id"
    with connection.cursor().copy(f"COPY mail_message ({columns}) FROM STDIN") as copy:
        for block in _message_blocks(rows, people, random.Random(seed)):
            copy.write(block)


def _message_blocks(rows: int, people: int, source: random.Random) -> Iterator[bytes]:
    lines = _sentences(source, 5000)
    types = ("email", "comment", "notification")
    block: list[str] = []
    for number in range(1, rows + 1):
        at = source.randrange(4990)
        body = "</p><p>".join(lines[at : at + source.randint(4, 13)])
        token = f"{source.getrandbits(96):024x}"
        block.append(
            f"{number}\t{lines[at]}\t<p>{body}</p>\t2026-0{1 + number % 9}-1{number % 10} 10:{number % 60:02d}:00\t"
            f"sale.order\t{number % 977}\t{types[number % 3]}\t{1 + number % people}\t<{token}@example.com>\n"
        )
        if len(block) == 4000:
            yield "".join(block).encode()
            block.clear()
    yield "".join(block).encode()


def _fill_attachments(
    connection: psycopg.Connection[tuple[object, ...]],
    filestore: Path,
    files: int,
    *,
    median: int,
    source: random.Random,
) -> list[str]:
    text = " ".join(_sentences(source, 3000)).encode()
    names = []
    with connection.cursor().copy(
        "COPY ir_attachment (name, type, url, file_size, store_fname, checksum, mimetype, db_datas) FROM STDIN"
    ) as copy:
        for number in range(files):
            data = _content(number, max(1, int(source.lognormvariate(0, 1.4) * median)), text)
            stored = write_file(filestore, data)
            names.append(stored)
            copy.write_row(
                (
                    f"file {number}.bin",
                    "binary",
                    None,
                    len(data),
                    stored,
                    stored[3:],
                    "image/png",
                    None,
                )
            )
            if number % 10 == 0:  # Identical content shares one file.
                copy.write_row(
                    (
                        f"copy of {number}",
                        "binary",
                        None,
                        len(data),
                        stored,
                        stored[3:],
                        "image/png",
                        None,
                    )
                )
        copy.write_row(
            (
                "in the database",
                "binary",
                None,
                3,
                None,
                None,
                "text/plain",
                b"\x00\x01\x02",
            )
        )
        copy.write_row(("a link", "url", "https://example.com/x", 0, None, None, None, None))
    return names


def _content(number: int, size: int, text: bytes) -> bytes:
    """60 % of the files are incompressible; every one is different. Random bytes need no seed: names are read back."""
    if number % 5 < 3:
        return os.urandom(size) if size >= 16 else f"{number:016d}".encode()
    head = f"file {number} ".encode()
    return head + (text * (1 + size // len(text)))[:size]


def _fill_the_rest(connection: psycopg.Connection[tuple[object, ...]], source: random.Random) -> None:
    for number, line in enumerate(_sentences(source, 30)):
        day = f"{2025 + number % 2}-03-{1 + number % 28:02d}"
        connection.execute("INSERT INTO x_access_log (at, line) VALUES (%s, %s)", (day, line))
        connection.execute(
            'INSERT INTO "x Odd ""Name"" Table" VALUES (%s, %s, now())',
            (number, f"{line}\r\n\\N ünï 🙂"),
        )
