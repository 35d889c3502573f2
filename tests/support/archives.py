"""Archives for tests: a sink in memory, Odoo-shaped dumps and zips, and the hands to damage them."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from webapp.engine.archive.zip_writer import ZipWriter
from webapp.engine.report import SilentReporter

MOMENT = datetime(2026, 11, 22, 2, 30, 4, tzinfo=UTC)
TRAILER = b"--\n-- PostgreSQL database dump complete\n--\n\n"


class MemorySink:
    """A Sink that keeps everything."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Keep it."""
        self.data += data
        return len(data)

    def tell(self) -> int:
        """Bytes kept."""
        return len(self.data)


def sha1(content: bytes) -> str:
    """SHA-1 in hex."""
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def store_name(content: bytes) -> str:
    """How Odoo names a file of this content in its filestore."""
    digest = sha1(content)
    return f"{digest[:2]}/{digest}"


def copy_block(table: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """A COPY block as pg_dump writes it; values are given as they stand in the dump."""
    lines = [f"COPY {table} ({', '.join(columns)}) FROM stdin;"]
    lines += ["\t".join(row) for row in rows]
    return ("\n".join([*lines, "\\.", "", ""])).encode()


def odoo_dump(attachments: Sequence[bytes], *, extra: bytes = b"", trailer: bytes = TRAILER) -> bytes:
    """A plain dump with the tables every Odoo has, one attachment row per content."""
    parts = [b"--\n-- PostgreSQL database dump\n--\n\nSET standard_conforming_strings = on;\n\n"]
    for table, columns, rows in (
        ("ir_module_module", ("id", "name", "state"), [("1", "base", "installed"), ("2", "web", "installed")]),
        ("ir_config_parameter", ("id", "key", "value"), [("1", "database.uuid", "0000-1111")]),
        ("res_users", ("id", "login"), [("1", "__system__"), ("2", "alice")]),
        ("res_company", ("id", "name"), [("1", "My Company")]),
        (
            "ir_attachment",
            ("id", "name", "store_fname", "checksum"),
            [(str(i), f"file {i}", store_name(c), sha1(c)) for i, c in enumerate(attachments)]
            + [("999", "a url", "\\N", "\\N")],
        ),
    ):
        body = ",\n    ".join(f"{column} character varying" for column in columns)
        parts.append(f"CREATE TABLE public.{table} (\n    {body}\n);\n\n".encode())
        parts.append(copy_block(f"public.{table}", columns, rows))
    return b"".join([*parts, extra, trailer])


ODOO_ROWS = {
    "public.ir_module_module": 2,
    "public.ir_config_parameter": 1,
    "public.res_users": 2,
    "public.res_company": 1,
}


def odoo_rows(attachments: Sequence[bytes]) -> dict[str, int]:
    """Rows per table of ``odoo_dump``."""
    return {**ODOO_ROWS, "public.ir_attachment": len(attachments) + 1}


def odoo_manifest(database: str = "prod") -> bytes:
    """The manifest.json that Odoo puts into its zip."""
    return json.dumps(
        {
            "odoo_dump": "1",
            "db_name": database,
            "version": "18.0",
            "pg_version": "15.0",
            "modules": {"base": "18.0.1.3"},
        }
    ).encode()


def odoo_zip(attachments: Sequence[bytes], *, database: str = "prod", dump: bytes | None = None) -> bytes:
    """A zip as our writer makes it from an Odoo."""
    sink = MemorySink()
    with ZipWriter(sink, modified_at=MOMENT, reporter=SilentReporter()) as writer:
        writer.add_stream("dump.sql", [odoo_dump(attachments) if dump is None else dump])
        writer.add_bytes("manifest.json", odoo_manifest(database))
        for content in sorted(set(attachments), key=sha1):
            writer.add_bytes(f"filestore/{store_name(content)}", content, sha1=sha1(content))
    return bytes(sink.data)


def python_zip(members: Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip as Python's own library makes it, which is what Odoo sends."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def written(directory: Path, data: bytes, name: str = "archive.zip") -> str:
    """The path of a file holding ``data``."""
    path = directory / name
    path.write_bytes(data)
    return str(path)
