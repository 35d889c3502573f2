"""Uploads: a file made by Odoo, pg_dump or Holdfast becomes a restore point, after it was proved."""

from __future__ import annotations

from datetime import datetime
from typing import BinaryIO

from webapp.core.actors import Actor
from webapp.store.models import Archive


def receive(stream: BinaryIO, name: str, size: int | None, *, actor: Actor, now: datetime) -> Archive:
    """Take a file in: to the disk, checked, placed; stored when it proved good, in quarantine when not.

    ``size`` is what the sender says, None when it does not. Raises InvalidInput (too large, empty, no archive at all),
    StoreError.
    """
    raise NotImplementedError
