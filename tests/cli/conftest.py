"""The command line as tests use it: in this process, over a fresh copy of a migrated database and a real queue server."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.support.app import Installation
from tests.support.redis import RedisServer, redis_client, redis_server
from webapp import cli
from webapp.settings import read_settings

__all__ = ["redis_client", "redis_server"]


@dataclass
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        return json.loads(self.err)["error"]


class Shell:
    """Runs ``holdfast`` commands."""

    def __init__(self, directory: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._capture = capture

    def __call__(self, *words: str) -> Said:
        self._capture.readouterr()
        try:
            code = cli.main(words)
        except SystemExit as leaving:  # argparse
            code = int(leaving.code or 0)
        found = self._capture.readouterr()
        return Said(code, found.out, found.err)

    def json(self, *words: str) -> Any:
        said = self(*words, "--json")
        assert said.code == 0, said.err
        return said.data


@pytest.fixture
def data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data directory that the environment names."""
    for name in (
        "DATABASE_URL",
        "REDIS_URL",
        "HOST",
        "PORT",
        "SECRET_KEY",
        "HOLDFAST_VAULT_KEYS",
        "HOLDFAST_ARCHIVE_DIR",
    ):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)
    directory = tmp_path / "data"
    monkeypatch.setenv("HOLDFAST_DATA_DIR", str(directory))
    return directory


@pytest.fixture
def bare_shell(data_directory: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    """A shell over an empty data directory."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield Shell(data_directory, capsys)
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def shell(
    bare_shell: Shell,
    installation: Installation,
    redis_server: RedisServer,
    redis_client: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> Shell:
    """A shell over a migrated database with the cast, and an empty queue server."""
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    settings = read_settings()
    shutil.copyfile(installation.pristine, settings.data_directory / "holdfast.sqlite")
    return bare_shell
