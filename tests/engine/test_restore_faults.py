"""Archives and targets that are not right: refused before the target is touched, or undone with the exact reason."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.database_restores import Journal, databases, new_plan
from tests.support.odoo_database import OdooDatabase
from tests.support.postgres import PostgresServer
from tests.support.postgres_backups import StoppingReporter
from tests.support.restore_pieces import Shelved
from webapp.core.errors import HoldfastError, TaskStopped
from webapp.core.manifest import Manifest
from webapp.core.status import ErrorCode, RestoreOutcome
from webapp.engine.archive.digest import file_digest
from webapp.engine.report import SilentReporter
from webapp.engine.restore.run import run

TRAILER = b"-- PostgreSQL database dump complete"


@pytest.fixture(autouse=True)
def nothing_left(second_server: PostgresServer) -> Iterator[None]:
    """Whatever went wrong, the target's server is as before."""
    before = databases(second_server)
    yield
    assert databases(second_server) == before


def edited(
    prod_archive: Shelved, directory: Path, edit: Callable[[bytes], bytes], *, honest: bool = True, **changes: object
) -> Shelved:
    """The archive with another dump.sql; with ``honest`` its manifest knows the new file, as one made by a liar would."""
    path = directory / "edited.zip"
    with zipfile.ZipFile(prod_archive.path) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for item in old.infolist():
            data = old.read(item)
            new.writestr(item.filename, edit(data) if item.filename == "dump.sql" else data)
    manifest: Manifest = replace(prod_archive.manifest, **changes)  # type: ignore[arg-type]
    if honest:
        with path.open("rb") as file:
            size, sha256 = file_digest(file.fileno(), SilentReporter(), from_disk=False)
        manifest = replace(manifest, size_bytes=size, sha256=sha256)
    return Shelved(str(path), manifest)


def refusal(shelved: Shelved, server: PostgresServer, files: Path, journal: Journal | None = None) -> HoldfastError:
    plan = new_plan(shelved, server.plan(files), "broken")
    with pytest.raises(HoldfastError) as caught:
        run(plan, journal or Journal(), SilentReporter())
    assert not list(files.glob("*"))
    return caught.value


def without_a_row(dump: bytes) -> bytes:
    start = dump.index(b"COPY public.res_partner ")
    first = dump.index(b"\n", start) + 1
    return dump[:first] + dump[dump.index(b"\n", first) + 1 :]


