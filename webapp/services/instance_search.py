"""Finding instances: words and ``key:value`` terms over the fleet, with counts for the chips."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from webapp.services.fleet import FleetRow, FleetState, list_fleet

LONGEST_QUERY = 200
_KEYS = ("tag", "customer", "kind", "is", "v")
_KIND_WORDS = {"http": "odoo_http"}
_STATE_WORDS = {"failing": "failed", "ok": "protected", "never": "new"}


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a query; ``key`` "" is a word looked for in name, customer, address, databases and tags."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class FoundInstances:
    """One page of rows, how many match, and how many there are per state with the words alone."""

    rows: Sequence[FleetRow]
    total: int
    counts: dict[FleetState, int]
    everything: int


def read_query(text: str) -> tuple[Term, ...]:
    """The terms of a query; quotes keep spaces together: ``customer:"Acme Industries" tag:prod``."""
    try:
        words = shlex.split(text[:LONGEST_QUERY])
    except ValueError:
        words = text[:LONGEST_QUERY].split()
    terms = []
    for word in words:
        key, colon, value = word.partition(":")
        known = colon and key.lower() in _KEYS
        terms.append(Term(key.lower(), value.lower()) if known else Term("", word.lower()))
    return tuple(term for term in terms if term.value)


def find_instances(query: str, *, state: FleetState | None, offset: int, limit: int, now: datetime) -> FoundInstances:
    """Instances that match every term, worst first; ``state`` is a chip's choice on top of them."""
    terms = read_query(query)
    matching = [row for row in list_fleet(now) if all(_matches(row, term) for term in terms)]
    counts = Counter(row.state for row in matching)
    chosen = [row for row in matching if state is None or row.state is state]
    return FoundInstances(chosen[offset : offset + limit], len(chosen), dict(counts), len(matching))


def _matches(row: FleetRow, term: Term) -> bool:
    instance = row.instance
    if term.key == "tag":
        return term.value in instance.tags
    if term.key == "customer":
        return term.value in instance.customer.lower()
    if term.key == "kind":
        return instance.kind.value.startswith(_KIND_WORDS.get(term.value, term.value))
    if term.key == "v":
        return instance.odoo_version.startswith(term.value) or instance.postgresql_version.startswith(term.value)
    if term.key == "is":
        return row.state.value == _STATE_WORDS.get(term.value, term.value)
    text = " ".join(
        [instance.name, instance.customer, instance.url, instance.pg_host, *instance.databases, *instance.tags]
    )
    return term.value in text.lower()
