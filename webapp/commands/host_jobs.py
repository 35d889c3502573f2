"""``holdfast backup`` and ``holdfast schedule``: a host's jobs by the host's name, as people who come from pobsync type them."""

from __future__ import annotations

import argparse
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from webapp.commands.base import Answer, Context, Parsers, add_verb, moment, table, wait_until_final
from webapp.commands.host_shapes import get_host_named
from webapp.commands.restores import find_instance
from webapp.commands.shapes import job_shape, task_shape
from webapp.core.errors import Conflict, NotFound
from webapp.core.status import JobKind, RetentionMode, TaskType
from webapp.core.text import plural
from webapp.services import jobs, retention, tasks
from webapp.services.job_drafts import JobDraft, draft_of, new_draft
from webapp.services.jobs import create_job, update_job
from webapp.store.db import release

# As long as a policy can reach: what a host's job keeps that is not to be pruned.
KEEP_EVERYTHING: dict[str, Any] = {"retention_mode": RetentionMode.OLDER_THAN_DAYS.value, "retention_value": "36500"}
KEEPS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")


def register(parsers: Parsers) -> None:
    """Add both verbs."""
    backup = add_verb(parsers, "backup", back_up_host, "take a snapshot of a host now, and wait for it")
    backup.add_argument("host", help="name, number or address")
    backup.add_argument("--job", type=int, metavar="ID", help="of this job only; otherwise of all that are switched on")
    backup.add_argument("--prune", action="store_true", help="also wait for retention, and say what went")
    backup.add_argument("--no-wait", action="store_true", help="ask a worker for it and return")
    schedule = add_verb(parsers, "schedule", schedule_host, "add a host's job, or change it")
    schedule.add_argument("host", help="name, number or address")
    schedule.add_argument("--cron", required=True, metavar="EXPRESSION", help='when, as "15 2 * * *"')
    schedule.add_argument("--time-zone", metavar="ZONE", help="of the expression; otherwise that of the settings")
    schedule.add_argument("--job", type=int, metavar="ID", help="which one, where the host has several")
    schedule.add_argument(
        "--name", metavar="NAME", help="its name; a name that the host's jobs have not adds another job"
    )
    schedule.add_argument(
        "--path", action="append", metavar="PATH", help="what it takes; otherwise all that the host names"
    )
    schedule.add_argument("--rides-with", metavar="INSTANCE", help="the Odoo whose odd ends it keeps; '' for none")
    _add_retention_options(schedule)


def _add_retention_options(parser: argparse.ArgumentParser) -> None:
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--prune", action="store_true", help="let retention drop old snapshots")
    either.add_argument("--no-prune", action="store_true", help="keep everything; so does a new job without --prune")
    for name in KEEPS:
        parser.add_argument(f"--keep-{name}", type=int, metavar="N", help=f"with --prune: how many {name}")


def back_up_host(context: Context, arguments: Namespace) -> Answer:
    """Ask for the runs of the host's jobs; wait for them and, with --prune, for the retention that follows."""
    numbers = [task.id for job_id in _jobs_to_run(context, arguments) for task in _asked(context, job_id)]
    good = True
    if not arguments.no_wait:
        release()
        print(f"Waiting for {', '.join(f'run {number}' for number in numbers)}.", file=sys.stderr, flush=True)
        good = wait_until_final(numbers)
    pruned = _await_retention(numbers) if arguments.prune and not arguments.no_wait else []
    found = [tasks.get_task(number) for number in [*numbers, *pruned]]
    rows = [(task.id, task.status, task.title, _said(task)) for task in found]
    text = table(["TASK", "STATUS", "TITLE", "SAID"], rows, none="There was nothing to run.")
    return Answer([_run_shape(task) for task in found], text, 0 if good else 1)


def schedule_host(context: Context, arguments: Namespace) -> Answer:
    """Add the job or change it; what is not given stays."""
    instance_id = get_host_named(arguments.host).instance_id
    job = _job_to_schedule(instance_id, arguments)
    if job is None:
        draft = _changed(new_draft(get_host_named(arguments.host).instance), arguments, new=True)
        made = create_job(instance_id, draft, actor=context.actor, now=context.now())
        return _scheduled(made.id, "Added")
    draft = _changed(draft_of(job), arguments, new=False)
    made = update_job(job.id, draft, version=job.version, actor=context.actor, now=context.now())
    return _scheduled(made.id, "Changed")


def backup_jobs_of(instance_id: int) -> Sequence[Any]:
    """The jobs of a host that take snapshots, by name."""
    return [job for job in jobs.list_jobs(instance_id) if job.kind is JobKind.BACKUP]


