"""The members of the source family as the contract suite meets them: each with a real server behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.odoo_like import OdooLike
from tests.support.odoo_runs import PASSWORD, backup_plan, source_for
from webapp.core.plans import BackupPlan
from webapp.engine.sources.base import Source


@dataclass(frozen=True)
class Member:
    """One source with a server that holds the database ``prod``.

    Attributes:
        source: Reaches the server.
        unreachable: Of the same kind, for an address where nobody listens.
        plan: Makes a backup plan for ``prod``, with changes.
        secret: What must never be shown.
        state: What must be the same before and after a probe.
    """

    source: Source
    unreachable: Source
    plan: Callable[..., BackupPlan]
    secret: str
    state: Callable[[], Any]


@contextmanager
def odoo_http() -> Iterator[Member]:
    """Odoo over HTTP."""
    with OdooLike() as odoo:
        yield Member(
            source=source_for(odoo),
            unreachable=source_for(odoo, url="http://127.0.0.1:1"),
            plan=lambda **changes: backup_plan(odoo, **changes),
            secret=PASSWORD,
            state=lambda: (odoo.master_password, sorted(odoo.databases)),
        )


MEMBERS: dict[str, Callable[[], AbstractContextManager[Member]]] = {"odoo_http": odoo_http}
