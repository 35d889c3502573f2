"""Which migration the database is at, and which one the code wants."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from webapp.store.db import db

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


@cache
def wanted_revision() -> str | None:
    """The newest migration in the tree."""
    return ScriptDirectory(str(MIGRATIONS)).get_current_head()


def applied_revision() -> str | None:
    """The migration that the database was last brought to; None for an empty one."""
    return MigrationContext.configure(db.session.connection()).get_current_revision()
