"""A small estate: one host behind a real sshd, its backup root, and ``holdfast`` commands with somebody who does the tasks."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.support.app import Installation
from tests.support.sshd import SshServer, running_sshd
from webapp import cli
from webapp.assembly import bare_app
from webapp.core.status import TaskStatus
from webapp.queue.jobs import TASK_FUNCTIONS, resolve
from webapp.settings import read_settings
from webapp.store.db import db, release
from webapp.store.models import Task


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str


@dataclass
class Estate:
    """The host's own tree is ``source``, which its key takes for /; snapshots lie below ``root``."""

    source: Path
    root: Path
    server: SshServer

    def __call__(self, *words: str) -> Said:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = cli.main(words)
            except SystemExit as leaving:  # argparse
                code = int(leaving.code or 0)
        return Said(code, out.getvalue(), err.getvalue())

    def json(self, *words: str) -> Any:
        said = self(*words, "--json")
        assert said.code == 0, f"{words}: {said.out}{said.err}"
        return json.loads(said.out)

    @contextmanager
    def inside(self) -> Iterator[Flask]:
        """Services, over the same database."""
        app = bare_app(read_settings())
        with app.app_context():
            yield app
            release()

    def add_host(self, name: str = "web-01") -> Any:
        """The host, let in and pinned; what adding it answered."""
        where = ("--address", "127.0.0.1", "--port", str(self.server.port), "--user", self.server.user)
        added = self.json("configure-host", name, *where, "--only-own-excludes", "yes")
        self.let_in(added["authorized_keys"])
        self.json("host", "key", name, "--accept", self.json("host", "key", name)["shown"])
        return added

    def let_in(self, line: str) -> str:
        """What a person does on the host: put the line into its authorized_keys, here for the tree that it has.

        The line that lets in for reading only, to put back afterwards.
        """
        rrsync = shutil.which("rrsync")
        assert rrsync is not None, "rrsync (of the package rsync) is needed for this test"
        own = re.sub(r'command="rrsync (-ro )?/"', rf'command="{rrsync} \1{self.source}"', line)
        assert own != line
        (self.server.directory / "authorized_keys").write_text(own + "\n")
        return line.replace("rrsync /", "rrsync -ro /")


@contextmanager
def running_estate(directory: Path, installation: Installation, redis_url: str) -> Iterator[Estate]:
    """An estate over a fresh copy of a migrated database; its tasks are done as they come."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DATABASE_URL", "HOST", "PORT", "SECRET_KEY", "HOLDFAST_VAULT_KEYS", "HOLDFAST_ARCHIVE_DIR"):
            patch.delenv(name, raising=False)
        patch.setenv("HOLDFAST_DATA_DIR", str(directory / "data"))
        patch.setenv("REDIS_URL", redis_url)
        shutil.copyfile(installation.pristine, read_settings().data_directory / "holdfast.sqlite")
        with _beside_a_host(directory) as estate:
            yield estate


@contextmanager
def _beside_a_host(directory: Path) -> Iterator[Estate]:
    source, root = directory / "source", directory / "root"
    (source / "etc" / "nginx").mkdir(parents=True)
    (source / "etc" / "hosts").write_text("127.0.0.1 localhost\n")
    (source / "etc" / "nginx" / "nginx.conf").write_text("worker_processes auto;\n")
    (source / "etc" / "mtab").symlink_to("../proc/self/mounts")
    (source / "srv").mkdir()
    (source / "srv" / "data.bin").write_bytes(os.urandom(50_000))
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    try:
        with running_sshd() as server, _worker():
            yield Estate(source, root, server)
    finally:
        logger.handlers[:] = handlers
        logger.setLevel(level)


@contextmanager
def _worker() -> Iterator[None]:
    """Does what waits, the oldest first, in a thread of its own."""
    app, over = bare_app(read_settings()), threading.Event()

    def work() -> None:
        with app.app_context():
            while not over.wait(0.05):
                query = sa.select(Task.id, Task.type).where(Task.status == TaskStatus.PENDING).order_by(Task.id)
                waiting = db.session.execute(query).all()
                release()
                for task_id, kind in waiting:
                    resolve(TASK_FUNCTIONS[kind])(task_id)
                    release()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=60)
        sys.stdout.flush()
