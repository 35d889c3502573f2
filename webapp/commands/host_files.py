"""``holdfast host import-csv``, ``export`` and ``import``: hosts from files and into files. No secret is in either."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from webapp.commands.base import Answer, Context, Parsers, add_verb, read_text, table
from webapp.core.errors import InvalidInput
from webapp.core.text import plural
from webapp.services import host_files
from webapp.services.host_files import HostImport, HostRow

EXPORT_NAME = "holdfast-hosts.yaml"


def add_verbs(verbs: Parsers) -> None:
    """Add the three verbs to the noun ``host``."""
    csv = add_verb(verbs, "import-csv", import_csv, "add the hosts of a table: all of them, or none")
    csv.add_argument("file", nargs="?", help="a CSV file; - for standard input")
    csv.add_argument("--template", action="store_true", help="print a table to fill in")
    export = add_verb(verbs, "export", export_hosts, "write hosts, their jobs and the shared values as YAML")
    export.add_argument("file", nargs="?", default="-", help="a new file; - for standard output")
    export.add_argument("--prefix", metavar="DIR", help=f"write {EXPORT_NAME} into this directory")
    taken = add_verb(verbs, "import", import_hosts, "add the hosts of a YAML file, or of pobsync's configuration")
    taken.add_argument("file", nargs="?", help="what export has written; - for standard input")
    taken.add_argument("--prefix", metavar="DIR", help="where pobsync's config directory lies, as /opt/pobsync")
    for verb in (csv, taken):
        verb.add_argument("--yes", action="store_true", help="really do it; without it only what would be is shown")


def import_csv(context: Context, arguments: Namespace) -> Answer:
    """Preview a table, or add what it holds."""
    if arguments.template:
        text = host_files.csv_template()
        return Answer({"csv": text}, text.rstrip("\n"))
    if arguments.file is None:
        raise InvalidInput("Name the CSV file.", hint="holdfast host import-csv --template prints one to fill in.")
    return _take_in(context, arguments, host_files.read_csv(read_text(arguments.file), context.now()))


def import_hosts(context: Context, arguments: Namespace) -> Answer:
    """Preview a configuration, or add what it holds."""
    if (arguments.file is None) == (arguments.prefix is None):
        raise InvalidInput("Name either a YAML file or --prefix DIR.")
    if arguments.prefix is not None:
        return _take_in(context, arguments, host_files.read_prefix(Path(arguments.prefix), context.now()))
    return _take_in(context, arguments, host_files.read_yaml(read_text(arguments.file), context.now()))


def export_hosts(_context: Context, arguments: Namespace) -> Answer:
    """Write the configuration. Raises InvalidInput when the file is there already or cannot be written."""
    text = host_files.export_yaml()
    if arguments.prefix is None and arguments.file == "-":
        return Answer({"yaml": text}, text.rstrip("\n"))
    target = Path(arguments.file) if arguments.prefix is None else Path(arguments.prefix, EXPORT_NAME)
    try:
        with target.open("x", encoding="utf-8") as writer:
            writer.write(text)
    except OSError as error:
        raise InvalidInput(f"{target} cannot be written: {error.strerror}.") from None
    return Answer({"file": str(target)}, f"Wrote {target}.")


def _take_in(context: Context, arguments: Namespace, found: HostImport) -> Answer:
    data: dict[str, Any] = {
        "hosts": [_row_shape(row) for row in found.rows],
        "changes_settings": found.settings is not None,
        "setting_changes": [change.in_words for change in found.setting_changes],
        "problems": [problem.message for problem in found.problems],
        "notes": list(found.notes),
        "added": [],
    }
    bad = bool(found.problems) or any(row.problems for row in found.rows)
    if not found.is_good or not arguments.yes:
        said = _nothing_yet(found, bad=bad)
        return Answer(data, f"{_preview(found)}\n\n{said}", 2 if bad else 0)
    added = host_files.apply_import(found, actor=context.actor, now=context.now())
    data["added"] = [instance.id for instance in added]
    return Answer(data, f"{_preview(found)}\n\n{_done(len(added))}")


def _done(added: int) -> str:
    if not added:
        return "What all hosts share is changed."
    each = plural(added, "host. It needs its line", "hosts. Each needs its line")
    return f"Added {added} {each} now: holdfast host key NAME"


def _nothing_yet(found: HostImport, *, bad: bool) -> str:
    if bad:
        return "Nothing was added: all of it must be right."
    return "Nothing was added; --yes does it." if found.is_good else "There is nothing to add."


def _preview(found: HostImport) -> str:
    lines = [
        (row.where, row.name, _fate(row), f"{len(row.jobs)} {plural(len(row.jobs), 'job', 'jobs')}")
        for row in found.rows
    ]
    notes = [f"{row.where}: {note}" for row in found.rows for note in row.notes]
    notes += [f"For all hosts, {change.in_words}" for change in found.setting_changes]
    problems = [f"{problem.message} {problem.hint}".strip() for problem in found.problems]
    shown = table(["WHERE", "HOST", "WHAT", "JOBS"], lines, none="There are no hosts in it.")
    return "\n".join([shown, *problems, *found.notes, *notes])


def _fate(row: HostRow) -> str:
    if row.problems:
        return "; ".join(f"{problem.field or 'row'}: {problem.message}" for problem in row.problems)
    return "is there already" if row.exists else "is added"


def _row_shape(row: HostRow) -> dict[str, Any]:
    return {
        "where": row.where,
        "name": row.name,
        "exists": row.exists,
        "jobs": [job.name for job in row.jobs],
        "problems": [{"field": one.field, "message": one.message, "hint": one.hint} for one in row.problems],
        "notes": list(row.notes),
    }
