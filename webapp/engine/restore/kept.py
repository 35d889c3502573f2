"""Databases kept from before a replacement: removed for good when a person or a timer says so."""

from __future__ import annotations

from webapp.core.plans import PostgresPlan
from webapp.core.restore_plans import TargetIdentity
from webapp.engine.report import Reporter


def remove_kept(
    server: PostgresPlan, kept_name: str, identity: TargetIdentity, filestore_path: str, reporter: Reporter
) -> None:
    """Drop a kept database and delete its filestore; what is gone already is fine. Raises HoldfastError.

    Nothing is touched unless the server and the database of that name are the very ones of ``identity``.
    """
    raise NotImplementedError
