"""Honest Odoos of every version, their transports, and the cuts that look like success."""

from __future__ import annotations

import io
import random
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from tests.support import http_faults as faults
from tests.support.archives import MemorySink
from tests.support.odoo_like import Database, OdooLike
from tests.support.odoo_runs import IMPATIENT, PASSWORD, backup_plan, custom, source_for
from tests.support.odoo_zip import odoo_zip
from webapp.core.errors import HoldfastError, SourceError, TaskStopped
from webapp.core.status import Content, ErrorCode
from webapp.engine.http import BLOCK_BYTES
from webapp.engine.report import SilentReporter
from webapp.engine.sources.odoo_http import truncation_hint

VERSIONS = ("15.0", "16.0", "17.0", "18.0", "19.0", "dev")


@pytest.mark.parametrize("workers", [True, False], ids=["prefork", "threaded"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_zip_arrives_byte_for_byte(version: str, workers: bool) -> None:
    with OdooLike(version=version, workers=workers) as odoo:
        sink = MemorySink()
        facts = source_for(odoo).write_archive(backup_plan(odoo), sink, SilentReporter())

        assert bytes(sink.data) == odoo.databases["prod"].zip_bytes
        assert facts.versions["odoo"].startswith("19.1" if version == "dev" else version)
        assert facts.table_rows is None


@pytest.mark.parametrize("version", VERSIONS)
def test_a_custom_dump_arrives_byte_for_byte(version: str) -> None:
    with OdooLike(version=version) as odoo:
        sink = MemorySink()
        source_for(odoo).write_archive(backup_plan(odoo, **custom()), sink, SilentReporter())

        assert bytes(sink.data) == odoo.databases["prod"].custom_bytes
        assert odoo.posts()[0].form["backup_format"] == "dump"


@pytest.mark.parametrize("version", ["19.0", "dev"])
def test_odoo_19_makes_a_zip_without_the_filestore(version: str) -> None:
    with OdooLike(version=version) as odoo:
        sink = MemorySink()
        source_for(odoo).write_archive(backup_plan(odoo, content=Content.DATABASE), sink, SilentReporter())

        names = zipfile.ZipFile(io.BytesIO(sink.data)).namelist()
        assert names == ["dump.sql", "manifest.json"]
        assert odoo.posts()[0].form["filestore"] == "false"


def test_the_password_is_posted_once_and_no_cookie_ever() -> None:
    with OdooLike() as odoo:
        source_for(odoo).write_archive(backup_plan(odoo), MemorySink(), SilentReporter())

        assert [r.form.get("master_pwd") for r in odoo.requests if "master_pwd" in r.form] == [PASSWORD]
        assert not any("cookie" in r.headers for r in odoo.requests)
        assert "filestore" not in odoo.posts()[0].form
        assert odoo.requests[-1].path == "/web/database/backup"


def test_names_and_passwords_with_every_kind_of_character_arrive() -> None:
    name, secret = "säule & söhne=1", "pä ss&w=rd%+\u20ac"
    with OdooLike(databases={name: Database(odoo_zip(name))}, master_password=secret) as odoo:
        source = source_for(odoo, master_password=type(backup_plan(odoo).source.master_password)(secret))  # type: ignore[union-attr]
        sink = MemorySink()

        source.write_archive(backup_plan(odoo, database=name), sink, SilentReporter())

        assert bytes(sink.data) == odoo.databases[name].zip_bytes


def test_the_host_header_satisfies_dbfilter() -> None:
    with OdooLike(dbfilter="^%d$") as odoo:
        source = source_for(odoo, host_header="prod.example.com")
        sink = MemorySink()

        assert source.list_databases() == ["prod"]
        source.write_archive(backup_plan(odoo), sink, SilentReporter())

        assert bytes(sink.data) == odoo.databases["prod"].zip_bytes
        assert {r.host for r in odoo.requests} == {"prod.example.com"}


def test_an_unknown_version_is_no_obstacle() -> None:
    with OdooLike(overrides={"/web/webclient/version_info": faults.instead(faults.Answer(404))}) as odoo:
        sink = MemorySink()
        facts = source_for(odoo).write_archive(backup_plan(odoo), sink, SilentReporter())

        assert sink.data
        assert facts.versions == {}


def test_a_late_first_byte_is_waited_for() -> None:
    with OdooLike(backup=faults.slow_first_byte(1.0, faults.prefork)) as odoo:
        patient = type(IMPATIENT)(first_byte_seconds=30, idle_seconds=0.6, slow_window_seconds=0.5)
        sink = MemorySink()

        source_for(odoo, limits=patient).write_archive(backup_plan(odoo), sink, SilentReporter())

        assert bytes(sink.data) == odoo.databases["prod"].zip_bytes


@pytest.mark.parametrize("at", sorted(random.Random(2).sample(range(len(odoo_zip())), 200)))
def test_a_cut_at_any_offset_is_noticed(at: int, cutting: OdooLike) -> None:
    """F03: HTTP/1.0, no length, clean close; to HTTP it looks complete."""
    cutting.backup = faults.cut(at)

    with pytest.raises(SourceError) as caught:
        source_for(cutting).write_archive(backup_plan(cutting), MemorySink(), SilentReporter())

    assert caught.value.code in ((ErrorCode.TRUNCATED,) if at else (ErrorCode.NOT_A_BACKUP,))
    assert caught.value.hint
    assert not caught.value.permanent


@pytest.fixture(scope="module")
def cutting() -> Iterator[OdooLike]:
    """One server for all cuts."""
    with OdooLike() as odoo:
        yield odoo


@pytest.mark.parametrize(
    ("size", "seconds", "word"),
    [
        (1024**3, 10.0, "proxy_max_temp_file_size"),
        (1024**3 - 4096, 200.0, "proxy_max_temp_file_size"),
        (5_000_000, 120.2, "limit_time_real"),
        (5_000_000, 60.0, "proxy_read_timeout"),
        (5_000_000, 4.0, "ODOO_HTTP_SOCKET_TIMEOUT"),
    ],
)
def test_the_hint_names_the_likely_knife(size: int, seconds: float, word: str) -> None:
    assert word in truncation_hint(size, seconds)


class StoppingReporter(SilentReporter):
    """Stops when told to: runs the action given to on_stop and raises at the next check."""

    def __init__(self) -> None:
        super().__init__()
        self.done = 0
        self._stopped = False
        self._actions: list[Callable[[], None]] = []

    def stop(self) -> None:
        """What a cancel does."""
        self._stopped = True
        for action in list(self._actions):
            action()

    def progress(self, done: int, total: int | None = None, unit: str = "bytes", message: str = "") -> None:
        self.done = done

    def check(self) -> None:
        if self._stopped:
            raise TaskStopped("Cancelled.")

    def on_stop(self, action: Callable[[], None]) -> AbstractContextManager[None]:
        @contextmanager
        def registered() -> Iterator[None]:
            self._actions.append(action)
            yield
            self._actions.remove(action)

        return registered()


LARGE = Database(odoo_zip(files={f"ab/{'ab' * 20}": random.Random(3).randbytes(2 * BLOCK_BYTES)}))


@pytest.mark.parametrize(
    ("backup", "received"),
    [(faults.silent, 0), (faults.stall(3000), 0), (faults.stall(BLOCK_BYTES), BLOCK_BYTES), (faults.endless, 1)],
    ids=["silent", "within a block", "between blocks", "endless"],
)
def test_a_stop_ends_a_backup_at_once(backup: faults.Sender, received: int) -> None:
    patient = type(IMPATIENT)(first_byte_seconds=60, idle_seconds=60)
    with OdooLike(backup=backup, databases={"prod": LARGE}) as odoo:
        reporter, caught = StoppingReporter(), []

        def work() -> None:
            try:
                source_for(odoo, limits=patient).write_archive(backup_plan(odoo), MemorySink(), reporter)
            except HoldfastError as error:
                caught.append(error)

        worker = threading.Thread(target=work)
        worker.start()
        _until(lambda: bool(odoo.posts()) and reporter.done >= received)
        reporter.stop()
        worker.join(5)

        assert not worker.is_alive()
        assert [type(error) for error in caught] == [TaskStopped]


def _until(condition: Callable[[], bool]) -> None:
    turn = threading.Event()
    for _ in range(1000):
        if condition():
            return
        turn.wait(0.01)
    pytest.fail("the request never arrived")


def test_the_sinks_own_errors_pass_through() -> None:
    class Full(MemorySink):
        def write(self, data: Any) -> int:
            raise TaskStopped("Disk full.", code=ErrorCode.DISK_FULL)

    with OdooLike() as odoo, pytest.raises(TaskStopped):
        source_for(odoo).write_archive(backup_plan(odoo), Full(), SilentReporter())