def cut(dump: bytes) -> bytes:
    return dump[: len(dump) // 2]


def cut_with_trailer(dump: bytes) -> bytes:
    start = dump.index(b"COPY public.mail_message ")
    end = dump.index(b"\n\\.\n", start)
    return dump[: (start + end) // 2] + b"\n\\.\n" + dump[end + 4 :]


BEFORE_THE_TARGET = {
    "not the bytes that were stored": (lambda dump: dump + b"--\n", False, {}, ErrorCode.CORRUPT),
    "cut off": (cut, True, {}, ErrorCode.INCOMPLETE),
    "a row less than counted": (without_a_row, True, {}, ErrorCode.INCOMPLETE),
}


@pytest.mark.parametrize("name", BEFORE_THE_TARGET)
def test_a_wrong_archive_is_refused_before_the_target_is_touched(
    name: str, prod_archive: Shelved, second_server: PostgresServer, tmp_path: Path
) -> None:
    edit, honest, changes, code = BEFORE_THE_TARGET[name]
    journal = Journal()

    error = refusal(
        edited(prod_archive, tmp_path, edit, honest=honest, **changes), second_server, tmp_path / "files", journal
    )

    assert journal.entries == []
    assert error.code in (code, ErrorCode.TRUNCATED)


# What Odoo sends says nothing about rows, so that only the loading can find these.
UNCOUNTED = {"table_rows": None}
AT_THE_TARGET = {
    "a COPY that breaks": (
        lambda dump: dump.replace(b"COPY public.res_partner (id, name", b"COPY public.res_partner (id, nom", 1),
        ErrorCode.RESTORE_FAILED,
    ),
    "a row that breaks its COPY": (cut_with_trailer, ErrorCode.RESTORE_FAILED),
    "a constraint that the rows break": (
        lambda dump: dump.replace(
            b"CREATE TABLE public.res_company (", b"CREATE TABLE public.res_company (CHECK (id > 9),", 1
        ),
        ErrorCode.RESTORE_FAILED,
    ),
    "an extension that is not there": (
        lambda dump: dump.replace(b"CREATE EXTENSION", b"CREATE EXTENSION no_such; CREATE EXTENSION", 1),
        ErrorCode.EXTENSION_MISSING,
    ),
    "a command for psql": (
        lambda dump: dump.replace(b"\nCREATE TABLE", b"\n\\! touch /tmp/holdfast-canary\nCREATE TABLE", 1),
        ErrorCode.HOSTILE_ARCHIVE,
    ),
    "rows that delete themselves": (
        lambda dump: dump.replace(
            b"\n" + TRAILER, b"\nDELETE FROM public.mail_message WHERE id = 1;\n\n--\n" + TRAILER, 1
        ),
        ErrorCode.RESTORE_DIFFERS,
    ),
}


@pytest.mark.parametrize("name", AT_THE_TARGET)
def test_what_breaks_while_loading_leaves_nothing(
    name: str, prod_archive: Shelved, second_server: PostgresServer, tmp_path: Path
) -> None:
    edit, code = AT_THE_TARGET[name]

    error = refusal(edited(prod_archive, tmp_path, edit, **UNCOUNTED), second_server, tmp_path / "files")

    assert error.code is code, error.message
    assert not Path("/tmp/holdfast-canary").exists()
    if code is ErrorCode.RESTORE_DIFFERS:
        assert "public.mail_message has 199 of 200" in error.message


def test_an_archive_that_only_odoo_knows_is_compared_with_its_own_dump(
    prod_archive: Shelved, second_server: PostgresServer, tmp_path: Path
) -> None:
    shelved = edited(prod_archive, tmp_path, lambda dump: dump, **UNCOUNTED)

    result = run(new_plan(shelved, second_server.plan(tmp_path / "files"), "uncounted"), Journal(), SilentReporter())

    assert result.outcome is RestoreOutcome.CREATED
    second_server.drop_database("uncounted")


def test_a_dump_of_a_newer_server_with_foreign_owners_and_grants_is_restored(
    prod_archive: Shelved, second_server: PostgresServer, tmp_path: Path
) -> None:
    newer = (
        b"\\restrict aBc123\nSET transaction_timeout = 0;\nSET default_tablespace = fast;\n"
        b"ALTER SCHEMA public OWNER TO pg_database_owner;\nGRANT ALL ON SCHEMA public TO nobody_here;\n"
    )

    def edit(dump: bytes) -> bytes:
        dump = dump.replace(b"\nCREATE EXTENSION", b"\n" + newer + b"CREATE EXTENSION", 1)
        after = b"\nALTER TABLE public.res_users OWNER TO nobody_here;\nCOMMENT ON EXTENSION pg_trgm IS 'x';\n\n--\n"
        return dump.replace(b"\n--\n" + TRAILER, after + TRAILER, 1)

    told = SilentReporter()
    run(
        new_plan(edited(prod_archive, tmp_path, edit), second_server.plan(tmp_path / "files"), "newer"), Journal(), told
    )

    left_out = next(line for _, line in told.lines if line.startswith("Left out"))
    assert "settings that the server does not know (1)" in left_out
    second_server.drop_database("newer")


def test_a_filestore_that_lies_there_already_is_not_overwritten(
    prod_archive: Shelved, second_server: PostgresServer, tmp_path: Path
) -> None:
    there = tmp_path / "files" / "broken" / "ab"
    there.mkdir(parents=True)

    with pytest.raises(HoldfastError) as caught:
        run(new_plan(prod_archive, second_server.plan(tmp_path / "files"), "broken"), Journal(), SilentReporter())

    assert caught.value.code is ErrorCode.TARGET_EXISTS
    assert there.is_dir()


def test_an_attachment_lost_on_the_way_is_found(
    prod_archive: Shelved, prod: OdooDatabase, second_server: PostgresServer, tmp_path: Path
) -> None:
    """Somebody deletes a file of the unpacked filestore before it is looked at."""

    class Thief(SilentReporter):
        def check(self) -> None:
            for path in (tmp_path / "files").glob(f"*/{prod.names[0]}"):
                path.unlink()

    with pytest.raises(HoldfastError) as caught:
        run(new_plan(prod_archive, second_server.plan(tmp_path / "files"), "broken"), Journal(), Thief())

    assert caught.value.code is ErrorCode.RESTORE_DIFFERS
    assert prod.names[0] in caught.value.message


@pytest.mark.parametrize("who", ["application_name = 'holdfast'", "application_name LIKE 'holdfast restore%'"])
def test_a_session_ended_by_the_server_while_loading_leaves_nothing(
    who: str, prod_archive: Shelved, second_server: PostgresServer, tmp_path: Path
) -> None:
    class Ending(SilentReporter):
        def progress(self, done: int, total: int | None = None, unit: str = "bytes", message: str = "") -> None:
            second_server.rows(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {who}")

    with pytest.raises(HoldfastError) as caught:
        run(new_plan(prod_archive, second_server.plan(tmp_path / "files"), "broken"), Journal(), Ending())

    assert caught.value.code in (ErrorCode.CONNECTION_LOST, ErrorCode.RESTORE_FAILED)
    assert not list((tmp_path / "files").glob("*"))


def test_a_cancelled_restore_leaves_nothing(
    prod_archive: Shelved, second_server: PostgresServer, tmp_path: Path
) -> None:
    class Cancelled(StoppingReporter):
        def progress(self, done: int, total: int | None = None, unit: str = "bytes", message: str = "") -> None:
            if self.steps[-1] == "load" and not self.stopped:
                self.stop()

    with pytest.raises(TaskStopped):
        run(new_plan(prod_archive, second_server.plan(tmp_path / "files"), "broken"), Journal(), Cancelled())

    assert not list((tmp_path / "files").glob("*"))
    assert second_server.sessions() == []


def test_an_archive_that_changes_after_it_was_verified_is_not_restored(
    prod_archive: Shelved, second_server: PostgresServer, tmp_path: Path
) -> None:
    shelved = edited(prod_archive, tmp_path, lambda dump: dump)

    class Touching(SilentReporter):
        def step(self, key: str, title: str, detail: str = "") -> None:
            if key == "compare":
                Path(shelved.path).touch()

    with pytest.raises(HoldfastError) as caught:
        run(new_plan(shelved, second_server.plan(tmp_path / "files"), "broken"), Journal(), Touching())

    assert caught.value.code is ErrorCode.CORRUPT
