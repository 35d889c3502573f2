"""All kinds of sources, by the type of their plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from webapp.core.plans import OdooHttpPlan, PostgresPlan, SourcePlan
from webapp.engine.sources.base import Source
from webapp.engine.sources.odoo_http import OdooHttpSource
from webapp.engine.sources.postgres import PostgresSource

SOURCES: Mapping[type, Callable[[Any], Source]] = {
    OdooHttpPlan: OdooHttpSource,
    PostgresPlan: PostgresSource,
}


def build_source(plan: SourcePlan) -> Source:
    """The source that a plan describes; building it does no I/O."""
    return SOURCES[type(plan)](plan)
