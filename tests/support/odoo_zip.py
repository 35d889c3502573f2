"""Small but valid Odoo archives: a plain dump that psql loads, a manifest, and a filestore named by SHA-1."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping

_TABLES = """\
CREATE TABLE public.res_company (id integer NOT NULL, name character varying NOT NULL);
CREATE TABLE public.res_partner (id integer NOT NULL, name character varying);
CREATE TABLE public.res_users (id integer NOT NULL, login character varying NOT NULL, active boolean);
CREATE TABLE public.ir_model (id integer NOT NULL, model character varying NOT NULL);
CREATE TABLE public.ir_module_module (id integer NOT NULL, name character varying NOT NULL, state character varying,
latest_version character varying);
CREATE TABLE public.ir_config_parameter (id integer NOT NULL, key character varying NOT NULL, value text NOT NULL);
CREATE TABLE public.ir_attachment (id integer NOT NULL, name character varying NOT NULL, res_model character varying,
type character varying NOT NULL,
    store_fname character varying, file_size integer, checksum character varying(40), mimetype character varying,
    db_datas bytea);
"""


def attachments(count: int, *, seed: str = "attachment") -> dict[str, bytes]:
    """``count`` files as the filestore keeps them: "ab/abcd…" → content."""
    contents = [f"{seed} {number}\n".encode() * (number % 7 + 1) for number in range(count)]
    return {f"{digest[:2]}/{digest}": content for content in contents for digest in [hashlib.sha1(content).hexdigest()]}


def _copy(table: str, columns: str, rows: list[str]) -> str:
    body = "".join(row + "\n" for row in rows)
    return (
        f"--\n-- Data for Name: {table}; Type: TABLE DATA; Schema: public; Owner: -\n--\n\nCOPY public.{table} "
        f"({columns}) FROM stdin;\n{body}\\.\n\n\n"
    )


def dump_sql(files: Mapping[str, bytes], *, partners: int = 3, version: str = "18.0") -> bytes:
    """A plain dump in pg_dump's shape, with the restrict lines of newer ones."""
    files_rows = [
        f"{number}\tfile {number}\tres.partner\tbinary\t{name}\t{len(content)}\t{name.split('/')[1]}\ttext/plain\t\\N"
        for number, (name, content) in enumerate(files.items(), start=1)
    ]
    return (
        "--\n-- PostgreSQL database dump\n--\n\n\\restrict Zk3v0examp1e\n\n-- Dumped from database version 15.18\n-- "
        "Dumped by pg_dump version 15.18\n\n"
        "SET statement_timeout = 0;\nSET client_encoding = 'UTF8';\nSET standard_conforming_strings = on;\n"
        f"SELECT pg_catalog.set_config('search_path', '', false);\n\n{_TABLES}\n"
        + _copy("res_company", "id, name", ["1\tAcme"])
        + _copy("res_partner", "id, name", [f"{n}\tPartner {n}" for n in range(1, partners + 1)])
        + _copy("res_users", "id, login, active", ["1\t__system__\tf", "2\tadmin\tt"])
        + _copy("ir_model", "id, model", ["1\tres.partner"])
        + _copy("ir_module_module", "id, name, state, latest_version", [f"1\tbase\tinstalled\t{version}.1.3"])
        + _copy("ir_config_parameter", "id, key, value", ["1\tdatabase.uuid\t00000000-0000-4000-8000-000000000001"])
        + _copy(
            "ir_attachment",
            "id, name, res_model, type, store_fname, file_size, checksum, mimetype, db_datas",
            files_rows,
        )
        + "--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict Zk3v0examp1e\n\n"
    ).encode()


def manifest_json(database: str, version: str = "18.0") -> bytes:
    """manifest.json as Odoo writes it (pg_version always ends in .0)."""
    major = int(version.split(".", maxsplit=1)[0])
    return json.dumps(
        {
            "odoo_dump": "1",
            "db_name": database,
            "version": version,
            "version_info": [major, 0, 0, "final", 0, ""],
            "major_version": version,
            "pg_version": "15.0",
            "modules": {"base": f"{version}.1.3"},
        },
        indent=4,
    ).encode()


def odoo_zip(
    database: str = "prod",
    *,
    dump: bytes | None = None,
    files: Mapping[str, bytes] | None = None,
    version: str = "18.0",
    with_filestore: bool = True,
) -> bytes:
    """A zip as Odoo makes it: dump.sql first, manifest.json second, then filestore/xx/sha1; deflated."""
    kept = attachments(12) if files is None else files
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        archive.writestr("dump.sql", dump_sql(kept, version=version) if dump is None else dump)
        archive.writestr("manifest.json", manifest_json(database, version))
        for name, content in kept.items() if with_filestore else ():
            archive.writestr(f"filestore/{name}", content)
    return packed.getvalue()
