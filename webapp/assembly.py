"""What every door does first: logs, the database bound to a Flask app, the vault, the queue, and the wiring for services."""

from __future__ import annotations

import os

from flask import Flask

from webapp import logs
from webapp.core.plans import Secret
from webapp.queue import monitor
from webapp.queue.connection import connect
from webapp.queue.enqueue import RqTaskQueue
from webapp.services.wiring import Wiring, install
from webapp.settings import Settings
from webapp.store import db as store
from webapp.vault import Vault


def bare_app(settings: Settings) -> Flask:
    """An app without pages, for the worker, the scheduler and the command line; its wiring is installed."""
    logs.set_up(settings.log_level)
    app = Flask("webapp", instance_path=str(settings.data_directory))
    assemble(app, settings)
    return app


def assemble(app: Flask, settings: Settings) -> None:
    """Bind the database to the app and install the wiring. Neither the database nor Redis is asked anything yet."""
    os.umask(0o077)  # archives, the database and its journal are nobody else's to read
    store.attach(app, settings.database_url)
    install(make_wiring(settings))


def make_wiring(settings: Settings) -> Wiring:
    """The wiring that the settings describe."""
    connection = connect(settings.redis_url)
    return Wiring(
        data_directory=settings.data_directory,
        archive_directory=settings.archive_directory,
        vault=Vault(settings.vault_keys),
        queue=RqTaskQueue(connection),
        lease_seconds=settings.lease_seconds,
        heartbeat_seconds=settings.heartbeat_seconds,
        compression_threads=settings.compression_threads,
        session_idle_minutes=settings.session_idle_minutes,
        session_absolute_hours=settings.session_absolute_hours,
        restore_directory=settings.restore_directory,
        upload_limit_bytes=settings.upload_limit_gib * 1024**3,
        self_backup_passphrase=Secret(settings.self_backup_passphrase),
        look_at_queue=lambda now: monitor.look(connection, now),
        drill_directory=settings.drill_directory,
        drill_jobs=settings.drill_jobs,
        drill_boot_command=settings.drill_boot_command,
    )
