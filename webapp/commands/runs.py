"""``holdfast run`` and ``holdfast tasks``."""

from __future__ import annotations

import time
from argparse import Namespace
from typing import Any

from webapp.commands.base import (
    LOOK_EVERY_SECONDS,
    Answer,
    Context,
    Parsers,
    add_noun,
    add_verb,
    add_wait_option,
    ago,
    facts,
    moment,
    number_from_one,
    size,
    table,
    wait_until_final,
)
from webapp.commands.shapes import archive_shape, run_shape, task_shape
from webapp.core.status import TaskStatus, TaskType
from webapp.core.text import format_duration
from webapp.services import archives, run_pages, runs, tasks
from webapp.store.db import release

STATUSES = [str(status) for status in TaskStatus]


def register(parsers: Parsers) -> None:
    """Add both nouns and their verbs."""
    verbs = add_noun(parsers, "run", "the backups, one by one")
    listed = add_verb(verbs, "list", list_runs, "show runs, the newest first")
    listed.add_argument("--instance", type=int)
    listed.add_argument("--job", type=int)
    listed.add_argument("--status", choices=STATUSES)
    listed.add_argument("--limit", type=number_from_one, default=50)
    show = add_verb(verbs, "show", show_run, "show one run: steps, archive, what verification found")
    cancel = add_verb(verbs, "cancel", cancel_run, "cancel it, at any phase; nothing stays behind")
    retry = add_verb(verbs, "retry", retry_run, "run the same job and database again")
    add_wait_option(retry)
    log = add_verb(verbs, "log", show_log, "print its log")
    log.add_argument("--follow", action="store_true", help="go on printing until it has ended")
    for verb in (show, cancel, retry, log):
        verb.add_argument("id", type=int)
    verbs = add_noun(parsers, "tasks", "all background work")
    listed = add_verb(verbs, "list", list_tasks, "show tasks, the newest first")
    listed.add_argument("--type", choices=[str(kind) for kind in TaskType])
    listed.add_argument("--status", choices=STATUSES)
    listed.add_argument("--limit", type=number_from_one, default=50)
    show = add_verb(verbs, "show", show_task, "show one task")
    show.add_argument("id", type=int)


def list_runs(context: Context, arguments: Namespace) -> Answer:
    """Runs, the newest first."""
    status = TaskStatus(arguments.status) if arguments.status else None
    wanted = run_pages.RunFilter(arguments.instance, arguments.job, status, limit=arguments.limit)
    found, total = run_pages.list_runs(wanted)
    now = context.now()
    rows = [
        (
            run.id,
            run_pages.outcome_of(run).word,
            run.instance_name,
            run.database_name,
            run.job_name,
            ago(run.started_at or run.created_at, now),
            size(run.size_bytes),
        )
        for run in found
    ]
    heads = ["RUN", "OUTCOME", "INSTANCE", "DATABASE", "JOB", "STARTED", "SIZE"]
    data = {"total": total, "runs": [run_shape(run) for run in found]}
    return Answer(data, table(heads, rows, none="There are no runs."))


def show_run(context: Context, arguments: Namespace) -> Answer:
    """One run."""
    run = runs.get_run(arguments.id)
    now = context.now()
    archive = archives.archive_of_run(run.id)
    steps: list[dict[str, Any]] = [
        {
            "key": step.row.key,
            "title": step.row.title,
            "status": str(step.row.status),
            "seconds": round(step.seconds, 1),
        }
        for step in run_pages.step_views(run, now)
    ]
    text = facts(
        [
            *_task_facts(run),
            ("Database", run.database_name),
            ("Job", run.job_name),
            *((f"  {step['title']}", f"{step['status']}, {format_duration(step['seconds'])}") for step in steps),
            ("Verification", run.verification_status),
            ("Archive", f"{archive.id}  {size(archive.size_bytes)}  {archive.relative_path}" if archive else ""),
        ]
    )
    data = {**run_shape(run), "steps": steps, "archive": archive_shape(archive) if archive else None}
    return Answer(data, text)


def cancel_run(context: Context, arguments: Namespace) -> Answer:
    """Cancel it."""
    run = runs.get_run(arguments.id)
    task = tasks.cancel(run.id, actor=context.actor, now=context.now())
    said = "is cancelled" if TaskStatus(task.status).is_final else "is told to stop"
    return Answer(task_shape(task), f"Run {task.id} {said}.")


def retry_run(context: Context, arguments: Namespace) -> Answer:
    """Run it again."""
    number = runs.request_retry(arguments.id, actor=context.actor, now=context.now()).id
    good = wait_until_final([number]) if arguments.wait else True
    run = runs.get_run(number)
    return Answer(run_shape(run), f"Run {run.id}: {run_pages.outcome_of(run).word}.", 0 if good else 1)


def show_log(_context: Context, arguments: Namespace) -> Answer:
    """Its log; with --follow as it grows."""
    lines: list[dict[str, Any]] = []
    while True:
        final = TaskStatus(tasks.get_task(arguments.id).status).is_final
        new = [
            {"n": line.n, "at": moment(line.at), "level": line.level, "message": line.message}
            for line in tasks.list_log(arguments.id, after=lines[-1]["n"] if lines else 0)
        ]
        release()
        lines += new
        if arguments.follow and not arguments.json:
            for line in new:
                print(_log_line(line), flush=True)
        if not new and (final or not arguments.follow):
            break
        if not new:
            time.sleep(LOOK_EVERY_SECONDS)
    followed = arguments.follow and not arguments.json
    return Answer(lines, "" if followed else "\n".join(_log_line(line) for line in lines))


def list_tasks(context: Context, arguments: Namespace) -> Answer:
    """Tasks, the newest first."""
    wanted = tasks.TaskFilter(
        type=TaskType(arguments.type) if arguments.type else None,
        status=TaskStatus(arguments.status) if arguments.status else None,
        limit=arguments.limit,
    )
    found, total = tasks.list_tasks(wanted)
    now = context.now()
    rows = [
        (task.id, task.type, run_pages.outcome_of(task).word, task.title, ago(task.created_at, now), task.triggered_by)
        for task in found
    ]
    heads = ["TASK", "TYPE", "OUTCOME", "TITLE", "ASKED FOR", "BY"]
    data = {"total": total, "tasks": [task_shape(task) for task in found]}
    return Answer(data, table(heads, rows, none="There are no tasks."))


def show_task(_context: Context, arguments: Namespace) -> Answer:
    """One task."""
    task = tasks.get_task(arguments.id)
    checks = tasks.checks_of(task)
    pairs = [*_task_facts(task), *((f"  {check['title']}", f"{check['state']} {check['detail']}") for check in checks)]
    return Answer({**task_shape(task), "checks": checks}, facts(pairs))


def _task_facts(task: Any) -> list[tuple[str, object]]:
    return [
        ("Task", f"{task.id}  {task.title}"),
        ("Outcome", run_pages.outcome_of(task).word),
        ("Progress", task.progress_message),
        ("Error", f"{task.error_code}: {task.error_message}" if task.error_code else ""),
        ("What to do", task.hint),
        ("Asked for", f"{moment(task.created_at)} by {task.triggered_by}"),
        ("Started", moment(task.started_at)),
        ("Ended", moment(task.completed_at)),
        ("Instance", task.instance_name),
    ]


def _log_line(line: dict[str, Any]) -> str:
    return f"{line['at']}  {line['level']:<7}  {line['message']}"
