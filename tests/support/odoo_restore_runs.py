"""What a test needs to restore through the Odoo-like server: archives of its versions, a plan, short limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.odoo_like import OdooLike
from tests.support.odoo_runs import http_plan
from tests.support.odoo_zip import attachments, odoo_zip
from tests.support.restore_pieces import Shelved, shelve
from webapp.core.restore_plans import RestorePlan
from webapp.core.status import RestoreTarget
from webapp.engine.http import HttpLimits

LIMITS = HttpLimits(connect_seconds=5, first_byte_seconds=5, idle_seconds=5)
HURRIED: dict[str, Any] = {"limits": LIMITS, "patience_seconds": 0.2}


def shelve_prod(directory: Path) -> Shelved:
    """An archive of ``prod``, an Odoo 18.0 with some attachments."""
    return shelve(directory, odoo_zip("prod", files=attachments(30)))


def shelve_version(directory: Path, version: str) -> Shelved:
    """An archive of ``prod`` as this version of Odoo makes it."""
    return shelve(directory, odoo_zip("prod", version="19.1" if version == "dev" else version))


def plan_to_copy(shelved: Shelved, server: OdooLike, **changes: Any) -> RestorePlan:
    """A plan to restore the archive as the database ``copy`` of the server, with some of its values changed."""
    return shelved.plan(RestoreTarget.ODOO, **{"odoo": http_plan(server), "database": "copy", **changes})
