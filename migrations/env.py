"""Runs migrations on the app's own engine.

SQLite: foreign keys are switched off before any transaction, since a batch rebuild of a parent table would otherwise delete
its children by ON DELETE CASCADE without an error; they are checked afterwards.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context
from flask import current_app
from sqlalchemy.engine import Connection

import webapp.store.models  # noqa: F401  (fills the metadata)

database = current_app.extensions["migrate"].db


def run() -> None:
    """Upgrade or downgrade as alembic was asked."""
    with database.engine.connect() as opened:
        if opened.dialect.name == "sqlite":
            opened.connection.driver_connection.execute("PRAGMA foreign_keys=OFF")
        connection = opened.execution_options(sqlite_write=True)
        context.configure(
            connection=connection,
            target_metadata=database.metadata,
            render_as_batch=True,
            compare_type=_same_type,
            render_item=_render_item,
        )
        with context.begin_transaction():
            context.run_migrations()
            if connection.dialect.name == "sqlite":
                _check_foreign_keys(connection)
        if connection.dialect.name == "sqlite":
            connection.connection.driver_connection.execute("PRAGMA foreign_keys=ON")


def _render_item(kind: str, item: object, _autogen: object) -> str | bool:
    """Plain types in migrations: they must not change when our column types do."""
    if kind == "type" and isinstance(item, sa.types.TypeDecorator):
        return f"sa.{item.impl!r}"
    return False


def _same_type(_context: object, _found_column: object, _column: object, found: object, wanted: object) -> bool | None:
    """Compare our column types by what they are made of."""
    if isinstance(wanted, sa.types.TypeDecorator):
        return not isinstance(found, type(wanted.impl))
    return None


def _check_foreign_keys(connection: Connection) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    if broken:
        raise RuntimeError(f"foreign keys broken after migration: {broken[:5]}")


run()