def _jobs_to_run(context: Context, arguments: Namespace) -> list[int]:
    """The job that is named, all that are switched on, or the only one; a host without any gets one that is switched off."""
    host = get_host_named(arguments.host)
    found = backup_jobs_of(host.instance_id)
    if arguments.job is not None:
        return [_get_own(found, arguments.job, host.instance.name).id]
    chosen = [job.id for job in found if job.enabled] or [job.id for job in found]
    if len(chosen) > 1 and not any(job.enabled for job in found):
        raise Conflict(
            f"All {len(chosen)} jobs of «{host.instance.name}» are switched off.", hint="Say which with --job ID."
        )
    if not chosen:
        kept = {} if arguments.prune else KEEP_EVERYTHING
        draft = replace(new_draft(host.instance), name="By hand", enabled=False, **kept)
        chosen = [create_job(host.instance_id, draft, actor=context.actor, now=context.now()).id]
    return chosen


def _asked(context: Context, job_id: int) -> list[Any]:
    return jobs.run_now(job_id, actor=context.actor, now=context.now())


def _await_retention(run_ids: Sequence[int]) -> list[int]:
    """Wait for the retention tasks that follow these runs; their ids."""
    meant = {getattr(tasks.get_task(number), "job_id", None) for number in run_ids} - {None}
    found, _ = tasks.list_tasks(tasks.TaskFilter(type=TaskType.RETENTION))
    numbers = [task.id for task in found if getattr(task, "job_id", None) in meant and task.id > min(run_ids)]
    release()
    wait_until_final(numbers)
    return sorted(numbers)


def _job_to_schedule(instance_id: int, arguments: Namespace) -> Any | None:
    """The job that is meant; None for a new one. Raises NotFound, Conflict when several could be."""
    found = backup_jobs_of(instance_id)
    if arguments.job is not None:
        return _get_own(found, arguments.job, arguments.host)
    if arguments.name is not None:
        return next((job for job in found if job.name.lower() == arguments.name.strip().lower()), None)
    if len(found) > 1:
        names = ", ".join(f"{job.id} «{job.name}»" for job in found)
        raise Conflict(f"{arguments.host} has several jobs: {names}.", hint="Say which with --job ID or --name NAME.")
    return found[0] if found else None


def _get_own(found: Sequence[Any], job_id: int, host: str) -> Any:
    job = next((job for job in found if job.id == job_id), None)
    if job is None:
        raise NotFound(f"«{host}» has no job {job_id}.", hint="holdfast host show NAME lists its jobs.")
    return job


def _changed(draft: JobDraft, arguments: Namespace, *, new: bool) -> JobDraft:
    given: dict[str, Any] = {"frequency": "cron", "cron": arguments.cron}
    if arguments.time_zone is not None:
        given["time_zone"] = arguments.time_zone
    if arguments.name is not None:
        given["name"] = arguments.name
    if arguments.path is not None:
        given["paths"] = "\n".join(arguments.path)
    if arguments.rides_with is not None:
        given["rides_with"] = str(find_instance(arguments.rides_with).id) if arguments.rides_with else ""
    return replace(draft, **given, **_keeping(draft, arguments, new=new))


def _keeping(draft: JobDraft, arguments: Namespace, *, new: bool) -> dict[str, Any]:
    """What the job keeps: rules that are given, everything, the usual, or what it kept."""
    rules = {f"keep_{name}": str(getattr(arguments, f"keep_{name}") or "") for name in KEEPS}
    if any(rules.values()):
        return {"retention_mode": RetentionMode.RULES.value, "keep_within_days": "", **rules}
    if arguments.no_prune or (new and not arguments.prune):
        return KEEP_EVERYTHING
    if arguments.prune and all(getattr(draft, name) == value for name, value in KEEP_EVERYTHING.items()):
        usual = {"keep_daily": "14", "keep_weekly": "8", "keep_monthly": "12"}
        return {"retention_mode": RetentionMode.RULES.value, **usual}
    return {}


def _scheduled(job_id: int, did: str) -> Answer:
    job = jobs.get_job(job_id)
    keeps = retention.policy_of(job).in_words()
    text = f"{did} job {job.id}: {job.name}, {job.cron} ({job.time_zone}), next {moment(job.next_slot_at) or 'never'}."
    return Answer(job_shape(job), f"{text}\nKept: {keeps}.")


def _said(task: Any) -> str:
    plan = getattr(task, "plan", None)
    number = len(plan.get("dropped", [])) if plan else 0
    gone = f"{number} {plural(number, 'snapshot', 'snapshots')} went into the trash." if plan else ""
    return task.error_message or gone or task.progress_message


def _run_shape(task: Any) -> dict[str, Any]:
    """A run, or a retention task with what it kept and dropped."""
    plan = getattr(task, "plan", None)
    return task_shape(task) if plan is None else {**task_shape(task), "plan": dict(plan)}
