"""The members of the source family as the contract suite meets them: each with a real server behind it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.support.odoo_database import build_odoo_database
from tests.support.odoo_like import OdooLike
from tests.support.odoo_runs import PASSWORD, backup_plan, source_for
from tests.support.postgres import running_server
from webapp.core.plans import BackupPlan
from webapp.engine.sources.base import Source
from webapp.engine.sources.postgres import PostgresSource


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


@contextmanager
def postgres() -> Iterator[Member]:
    """Odoo over PostgreSQL, with a local filestore."""
    with running_server() as server, tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        build_odoo_database(server, "prod", root, rows=40, files=6)
        plan = server.plan(root)

        def backup(**changes: Any) -> BackupPlan:
            return replace(backup_plan(OdooLike(), **changes), source=plan)

        yield Member(
            source=PostgresSource(plan),
            unreachable=PostgresSource(replace(plan, port=1)),
            plan=backup,
            secret=plan.password.reveal(),
            state=lambda: (server.counts("prod"), sorted(path.name for path in root.rglob("*"))),
        )


MEMBERS: dict[str, Callable[[], AbstractContextManager[Member]]] = {"odoo_http": odoo_http, "postgres": postgres}
