"""Kept databases: what a replaced database was, under its new name, until a person or a timer removes it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from webapp.core.actors import Actor
from webapp.core.errors import NotFound
from webapp.store.db import db
from webapp.store.models import KeptDatabase, Task


def list_kept(*, with_removed: bool = False) -> Sequence[KeptDatabase]:
    """Kept databases, the newest first; those that were removed only when asked for."""
    query = sa.select(KeptDatabase).order_by(KeptDatabase.created_at.desc(), KeptDatabase.id.desc())
    if not with_removed:
        query = query.where(KeptDatabase.removed_at.is_(None))
    return db.session.scalars(query).all()


def get_kept(kept_id: int) -> KeptDatabase:
    """The kept database. Raises NotFound."""
    found = db.session.get(KeptDatabase, kept_id, populate_existing=True)
    if found is None:
        raise NotFound(f"There is no kept database {kept_id}.")
    return found


def request_removal(kept_id: int, *, typed_name: str, actor: Actor, now: datetime) -> Task:
    """Ask a worker to remove it for good; the typed name is its new name. Raises NotFound, InvalidInput, Conflict."""
    raise NotImplementedError
