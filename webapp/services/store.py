"""The archive store of this installation: opened everywhere in one way, set up once."""

from __future__ import annotations

import logging

import sqlalchemy as sa

from webapp.core.errors import StoreError
from webapp.engine.shelf import Shelf, open_shelf
from webapp.services.wiring import wired
from webapp.store.db import db, release
from webapp.store.models import Archive

logger = logging.getLogger(__name__)


def the_shelf() -> Shelf:
    """The store. Raises StoreError(store_unavailable) when its directory does not carry our sentinel."""
    return open_shelf(str(wired().archive_directory))


def set_up_store() -> None:
    """Make the store at the first start.

    Once an archive was recorded, a store without its sentinel is an unmounted disk, and is never made anew: the runs say so.
    """
    known = db.session.scalar(sa.select(sa.func.count()).select_from(Archive))
    release()
    try:
        open_shelf(str(wired().archive_directory), create=not known)
    except StoreError as error:
        logger.warning("%s %s", error.message, error.hint)
