"""Small archives of both formats, generated from a seed: what the proof of integrity damages."""

from __future__ import annotations

import hashlib
import random
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.archives import (
    MOMENT,
    MemorySink,
    odoo_dump,
    odoo_manifest,
    odoo_rows,
    python_zip,
    sha1,
    store_name,
)
from tests.support.postgres import PostgresServer
from webapp.core.manifest import Manifest
from webapp.core.status import ArchiveFormat, Content
from webapp.engine.archive.zip_writer import ZipWriter
from webapp.engine.report import SilentReporter

WORDS = b"order invoice customer delivery quotation payment reminder product warehouse shipment".split()


@dataclass(frozen=True, slots=True)
class Specimen:
    """An archive, its side-car, and (by ``size`` and the digests) what the catalogue knows of both."""

    data: bytes
    manifest: Manifest

    @property
    def file_name(self) -> str:
        return self.manifest.file_name

    def lay_down(self, directory: Path, data: bytes | None = None, side_car: bytes | None = None) -> None:
        """Both files, or what became of them; a side-car of b"" is left out."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / self.file_name).write_bytes(self.data if data is None else data)
        written = self.manifest.as_bytes() if side_car is None else side_car
        if written:
            (directory / "manifest.json").write_bytes(written)
        else:
            (directory / "manifest.json").unlink(missing_ok=True)


def zip_specimen(number: int, seed: int) -> Specimen:
    """Every third as Odoo makes it, without row counts; the others as our own writer does."""
    chance = random.Random(f"zip {seed} {number}")
    contents = [_content(chance) for _ in range(chance.randint(1, 8))]
    dump = odoo_dump(contents, extra=b"-- " + b" ".join(chance.choices(WORDS, k=chance.randint(0, 400))) + b"\n")
    as_odoo = number % 3 == 2
    if as_odoo:
        files = {f"filestore/{store_name(content)}": content for content in contents}
        data = python_zip({"dump.sql": dump, "manifest.json": odoo_manifest(), **files})
    else:
        data = _own_zip(dump, contents)
    rows = None if as_odoo else odoo_rows(contents)
    return Specimen(data, _manifest(number, ArchiveFormat.ZIP, data, rows, len(set(contents))))


def _content(chance: random.Random) -> bytes:
    if chance.random() < 0.4:
        return chance.randbytes(chance.randint(1, 6000))
    return b" ".join(chance.choices(WORDS, k=chance.randint(1, 1500)))


def _own_zip(dump: bytes, contents: list[bytes]) -> bytes:
    sink = MemorySink()
    with ZipWriter(sink, modified_at=MOMENT, reporter=SilentReporter()) as writer:
        writer.add_stream("dump.sql", [dump])
        writer.add_bytes("manifest.json", odoo_manifest())
        for content in sorted(set(contents), key=sha1):
            writer.add_bytes(f"filestore/{store_name(content)}", content, sha1=sha1(content))
    return bytes(sink.data)


def custom_specimens(server: PostgresServer, count: int, seed: int) -> Iterator[Specimen]:
    """Real dumps by pg_dump: every second without compression, where nothing inside would tell of a changed bit."""
    server.create_database("specimens")
    for number in range(count):
        chance = random.Random(f"custom {seed} {number}")
        rows = {f"t{table}": chance.randint(0, 120) for table in range(chance.randint(1, 4))}
        server.execute("".join(_filled(name, count, chance) for name, count in rows.items()), "specimens")
        argv: list[str | Path] = [
            server.binaries / "pg_dump",
            "--format=custom",
            f"--compress={number % 2}",
            "--no-owner",
        ]
        done = subprocess.run(argv, env=server.environment("specimens"), capture_output=True, check=True)
        counts = {f"public.{name}": count for name, count in rows.items()}
        yield Specimen(done.stdout, _manifest(number, ArchiveFormat.CUSTOM, done.stdout, counts, None))
        server.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public", "specimens")
    server.drop_database("specimens")


def _filled(name: str, rows: int, chance: random.Random) -> str:
    words = " ".join(word.decode() for word in chance.choices(WORDS, k=12))
    return (
        f"CREATE TABLE {name} (id int PRIMARY KEY, word text, noise text);"
        f"INSERT INTO {name} SELECT n, '{words} ' || n, md5('{chance.random()}' || n) FROM generate_series(1, {rows}) n;"
    )


def _manifest(
    number: int, kind: ArchiveFormat, data: bytes, rows: dict[str, int] | None, files: int | None
) -> Manifest:
    zipped = kind is ArchiveFormat.ZIP
    return Manifest(
        run_id=number + 1,
        fence=1,
        attempt=1,
        job_id=7,
        instance_id=1,
        instance_name="Acme",
        database="prod",
        is_odoo=zipped,
        has_filestore=zipped,
        content=Content.DATABASE_AND_FILESTORE if zipped else Content.DATABASE,
        archive_format=kind,
        file_name=f"20261122-023004_prod{kind.suffix}",
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        started_at="2026-11-22T02:30:04+00:00",
        snapshot_at="2026-11-22T02:30:05+00:00",
        holdfast_version="0.1.0",
        dump_bytes=len(data),
        attachment_count=files,
        table_rows=rows,
        versions={"postgresql": "15.18"},
        labels={"job": "Nightly", "triggered_by": "scheduled"},
    )
