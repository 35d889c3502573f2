"""``holdfast instance``."""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from datetime import timedelta
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
    table,
    wait_until_final,
)
from webapp.commands.shapes import instance_shape, job_shape, task_shape
from webapp.core.errors import InvalidInput
from webapp.core.plans import Secret
from webapp.core.status import InstanceKind
from webapp.services import connection_tests, fleet, instances, jobs, tasks
from webapp.services.instance_rules import SECRET_FIELDS, InstanceDraft

DRAFT_FIELDS = {field.name: field for field in dataclasses.fields(InstanceDraft)}


def register(parsers: Parsers) -> None:
    """Add the noun and its verbs."""
    verbs = add_noun(parsers, "instance", "what is protected")
    add_verb(verbs, "list", list_instances, "show all instances, those with a problem first")
    show = add_verb(verbs, "show", show_instance, "show one instance and its jobs")
    create = add_verb(verbs, "create", create_instance, "add an instance")
    create.add_argument(
        "file", help="a JSON object of its fields (kind, name, pg_host, pg_password…); - for standard input"
    )
    test = add_verb(verbs, "test", test_instance, "ask a worker to test the connection")
    add_wait_option(test)
    pause = add_verb(verbs, "pause", pause_instance, "start no job of it for now")
    pause.add_argument("--reason", default="", help="why, for the others")
    pause.add_argument("--hours", type=int, help="resume by itself after so many hours")
    resume = add_verb(verbs, "resume", resume_instance, "let its jobs start again")
    for verb in (show, test, pause, resume):
        verb.add_argument("id", type=int)


def list_instances(context: Context, _arguments: Namespace) -> Answer:
    """All, worst first."""
    now = context.now()
    rows = fleet.list_fleet(now)
    shown = [
        (row.instance.id, row.instance.name, row.instance.kind, row.state, ago(row.newest_at, now), row.problem)
        for row in rows
    ]
    return Answer(
        [_with_state(row) for row in rows],
        table(["ID", "NAME", "KIND", "STATE", "NEWEST BACKUP", "PROBLEM"], shown, none="There are no instances yet."),
    )


def show_instance(context: Context, arguments: Namespace) -> Answer:
    """One, with its jobs."""
    now = context.now()
    instance = instances.get_instance(arguments.id)
    row = fleet.get_fleet_row(instance, now)
    of_it = jobs.list_jobs(instance.id)
    text = facts(
        [
            ("Instance", f"{instance.id}  {instance.name}"),
            ("Kind", instance.kind),
            ("Address", _address(instance)),
            ("Databases", _databases(instance)),
            ("State", row.state),
            ("Problem", row.problem),
            ("What to do", row.hint),
            ("Newest backup", ago(row.newest_at, now)),
            ("Paused", instance.pause_reason or ("yes" if instance.paused_at else "")),
            *((f"Job {job.id}", f"{job.name}: {job.cron} ({job.time_zone})") for job in of_it),
        ]
    )
    return Answer({**_with_state(row), "jobs": [job_shape(job) for job in of_it]}, text)


def create_instance(context: Context, arguments: Namespace) -> Answer:
    """Add one from a JSON object."""
    found = read_fields(arguments.file, DRAFT_FIELDS)
    draft = InstanceDraft(**{name: _draft_value(name, value) for name, value in found.items()})
    instance = instances.create_instance(draft, actor=context.actor, now=context.now())
    return Answer(instance_shape(instance), f"Added instance {instance.id}: {instance.name}.")


def test_instance(context: Context, arguments: Namespace) -> Answer:
    """Ask for a connection test; with --wait show its checks."""
    task = connection_tests.request_connection_test(arguments.id, actor=context.actor, now=context.now())
    number = task.id
    if not arguments.wait:
        return Answer(task_shape(task), f"Asked for task {number}. See: holdfast tasks show {number}")
    good = wait_until_final([number])
    done = tasks.get_task(number)
    checks = tasks.checks_of(done)
    rows = [(check["state"], check["title"], check["detail"] or check["value"], check["hint"]) for check in checks]
    text = table(["ANSWER", "CHECK", "FOUND", "WHAT TO DO"], rows, none=done.error_message or "No checks were made.")
    return Answer({**task_shape(done), "checks": checks}, text, 0 if good else 1)


def pause_instance(context: Context, arguments: Namespace) -> Answer:
    """Pause it."""
    now = context.now()
    until = None if arguments.hours is None else now + timedelta(hours=arguments.hours)
    instance = instances.pause_instance(
        arguments.id, reason=arguments.reason, until=until, actor=context.actor, now=now
    )
    return Answer(instance_shape(instance), f"{instance.name} is paused{f' until {moment(until)}' if until else ''}.")


def resume_instance(context: Context, arguments: Namespace) -> Answer:
    """Resume it."""
    instance = instances.resume_instance(arguments.id, actor=context.actor, now=context.now())
    return Answer(instance_shape(instance), f"Jobs of {instance.name} start again from now on.")


def _with_state(row: fleet.FleetRow) -> dict[str, Any]:
    return {
        **instance_shape(row.instance),
        "state": str(row.state),
        "problem": row.problem,
        "hint": row.hint,
        "newest_at": moment(row.newest_at),
        "verified_at": moment(row.verified_at),
        "next_at": moment(row.next_at),
        "stored_bytes": row.stored_bytes,
        "job_count": row.job_count,
    }


def _address(instance: Any) -> str:
    if instance.kind is InstanceKind.HOST:
        return f"{instance.ssh_user}@{instance.ssh_host}:{instance.ssh_port}"
    return instance.url or f"{instance.pg_host}:{instance.pg_port}"


def _databases(instance: Any) -> str:
    return "" if instance.kind is InstanceKind.HOST else ", ".join(instance.databases) or instance.database_selection


def _draft_value(name: str, value: Any) -> Any:
    """JSON → the type of the draft's field: secrets, flags, lists of names; everything else is text as typed."""
    if name in SECRET_FIELDS:
        return Secret(_text(name, value))
    if isinstance(DRAFT_FIELDS[name].default, bool):
        if not isinstance(value, bool):
            raise InvalidInput(f"{name} must be true or false.", field=name)
        return value
    if name in ("databases", "clear"):
        if not isinstance(value, list):
            raise InvalidInput(f"{name} must be a list of names.", field=name)
        names = [_text(name, each) for each in value]
        return frozenset(names) if name == "clear" else tuple(names)
    return _text(name, value)


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidInput(f"{name} must be text.", field=name)
    return str(value)
