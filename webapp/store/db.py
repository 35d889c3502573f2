"""The SQLAlchemy object, SQLite's settings, and the one way to write: ``with writing() as session``.

SQLite: WAL, ``synchronous=FULL`` (the last commit survives a power cut), foreign keys on, and real transactions: readers
``BEGIN``, writers ``BEGIN IMMEDIATE``, so that a read is never upgraded to a write (that fails at once with
"database is locked", whatever the busy timeout).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import sqlalchemy as sa
from flask import Flask, current_app
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.orm import DeclarativeBase, Session

BUSY_TIMEOUT_SECONDS = 15

P = ParamSpec("P")
T = TypeVar("T")


class Base(DeclarativeBase):
    """Base of all tables, with constraint names that migrations can rely on."""

    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


db = SQLAlchemy(model_class=Base, session_options={"expire_on_commit": False, "autoflush": True})

if TYPE_CHECKING:

    class Model(Base):
        """What models inherit from, as type checkers see it."""

        __abstract__ = True
else:
    Model = db.Model


def normalise_database_url(url: str) -> str:
    """The URL with the drivers we ship: ``postgres://`` and ``postgresql://`` become psycopg 3."""
    for prefix in ("postgres://", "postgresql://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + url.removeprefix(prefix)
    return url


def engine_options(url: str) -> dict[str, Any]:
    """Options for Flask-SQLAlchemy's engine."""
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False}}
    return {"pool_pre_ping": True, "pool_size": 10, "max_overflow": 20}


def attach(app: Flask, database_url: str) -> None:
    """Bind the database to a Flask app (the web app, or the bare app of a worker)."""
    url = normalise_database_url(database_url)
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options(url)
    db.init_app(app)
    with app.app_context():
        if db.engine.dialect.name == "sqlite":
            _listen_sqlite(db.engine)


def _listen_sqlite(engine: Engine) -> None:
    event.listen(engine, "connect", _on_sqlite_connect)
    event.listen(engine, "begin", _on_sqlite_begin)


def _on_sqlite_connect(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the begin event below speaks BEGIN itself
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _on_sqlite_begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("sqlite_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


@contextmanager
def writing() -> Iterator[Session]:
    """One write transaction: committed at the end, rolled back on any exception. Nested use joins the outer one.

    Everything read before is read anew inside, so decisions rest on the present.

    Raises:
        RuntimeError: when changes are pending that were made outside of ``writing()``.
    """
    session = db.session()
    if session.info.get("writing"):
        yield session
        return
    if session.new or session.dirty or session.deleted:
        raise RuntimeError("changes were made outside of writing()")
    session.commit()
    session.expire_all()
    session.info["writing"] = True
    try:
        session.connection(execution_options={"sqlite_write": True})
        yield session
        session.commit()
    except BaseException:
        session.rollback()
        raise
    finally:
        session.info["writing"] = False


def release() -> None:
    """End the session: no transaction stays open while bytes move."""
    db.session.remove()


def forget_connections_after_fork() -> None:
    """Drop inherited connections without closing the parent's (SQLite forbids carrying one across a fork)."""
    db.engine.dispose(close=False)


def bound_to_app(function: Callable[P, T]) -> Callable[P, T]:
    """The function wrapped so that it can use the database from another thread."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]

    def inside(*args: P.args, **kwargs: P.kwargs) -> T:
        with app.app_context():
            return function(*args, **kwargs)

    return inside
