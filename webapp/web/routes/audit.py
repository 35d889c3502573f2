"""The audit log: filters in the address, pages, CSV, and a check of the chain. For admins."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from webapp.core.status import Role
from webapp.services import audit
from webapp.services.audit import AuditFilter, AuditRow
from webapp.web.access import permission
from webapp.web.tables import csv_response, page_number

bp = Blueprint("audit", __name__)

PAGE_SIZE = 50
MOST_EXPORTED = 50_000
COLUMNS = ("id", "at", "actor", "event", "subject_kind", "subject_id", "subject_name", "ip", "details")


@bp.get("/audit", endpoint="list")
@permission(Role.ADMIN)
def list_() -> ResponseReturnValue:
    """Events, newest first. ``?actor= &event= &subject= &from= &to= &page=``, dates in UTC and both included."""
    number = page_number()
    events, total = audit.list_events(_filter(), offset=(number - 1) * PAGE_SIZE, limit=PAGE_SIZE)
    actors, words = audit.list_words()
    return render_template(
        "audit/list.html",
        events=events,
        total=total,
        page=number,
        page_size=PAGE_SIZE,
        actors=actors,
        words=words,
        wanted=_wanted(),
        chain=audit.verify_chain() if request.args.get("check") else None,
    )


@bp.get("/audit.csv")
@permission(Role.ADMIN)
def export() -> ResponseReturnValue:
    """The same events as a file."""
    rows = (_cells(row) for row in audit.iterate_events(_filter(), most=MOST_EXPORTED))
    return csv_response("holdfast-audit.csv", COLUMNS, rows)


def _wanted() -> dict[str, str]:
    """The filter as it stands in the address, without what is empty."""
    names = ("actor", "event", "subject", "from", "to")
    return {name: text for name in names if (text := request.args.get(name, "").strip()[:100])}


def _filter() -> AuditFilter:
    wanted = _wanted()
    until = _day(wanted.get("to"))
    return AuditFilter(
        actor=wanted.get("actor", ""),
        event=wanted.get("event", ""),
        subject=wanted.get("subject", ""),
        since=_day(wanted.get("from")),
        until=until + timedelta(days=1) if until else None,
    )


def _day(text: str | None) -> datetime | None:
    """Midnight UTC of an ISO date; None for anything else."""
    try:
        found = date.fromisoformat(text or "")
    except ValueError:
        return None
    return datetime(found.year, found.month, found.day, tzinfo=UTC)


def _cells(row: AuditRow) -> tuple[object, ...]:
    details = json.dumps(row.details, sort_keys=True, ensure_ascii=False)
    return (row.id, row.at, row.actor, row.event, row.subject_kind, row.subject_id, row.subject_name, row.ip, details)
