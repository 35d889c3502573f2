"""A stage to kill workers on: a real PostgreSQL with a small Odoo database, and a Holdfast with one pending run, to copy."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import flask_migrate
from cryptography.fernet import Fernet
from flask import Flask

from tests.support.app import RecordingQueue, make_settings, service_context
from tests.support.factories import make_instance, make_job
from tests.support.odoo_database import build_odoo_database
from tests.support.postgres import PASSWORD, SUPERUSER, PostgresServer, running_server
from webapp.app import create_app
from webapp.core.plans import Secret
from webapp.core.status import Content, FilestoreKind, InstanceKind
from webapp.engine.shelf import open_shelf
from webapp.services import schedule
from webapp.services.wiring import Wiring
from webapp.settings import Settings
from webapp.store.db import db
from webapp.vault import Vault

DATABASE = "acme"
KEY = Fernet.generate_key().decode()


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the template lies, and what it reads."""

    directory: Path
    server: PostgresServer
    template: Path

    def sandbox(self, name: str) -> Path:
        """A fresh copy of the template."""
        place = self.directory / name
        shutil.copytree(self.template, place)
        (place / "tmp").mkdir()
        return place


@contextmanager
def built_stage(*, rows: int = 60, files: int = 25) -> Iterator[Stage]:
    """Build everything once; it is gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="holdfast-proof-"))
    directory.chmod(0o755)
    try:
        with running_server() as server:
            made = build_odoo_database(server, DATABASE, directory / "filestore", rows=rows, files=files)
            template = directory / "template"
            build_template(template, server, made.filestore.parent)
            yield Stage(directory, server, template)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def build_template(template: Path, server: PostgresServer, filestore: Path) -> None:
    """A migrated database with one instance, one job, and one pending run of a due slot."""
    template.mkdir()
    app = app_in(template)
    moment = datetime.now(UTC)
    with service_context(app):
        flask_migrate.upgrade()
        instance = make_instance(
            moment,
            uid="proof",
            kind=InstanceKind.ODOO_POSTGRES,
            databases=[DATABASE],
            pg_port=server.port,
            pg_user=SUPERUSER,
            pg_password=Vault([KEY]).seal(Secret(PASSWORD), "instance:proof:pg_password"),
            filestore_kind=FilestoreKind.LOCAL,
            filestore_path=str(filestore),
        )
        job = make_job(
            instance,
            moment.replace(second=0, microsecond=0),
            cron="* * * * *",
            retries=1,
            retry_delay_seconds=0,
            content=Content.DATABASE_AND_FILESTORE,
        )
        schedule.settle_job(job.id, job.next_slot_at)
        job.enabled = True
        schedule.reconcile(job.cursor_at)
        with db.engine.connect() as connection:
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("UPDATE job SET enabled = 0, next_slot_at = NULL")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.exec_driver_sql("BEGIN")
        db.engine.dispose()
    open_shelf(str(template / "archives"), create=True)


def settings_in(place: Path) -> Settings:
    """Settings of a Holdfast in this directory; its lease is short, so that a proof need not wait."""
    return replace(make_settings(place), vault_keys=(KEY,), lease_seconds=60, heartbeat_seconds=15)


def app_in(place: Path) -> Flask:
    """The app over this directory, with a queue that only remembers."""
    settings = settings_in(place)
    settings.archive_directory.mkdir(exist_ok=True)
    wiring = Wiring(
        data_directory=place,
        archive_directory=settings.archive_directory,
        vault=Vault([KEY]),
        queue=RecordingQueue(),
        lease_seconds=settings.lease_seconds,
        heartbeat_seconds=settings.heartbeat_seconds,
    )
    return create_app(settings, wiring)


def answer_in_child(place: Path, question: Callable[[], Any]) -> Any:
    """The answer (as JSON) to a question that needs the services, asked in a child: we hold no connection over a fork."""
    answer = place / "answer.json"

    def ask() -> None:
        with service_context(app_in(place)):
            answer.write_text(json.dumps(question()))

    code = exit_code(in_child(ask))
    if code != 0:
        raise RuntimeError(f"a question to the installation ended with {code}")
    return json.loads(answer.read_text())


def in_child(work: Callable[[], None]) -> int:
    """Run in a forked child that leaves without cleanup. Its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    except BaseException:  # noqa: BLE001 - the child's last words; it must not return into the parent's code
        traceback.print_exc()
    finally:
        os._exit(code)


def exit_code(child: int) -> int:
    """Wait for a child: its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
