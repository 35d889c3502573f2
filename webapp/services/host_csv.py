"""Many hosts from a CSV: one a line, with a heading line."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from webapp.core.cron import BuilderMode
from webapp.core.errors import InvalidInput
from webapp.core.status import InstanceKind
from webapp.services.host_imports import HostImport, HostRow, check_rows, check_size
from webapp.services.instance_rules import InstanceDraft
from webapp.services.job_drafts import HOST_DRAFT, JobDraft
from webapp.services.settings import get_settings

KEEP_COLUMNS = ("keep_last", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly")
CSV_COLUMNS = (
    *("name", "address", "port", "user", "paths", "includes", "excludes", "customer", "tags", "notes", "host_key"),
    *("cron", "time_zone", *KEEP_COLUMNS),
)
NEEDED_COLUMNS = ("name", "address", "user")
LIST_SEPARATOR = "|"
_EXAMPLE = {
    "name": "web-01",
    "address": "192.0.2.10",
    "port": "22",
    "user": "root",
    "paths": "/etc|/srv/www",
    "excludes": "*.tmp|/srv/www/cache/",
    "customer": "Acme",
    "tags": "web production",
    "cron": "15 2 * * *",
    "time_zone": "UTC",
    "keep_daily": "14",
    "keep_weekly": "8",
}


def csv_template() -> str:
    """A CSV with the heading line and one example, to fill in."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, restval="")
    writer.writeheader()
    writer.writerow(_EXAMPLE)
    return text.getvalue()


def read_csv(text: str, now: datetime) -> HostImport:
    """The preview of a CSV: nothing is written. Raises InvalidInput when it is no CSV with a heading line that fits."""
    check_size(text)
    clean = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    reader = csv.DictReader(io.StringIO(clean, newline=""), delimiter=_delimiter(clean), strict=True)
    try:
        _check_heading(reader.fieldnames or ())
        zone = get_settings().time_zone
        rows = [_row(cells, reader.line_num, zone) for cells in reader]
    except csv.Error:
        raise InvalidInput(
            f"The file is no CSV from line {reader.line_num} on.",
            field="file",
            hint="Look for a quotation mark too many.",
        ) from None
    return _all_new(HostImport(check_rows(rows, now)))


def _delimiter(text: str) -> str:
    """Spreadsheets of half of Europe write semicolons."""
    heading = text.split("\n", 1)[0]
    return max((",", ";", "\t"), key=heading.count)


def _check_heading(names: object) -> None:
    found = [str(name).strip().lower() for name in names] if isinstance(names, list | tuple) else []
    missing = [name for name in NEEDED_COLUMNS if name not in found]
    unknown = [name for name in found if name not in CSV_COLUMNS]
    if missing:
        raise InvalidInput(
            f"The heading line lacks {', '.join(missing)}.",
            field="file",
            hint=f"The columns are: {', '.join(CSV_COLUMNS)}.",
        )
    if unknown or len(set(found)) < len(found):
        what = f"«{unknown[0][:40]}» is no column" if unknown else "A column is there twice"
        raise InvalidInput(f"{what}.", field="file", hint=f"The columns are: {', '.join(CSV_COLUMNS)}.")


def _row(raw: Mapping[str | None, object], line: int, zone: str) -> HostRow:
    cells = {str(key).strip().lower(): str(value or "").strip() for key, value in raw.items() if key is not None}
    too_many = (InvalidInput("The line has more cells than the heading."),) if None in raw else ()
    draft = InstanceDraft(
        kind=InstanceKind.HOST.value,
        name=cells["name"],
        ssh_host=cells["address"],
        ssh_port=cells.get("port") or "22",
        ssh_user=cells["user"],
        paths=_lines(cells, "paths") or "/",
        includes=_lines(cells, "includes"),
        excludes=_lines(cells, "excludes"),
        customer=cells.get("customer", ""),
        tags=cells.get("tags", ""),
        notes=cells.get("notes", ""),
    )
    return HostRow(
        where=f"line {line}",
        name=cells["name"],
        draft=draft,
        host_key=cells.get("host_key", ""),
        jobs=_jobs(cells, zone),
        problems=too_many,
        notes=_without_job(cells),
    )


def _lines(cells: Mapping[str, str], name: str) -> str:
    return "\n".join(part.strip() for part in cells.get(name, "").split(LIST_SEPARATOR))


def _jobs(cells: Mapping[str, str], zone: str) -> tuple[JobDraft, ...]:
    """One job where a schedule is given; its retention as a new host's job has it, unless the line says how much to keep."""
    if not cells.get("cron"):
        return ()
    kept: dict[str, Any] = {name: cells.get(name, "") for name in KEEP_COLUMNS}
    job = replace(
        HOST_DRAFT,
        frequency=BuilderMode.CRON.value,
        cron=cells["cron"],
        time_zone=cells.get("time_zone") or zone,
    )
    return (replace(job, **kept) if any(kept.values()) else job,)


def _without_job(cells: Mapping[str, str]) -> tuple[str, ...]:
    """What a line says of a job that it does not ask for."""
    idle = [] if cells.get("cron") else [name for name in ("time_zone", *KEEP_COLUMNS) if cells.get(name)]
    return (f"Left out: {', '.join(idle)}. Without cron the host gets no job.",) if idle else ()


def _all_new(found: HostImport) -> HostImport:
    """A list of new hosts names none that is here: a name that is taken is a slip of the pen."""
    rows = tuple(
        replace(row, exists=False, problems=(*row.problems, _taken(row.name))) if row.exists else row
        for row in found.rows
    )
    nothing = () if rows else (InvalidInput("The file names no host.", field="file"),)
    return replace(found, rows=rows, problems=nothing)


def _taken(name: str) -> InvalidInput:
    return InvalidInput(f"A host called «{name}» is here already.", field="name", hint="Take its line out of the file.")
