"""The row that a host has beside its instance's: written with it, copied with it. Its directory is chosen once."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.core.errors import InvalidInput
from webapp.core.naming import slugify
from webapp.store.db import db
from webapp.store.models import Host, Instance

LONGEST_DIRECTORY = 64
_AS_IT_IS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,59}", re.ASCII)
_NOT_COPIED = frozenset({"instance_id", "directory", "shrink_accepted_at", "shrink_accepted_by"})


def write_host(session: Session, instance: Instance, columns: dict[str, Any]) -> dict[str, list[Any]]:
    """Add or change the row; what changed, as pairs of old and new. The directory of a row that exists stays as it is.

    The instance must have its id. Raises InvalidInput when the wanted directory belongs to another host.
    """
    host = session.get(Host, instance.id)
    if host is None:
        directory = _claim(session, columns["directory"]) or _free_directory(session, instance.name)
        session.add(Host(**{**columns, "directory": directory, "instance_id": instance.id}))
        return {}
    changed = {
        key: [getattr(host, key), value]
        for key, value in columns.items()
        if key != "directory" and getattr(host, key) != value
    }
    for key, (_, value) in changed.items():
        setattr(host, key, value)
    return changed


def copy_host(session: Session, old_id: int, new: Instance) -> None:
    """The row of a copied instance: all that was set, with a directory of its own."""
    old = session.get(Host, old_id)
    if old is None:
        return
    copied = {c.key: getattr(old, c.key) for c in sa.inspect(Host).column_attrs if c.key not in _NOT_COPIED}
    session.add(Host(**copied, instance_id=new.id, directory=_free_directory(session, new.name)))


def _claim(session: Session, directory: str) -> str:
    if directory and directory in _taken(session):
        raise InvalidInput(
            f"The folder «{directory}» belongs to another host, or to one that was deleted.",
            field="directory",
            hint="Choose another one, or leave it empty.",
        )
    return directory


def _free_directory(session: Session, name: str) -> str:
    """The name itself where it can be a folder's, so that people find it again; else its slug; with a counter if taken."""
    base = name if _AS_IT_IS.fullmatch(name) else slugify(name)[: LONGEST_DIRECTORY - 4]
    taken = _taken(session)
    candidates = [base, *(f"{base}-{number}" for number in range(2, len(taken) + 3))]
    return next(candidate for candidate in candidates if candidate not in taken)


def taken_directories() -> set[str]:
    """The folders of all hosts, the deleted ones' too."""
    return _taken(db.session())


def _taken(session: Session) -> set[str]:
    return set(session.scalars(sa.select(Host.directory)))
