"""*Test connection* for PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from webapp.core.plans import PostgresPlan
from webapp.core.reports import Check
from webapp.engine.pgtools import PgTools
from webapp.engine.report import Reporter


def probe(
    plan: PostgresPlan, database: str | None, reporter: Reporter, *, tools: Sequence[PgTools] | None = None
) -> list[Check]:
    """Every question in order."""
    return []
