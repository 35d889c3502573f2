"""``holdfast drill``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from webapp.commands.base import (
    Answer,
    Context,
    Parsers,
    add_noun,
    add_verb,
    add_wait_option,
    ago,
    facts,
    number_from_one,
    table,
    wait_until_final,
)
from webapp.commands.shapes import task_shape
from webapp.core.text import format_duration
from webapp.services import drills, run_pages


def register(parsers: Parsers) -> None:
    """Add the noun and its verbs."""
    verbs = add_noun(parsers, "drill", "restores for practice, into a scratch place that is thrown away")
    start = add_verb(verbs, "start", start_drill, "restore an archive for practice and ask questions of it")
    start.add_argument("archive", type=int, help="the archive's number, as `holdfast archive list` shows it")
    add_wait_option(start)
    listed = add_verb(verbs, "list", list_drills, "show drills, the newest first")
    listed.add_argument("--archive", type=int)
    listed.add_argument("--instance", type=int)
    listed.add_argument("--limit", type=number_from_one, default=50)
    show = add_verb(verbs, "show", show_drill, "show one drill: its answers, and how long the restore took")
    show.add_argument("id", type=int)


def start_drill(context: Context, arguments: Namespace) -> Answer:
    """Ask for a drill; with --wait show what it found."""
    number = drills.request_drill(arguments.archive, actor=context.actor, now=context.now()).id
    if not arguments.wait:
        said = f"Asked for drill {number}. See: holdfast drill show {number}"
        return Answer(drill_shape(drills.get_drill(number)), said)
    good = wait_until_final([number])
    return _shown(drills.get_drill(number), 0 if good else 1)


def list_drills(context: Context, arguments: Namespace) -> Answer:
    """Drills, the newest first."""
    wanted = drills.DrillFilter(arguments.archive, arguments.instance, limit=arguments.limit)
    found, total = drills.list_drills(wanted)
    now = context.now()
    rows = [
        (
            drill.id,
            drill.archive_id,
            drill.archive.instance_name,
            drill.archive.database_name,
            run_pages.outcome_of(drill).word,
            ago(drill.started_at or drill.created_at, now),
            format_duration(drill.seconds) if drill.seconds is not None else "-",
        )
        for drill in found
    ]
    heads = ["DRILL", "ARCHIVE", "INSTANCE", "DATABASE", "OUTCOME", "STARTED", "TOOK"]
    data = {"total": total, "drills": [drill_shape(drill) for drill in found]}
    return Answer(data, table(heads, rows, none="There are no restore drills."))


def show_drill(_context: Context, arguments: Namespace) -> Answer:
    """One drill."""
    return _shown(drills.get_drill(arguments.id))


def _shown(drill: Any, code: int = 0) -> Answer:
    rows = [(check["state"], check["title"], check["detail"] or check["value"]) for check in drill.checks]
    head = facts(
        [
            ("Drill", f"{drill.id}  {drill.title}"),
            ("Outcome", run_pages.outcome_of(drill).word),
            ("Took", format_duration(drill.seconds) if drill.seconds is not None else ""),
            ("Reached", drill.facts.get("level", "")),
            ("PostgreSQL", drill.facts.get("server", "")),
            ("Error", drill.error_message),
            ("Hint", drill.hint),
        ]
    )
    answers = table(["ANSWER", "QUESTION", "FOUND"], rows, none="No question was asked.")
    return Answer(drill_shape(drill), f"{head}\n\n{answers}", code)


def drill_shape(drill: Any) -> dict[str, Any]:
    """A drill: a task, and what makes it one."""
    return {
        **task_shape(drill),
        "archive_id": drill.archive_id,
        "seconds": drill.seconds,
        "checks": list(drill.checks),
        "facts": dict(drill.facts),
    }
