"""Bringing the tables to the form that this version of Holdfast needs."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import flask_migrate
from alembic.script import ScriptDirectory
from flask import Flask, current_app
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from webapp.core.errors import HoldfastError
from webapp.store.db import db, release
from webapp.store.revision import MIGRATIONS, applied_revision, wanted_revision

logger = logging.getLogger(__name__)


class DatabaseNotReady(HoldfastError):
    """The app's own database cannot be used as it is."""


def attach_migrations(app: Flask) -> None:
    """Let the migrations find the app's database."""
    flask_migrate.Migrate(app, db, directory=str(MIGRATIONS))


def found_revision() -> str:
    """The migration that the database was brought to, or "" when it is empty.

    Raises:
        DatabaseNotReady: it cannot be reached.
    """
    try:
        return applied_revision() or ""
    except OperationalError as error:
        db.session.rollback()
        raise _unreachable(error) from error
    finally:
        release()


def check_migrated() -> None:
    """Raises DatabaseNotReady when the database is not exactly at our version."""
    found, wanted = found_revision(), wanted_revision()
    if found == wanted:
        return
    known = {script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()}
    if found and found not in known:
        raise DatabaseNotReady(
            f"The database was made by a newer Holdfast (revision {found}).",
            hint="Start that version, or restore a copy.",
        )
    raise DatabaseNotReady("The database is not up to date.", hint="Run: holdfast migrate")


def upgrade() -> bool:
    """Apply what is missing. An SQLite file that holds data is copied beside itself first.

    Returns:
        Whether anything was to do.

    Raises:
        DatabaseNotReady: the database cannot be reached, or is newer than we are.
    """
    found, wanted = found_revision(), wanted_revision()
    if found == wanted:
        return False
    if found:
        _copy_sqlite_file(found)
    try:
        flask_migrate.upgrade(directory=str(MIGRATIONS))
    except SystemExit:  # alembic logs the reason, then leaves
        check_migrated()
        raise
    except SQLAlchemyError as error:
        raise DatabaseNotReady(
            f"The database could not be brought up to date ({type(error).__name__}).",
            hint="The log has the reason. Nothing was changed, or the copy beside the database file is as before.",
        ) from error
    finally:
        db.engine.dispose()
    logger.info("database brought from %s to %s", found or "nothing", wanted)
    return True


def _copy_sqlite_file(revision: str) -> None:
    name = db.engine.url.database
    if db.engine.dialect.name != "sqlite" or not name or name == ":memory:":
        return
    copy = Path(f"{name}.before-{wanted_revision()}-was-{revision}")
    copy.unlink(missing_ok=True)
    source, target = sqlite3.connect(name), sqlite3.connect(copy)
    try:
        source.backup(target)
    finally:
        source.close()
        target.close()
    copy.chmod(0o600)
    logger.info("copied the database to %s first", copy)


def _unreachable(error: OperationalError) -> DatabaseNotReady:
    url = current_app.config.get("SQLALCHEMY_DATABASE_URI", "")
    hint = (
        "Check that the data directory exists, is writable, and has free space."
        if str(url).startswith("sqlite")
        else "Check DATABASE_URL, and that PostgreSQL runs and lets this user in."
    )
    return DatabaseNotReady(f"The database cannot be reached ({type(error.orig).__name__}).", hint=hint)
