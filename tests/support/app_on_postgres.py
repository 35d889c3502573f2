"""The app over PostgreSQL: one database built by the migrations, copied anew for every test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import flask_migrate
from flask import Flask

from tests.support.app import RecordingQueue, let_in_the_cast, make_settings, make_wiring
from tests.support.postgres import PASSWORD, SUPERUSER, PostgresServer, running_server
from webapp.app import create_app
from webapp.services.wiring import Wiring, install
from webapp.store.db import db

DATABASE = "holdfast"
_PRISTINE = "holdfast_pristine"


@dataclass(frozen=True)
class PostgresInstallation:
    """One app and its database on a server of ours; stands in for tests.support.app.Installation."""

    app: Flask
    server: PostgresServer

    def restore(self, wiring: Wiring) -> Flask:
        """The app over a fresh copy of the database, with this wiring."""
        with self.app.app_context():
            db.session.remove()
            db.engine.dispose()
        self.server.drop_database(DATABASE)
        self.server.create_database(DATABASE, template=_PRISTINE)
        install(wiring)
        return self.app

    def keep_pristine(self) -> None:
        """From now on go back to what is in the database now."""
        with self.app.app_context():
            db.session.remove()
            db.engine.dispose()
        self.server.drop_database(_PRISTINE)
        self.server.create_database(_PRISTINE, template=DATABASE)


def database_url(server: PostgresServer) -> str:
    """What an operator would write into DATABASE_URL."""
    return f"postgresql://{SUPERUSER}:{quote(PASSWORD, safe='')}@127.0.0.1:{server.port}/{DATABASE}"


@contextmanager
def installed_on_postgres(directory: Path, *, with_cast: bool = True) -> Iterator[PostgresInstallation]:
    """Start a server, migrate an empty database on it, and stop it at the end."""
    with running_server() as server:
        server.create_database(DATABASE)
        settings = make_settings(directory, database_url=database_url(server))
        app = create_app(settings, make_wiring(directory, RecordingQueue()))
        app.testing = True
        found = PostgresInstallation(app, server)
        with app.app_context():
            flask_migrate.upgrade()
            if with_cast:
                let_in_the_cast()
        found.keep_pristine()
        try:
            yield found
        finally:
            with app.app_context():
                db.session.remove()
                db.engine.dispose()
