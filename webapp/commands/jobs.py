"""``holdfast job``."""

from __future__ import annotations

import dataclasses
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
    moment,
    read_fields,
    size,
    table,
    wait_until_final,
)
from webapp.commands.shapes import job_shape, task_shape
from webapp.core.errors import InvalidInput
from webapp.services import jobs, retention, tasks
from webapp.services.cron_preview import preview_cron
from webapp.services.job_rules import JobDraft

DRAFT_FIELDS = {field.name: field for field in dataclasses.fields(JobDraft)}


def register(parsers: Parsers) -> None:
    """Add the noun and its verbs."""
    verbs = add_noun(parsers, "job", "the standing orders")
    listed = add_verb(verbs, "list", list_jobs, "show all jobs")
    listed.add_argument("--instance", type=int, help="only those of this instance")
    show = add_verb(verbs, "show", show_job, "show one job")
    create = add_verb(verbs, "create", create_job, "add a job to an instance")
    create.add_argument("instance", type=int)
    create.add_argument("file", help="a JSON object of its fields (name, cron, time_zone…); - for standard input")
    run = add_verb(verbs, "run", run_job, "run it now")
    add_wait_option(run)
    pause = add_verb(verbs, "pause", pause_job, "switch it off; archives and history stay")
    resume = add_verb(verbs, "resume", resume_job, "switch it on; it counts from now")
    preview = add_verb(verbs, "preview", preview_job, "show its next runs, and what retention would keep and drop now")
    preview.add_argument("--count", type=int, default=5, choices=range(1, 51), metavar="1-50", help="how many runs")
    for verb in (show, run, pause, resume, preview):
        verb.add_argument("id", type=int)


def list_jobs(context: Context, arguments: Namespace) -> Answer:
    """All jobs."""
    now = context.now()
    found = jobs.list_jobs(arguments.instance)
    rows = [
        (
            job.id,
            job.instance.name,
            job.name,
            job.cron,
            job.time_zone,
            ago(job.next_slot_at, now) if job.enabled and job.next_slot_at else "off",
        )
        for job in found
    ]
    heads = ["ID", "INSTANCE", "JOB", "CRON", "TIME ZONE", "NEXT"]
    return Answer([job_shape(job) for job in found], table(heads, rows, none="There are no jobs yet."))


def show_job(context: Context, arguments: Namespace) -> Answer:
    """One job."""
    job = jobs.get_job(arguments.id)
    text = facts(
        [
            ("Job", f"{job.id}  {job.name}"),
            ("Instance", f"{job.instance_id}  {job.instance.name}"),
            ("Enabled", "yes" if job.enabled else "no"),
            ("Schedule", f"{job.cron} ({job.time_zone})"),
            ("Next", moment(job.next_slot_at)),
            ("Content", f"{job.content}, {job.format}"),
            ("Retention", retention.policy_of(job).in_words()),
            ("Frozen", job.retention_frozen_reason),
            ("Verification", job.verification_level),
            ("Restore points", jobs.count_points(job.id)),
        ]
    )
    return Answer(job_shape(job), text)


def create_job(context: Context, arguments: Namespace) -> Answer:
    """Add one from a JSON object."""
    found = read_fields(arguments.file, DRAFT_FIELDS)
    draft = JobDraft(**{name: _draft_value(name, value) for name, value in found.items()})
    job = jobs.get_job(jobs.create_job(arguments.instance, draft, actor=context.actor, now=context.now()).id)
    return Answer(job_shape(job), f"Added job {job.id}: {job.name}.")


def run_job(context: Context, arguments: Namespace) -> Answer:
    """Run it now."""
    asked = jobs.run_now(arguments.id, actor=context.actor, now=context.now())
    numbers = [task.id for task in asked]
    good = wait_until_final(numbers) if arguments.wait else True
    found = [tasks.get_task(number) for number in numbers]
    rows = [(task.id, task.status, task.title, task.error_message) for task in found]
    text = table(["TASK", "STATUS", "TITLE", "ERROR"], rows, none="There was nothing to run.")
    return Answer([task_shape(task) for task in found], text, 0 if good else 1)


def pause_job(context: Context, arguments: Namespace) -> Answer:
    """Switch it off."""
    jobs.set_enabled(arguments.id, False, actor=context.actor, now=context.now())
    job = jobs.get_job(arguments.id)
    return Answer(job_shape(job), f"{job.name} is switched off.")


def resume_job(context: Context, arguments: Namespace) -> Answer:
    """Switch it on."""
    jobs.set_enabled(arguments.id, True, actor=context.actor, now=context.now())
    job = jobs.get_job(arguments.id)
    return Answer(job_shape(job), f"{job.name} is switched on; next at {moment(job.next_slot_at)}.")


def preview_job(context: Context, arguments: Namespace) -> Answer:
    """When it runs, what it keeps."""
    now = context.now()
    job = jobs.get_job(arguments.id)
    cron = preview_cron(job.cron, job.time_zone, count=arguments.count, now=now)
    plan = retention.plan_for_job(job, now)
    runs = [{"at": moment(run.at), "local": run.local.isoformat(), "note": run.note} for run in cron.runs]
    keep = [{"archive_id": kept.point.archive_id, "reasons": list(kept.reasons)} for kept in plan.keep]
    drop = [{"archive_id": gone.point.archive_id, "reason": gone.reason} for gone in plan.drop]
    data = {"sentence": cron.sentence, "runs": runs, "retention": {"frozen": plan.frozen, "keep": keep, "drop": drop}}
    kept_rows = [
        ("keep", k.point.archive_id, k.point.database, size(k.point.size_bytes), "; ".join(k.reasons))
        for k in plan.keep
    ]
    gone_rows = [("drop", d.point.archive_id, d.point.database, size(d.point.size_bytes), d.reason) for d in plan.drop]
    text = "\n".join(
        [
            f"{cron.sentence} ({job.time_zone})",
            *(f"  {run.local:%a %d %b %Y %H:%M}  {run.note}".rstrip() for run in cron.runs),
            "",
            *([f"Nothing is dropped now: {plan.frozen}"] if plan.frozen else []),
            table(
                ["", "ARCHIVE", "DATABASE", "SIZE", "WHY"], [*kept_rows, *gone_rows], none="There are no archives yet."
            ),
        ]
    )
    return Answer(data, text)


def _draft_value(name: str, value: Any) -> Any:
    default = DRAFT_FIELDS[name].default
    if isinstance(default, bool) and isinstance(value, bool):
        return value
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(str(each) for each in value)
    if isinstance(default, str) and isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)
    raise InvalidInput(f"{name} has a value of the wrong kind.", field=name)
