"""What every source promises (webapp/engine/sources/base.py), asked of every member of the family."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from datetime import datetime

import pytest

from tests.contracts.source_members import MEMBERS, Member
from tests.support.archives import MemorySink
from webapp.core.errors import HoldfastError, SourceError, StoreError, TaskStopped
from webapp.core.reports import CheckState
from webapp.core.status import ArchiveFormat, Content, ErrorCode
from webapp.engine.report import SilentReporter


@pytest.fixture(scope="module", params=sorted(MEMBERS))
def member(request: pytest.FixtureRequest) -> Iterator[Member]:
    with MEMBERS[request.param]() as made:
        yield made


class FullSink(MemorySink):
    """Takes nothing."""

    def write(self, data: bytes | bytearray | memoryview) -> int:
        raise StoreError("The disk is full.", code=ErrorCode.DISK_FULL)


class Stopped(SilentReporter):
    """Stops at the first check."""

    def check(self) -> None:
        raise TaskStopped("Cancelled.")


def test_databases_are_listed_in_order(member: Member) -> None:
    found = member.source.list_databases()

    assert "prod" in found
    assert found == sorted(found)


def test_an_unreachable_server_is_a_source_error_with_a_hint(member: Member) -> None:
    with pytest.raises(SourceError) as caught:
        member.unreachable.list_databases()

    assert caught.value.hint
    assert member.secret not in caught.value.message + caught.value.hint


def test_an_unreachable_server_gives_no_archive(member: Member) -> None:
    sink = MemorySink()

    with pytest.raises(SourceError) as caught:
        member.unreachable.write_archive(member.plan(), sink, SilentReporter())

    assert caught.value.hint
    assert sink.tell() == 0


def test_a_probe_passes_and_changes_nothing(member: Member) -> None:
    before = member.state()

    checks = member.source.probe("prod", SilentReporter())

    assert [check for check in checks if check.state is CheckState.FAILED] == []
    assert len({check.key for check in checks}) == len(checks)
    assert member.state() == before
    assert member.secret not in str([check.as_json() for check in checks])


def test_a_probe_of_an_unreachable_server_fails_one_check_and_what_needs_it_is_skipped(member: Member) -> None:
    checks = member.unreachable.probe("prod", SilentReporter())

    failed = [check for check in checks if check.state is CheckState.FAILED]
    assert len(failed) == 1
    assert failed[0].hint
    assert failed[0].code
    later = checks[checks.index(failed[0]) + 1 :]
    assert CheckState.SKIPPED in {check.state for check in later}


def test_a_probe_says_that_the_database_is_missing(member: Member) -> None:
    checks = member.source.probe("no_such_database", SilentReporter())

    failed = [check for check in checks if check.state is CheckState.FAILED]
    assert ErrorCode.DATABASE_NOT_FOUND in [check.code for check in failed]
    assert all(check.hint for check in failed)


def test_a_zip_holds_dump_manifest_and_filestore(member: Member) -> None:
    sink = MemorySink()

    facts = member.source.write_archive(member.plan(), sink, SilentReporter())

    with zipfile.ZipFile(io.BytesIO(sink.data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[0] == "dump.sql"
        assert json.loads(archive.read("manifest.json"))["db_name"] == "prod"
        assert any(name.startswith("filestore/") for name in archive.namelist())
    assert datetime.fromisoformat(facts.snapshot_at).utcoffset() is not None


def test_the_custom_format_begins_as_one(member: Member) -> None:
    sink = MemorySink()

    member.source.write_archive(
        member.plan(format=ArchiveFormat.CUSTOM, content=Content.DATABASE), sink, SilentReporter()
    )

    assert bytes(sink.data[:5]) == b"PGDMP"


def test_an_unknown_database_is_an_error(member: Member) -> None:
    with pytest.raises(HoldfastError) as caught:
        member.source.write_archive(member.plan(database="no_such_database"), MemorySink(), SilentReporter())

    assert caught.value.code is ErrorCode.DATABASE_NOT_FOUND
    assert caught.value.hint
    assert member.secret not in caught.value.message + caught.value.hint


def test_the_sinks_error_passes_through(member: Member) -> None:
    with pytest.raises(StoreError) as caught:
        member.source.write_archive(member.plan(), FullSink(), SilentReporter())

    assert caught.value.code is ErrorCode.DISK_FULL


def test_a_stop_passes_through(member: Member) -> None:
    with pytest.raises(TaskStopped):
        member.source.write_archive(member.plan(), MemorySink(), Stopped())


def test_nothing_shows_the_secret(member: Member) -> None:
    reporter = SilentReporter()
    facts = member.source.write_archive(member.plan(), MemorySink(), reporter)

    assert member.secret not in f"{reporter.lines} {reporter.steps} {facts} {member.plan()!r} {member.source!r}"
