"""A real Redis-compatible server on a free socket, started and killed by the test that asks for it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from webapp.core.errors import QueueDown
from webapp.queue.connection import connect, errors_as_queue_down
from webapp.queue.server import find_server, server_command


class RedisServer:
    """The server of Holdfast's own settings, in a short private directory (a socket's path may not be long)."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="hf-redis-"))
        self.socket = self.directory / "s"
        self.url = f"unix://{self.socket}?db=0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = find_server(None, _version_of)
        self.process = subprocess.Popen(
            server_command(program, self.socket, self.directory), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(self.answers, "the Redis server answers")

    def answers(self) -> bool:
        try:
            with errors_as_queue_down(), contextlib.closing(connect(self.url)) as client:
                return bool(client.ping())
        except QueueDown:
            return False

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(10)
            self.process = None

    def remove(self) -> None:
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)


def wait_for(condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Return as soon as the condition holds; fail with what was awaited."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain until {what}"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def _version_of(program: str) -> str:
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One server for the session of tests."""
    server = RedisServer()
    server.start()
    yield server
    server.remove()


@pytest.fixture
def own_redis_server() -> Iterator[RedisServer]:
    """A server for tests that kill it."""
    server = RedisServer()
    server.start()
    yield server
    server.remove()


@pytest.fixture
def redis_client(redis_server: RedisServer) -> Iterator[Redis]:
    """A prompt connection to an empty server."""
    client = connect(redis_server.url)
    client.flushall()
    yield client
    client.close()


def children_of(pid: int) -> list[int]:
    """Direct children, by the kernel's word."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def kill_quietly(pid: int) -> None:
    """SIGKILL, if there is anything to kill."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
