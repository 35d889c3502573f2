"""``holdfast restore``, ``holdfast kept``, ``holdfast upload`` and ``holdfast refresh``."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any, BinaryIO

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
    number_from_one,
    read_fields,
    size,
    table,
    wait_until_final,
)
from webapp.commands.shapes import archive_shape, check_shape, job_shape, kept_shape, restore_shape, task_shape
from webapp.core.errors import InvalidInput
from webapp.core.restore_plans import RestoreOptions
from webapp.core.status import InstanceKind, RestoreTarget, TaskStatus
from webapp.services import instances, kept_databases, refresh_jobs, restores, run_pages, tasks, uploads
from webapp.services.archives import get_archive

STATUSES = [str(status) for status in TaskStatus]
REFRESH_FIELDS = {field.name: field for field in dataclasses.fields(refresh_jobs.RefreshDraft)}


def register(parsers: Parsers) -> None:
    """Add the nouns and their verbs."""
    noun = parsers.add_parser(
        "restore",
        help="put a restore point back",
        description="Put a restore point back: check the target, then restore, in one go; or step by step with the verbs.",
        allow_abbrev=False,
    )
    noun.set_defaults(run=restore_now, database="migrated")
    noun.add_argument("--json", action="store_true", help="answer as JSON")
    _add_wish_options(noun, needed=False)
    noun.add_argument(
        "--yes-replace", metavar="NAME", default="", help="the name of the database that is replaced, again"
    )
    _add_restore_verbs(noun.add_subparsers(dest="verb", required=False, metavar="VERB"))
    _add_other_nouns(parsers)


def _add_restore_verbs(verbs: Parsers) -> None:
    check = add_verb(verbs, "check", check_target, "look at a target; nothing is changed there")
    _add_wish_options(check, needed=True)
    start = add_verb(verbs, "start", start_restore, "restore what a check allowed, at most 15 minutes ago")
    start.add_argument("id", type=int, help="the check")
    start.add_argument("--yes-replace", metavar="NAME", default="", help="the name of the database that is replaced")
    add_wait_option(start)
    listed = add_verb(verbs, "list", list_restores, "show restores, the newest first")
    listed.add_argument("--instance", type=int)
    listed.add_argument("--status", choices=STATUSES)
    listed.add_argument("--limit", type=number_from_one, default=50)
    show = add_verb(verbs, "show", show_restore, "show one restore: what the target is now, and what was compared")
    wait = add_verb(verbs, "wait", wait_for_restore, "wait until it has ended; exit code 1 when it failed")
    for verb in (show, wait):
        verb.add_argument("id", type=int)


def _add_other_nouns(parsers: Parsers) -> None:
    verbs = add_noun(parsers, "kept", "databases kept from before they were replaced")
    listed = add_verb(verbs, "list", list_kept, "show them, the newest first")
    listed.add_argument("--removed", action="store_true", help="also those that were removed")
    remove = add_verb(verbs, "remove", remove_kept, "remove one for good")
    remove.add_argument("id", type=int)
    remove.add_argument("--yes-remove", metavar="NAME", required=True, help="the name that it is kept under")
    add_wait_option(remove)
    upload = add_verb(
        parsers, "upload", upload_file, "take in an archive made by Odoo, pg_dump or Holdfast, and prove it"
    )
    upload.add_argument("file", help="a zip or a custom-format dump; - for standard input")
    upload.add_argument("--sha256", default="", help="the digest that it must have")
    verbs = add_noun(parsers, "refresh", "jobs that make a copy of production anew")
    create = add_verb(verbs, "create", create_refresh, "add a refresh job")
    create.add_argument("file", help="a JSON object of its fields (name, source_instance_id…); - for standard input")


def _add_wish_options(parser: argparse.ArgumentParser, *, needed: bool) -> None:
    parser.add_argument("--archive", type=int, required=needed, metavar="N", help="the restore point")
    parser.add_argument("--to-instance", metavar="X", help="id or name of the instance that the database goes to")
    parser.add_argument("--database", default="", metavar="NAME", help="name of the database there")
    parser.add_argument("--replace", action="store_true", help="replace the database of that name")
    targets = [str(target) for target in RestoreTarget]
    parser.add_argument("--target", choices=targets, help="otherwise what --replace and the instance say")
    parser.add_argument("--copy", action="store_true", help="a copy: it gets an identity of its own")
    parser.add_argument("--neutralise", action="store_true", help="switch off mails, scheduled actions, payments…")
    parser.add_argument("--without-filestore", action="store_true", help="the database only")
    parser.add_argument("--owner", default="", metavar="ROLE", help="the role that owns the restored database")
    parser.add_argument("--jobs", type=int, default=2, help="parallel jobs of pg_restore")
    parser.add_argument("--piece", default="", help="an attachment (ab/ab01…) or a table (public.res_partner)")
    parser.add_argument("--directory", default="", metavar="NAME", help="a new directory below the restore directory")
    parser.add_argument("--file-owner", default="", metavar="USER:GROUP", help="owner of restored files")
    parser.add_argument("--file-mode", default="", metavar="640", help="mode of restored files")
    parser.add_argument(
        "--keep-days", type=int, default=7, help="how long a replaced database is kept; 0: until removed"
    )


def _wish(arguments: Namespace) -> restores.RestoreWish:
    if arguments.archive is None:
        raise InvalidInput("Say which restore point: --archive N.", field="archive", hint="See: holdfast archive list")
    instance = find_instance(arguments.to_instance) if arguments.to_instance else None
    target = RestoreTarget.NEW_DATABASE
    if arguments.target:
        target = RestoreTarget(arguments.target)
    elif arguments.replace:
        target = RestoreTarget.REPLACE
    elif instance is not None and instance.kind is InstanceKind.ODOO_HTTP:
        target = RestoreTarget.ODOO
    options = RestoreOptions(
        with_filestore=not arguments.without_filestore,
        new_identity=arguments.copy,
        neutralise=arguments.neutralise,
        owner=arguments.owner,
        jobs=arguments.jobs,
        piece=arguments.piece,
        directory=arguments.directory,
        file_owner=arguments.file_owner,
        file_mode=arguments.file_mode,
        keep_days=arguments.keep_days,
    )
    number = instance.id if instance is not None else None
    return restores.RestoreWish(arguments.archive, target, number, arguments.database, options)


def find_instance(wanted: str) -> Any:
    """An instance by its id, else by its name. Raises NotFound."""
    named = [one for one in instances.list_instances() if one.name == wanted]
    if len(named) == 1:
        return named[0]
    return instances.get_instance(int(wanted) if wanted.isascii() and wanted.isdigit() else 0)


def restore_now(context: Context, arguments: Namespace) -> Answer:
    """Check, then restore, and wait for both."""
    wish = _wish(arguments)
    if wish.target is RestoreTarget.REPLACE and arguments.yes_replace != wish.database:
        raise InvalidInput(
            f"«{wish.database}» would be replaced.",
            field="typed_name",
            hint=f"Say so with --yes-replace {wish.database}",
        )
    check_id = restores.request_check(wish, actor=context.actor, now=context.now()).id
    if not wait_until_final([check_id]):
        return _check_answer(context, check_id)
    return _start(context, check_id, arguments.yes_replace, wait=True)


def check_target(context: Context, arguments: Namespace) -> Answer:
    """Look at a target, and wait for the answers."""
    check_id = restores.request_check(_wish(arguments), actor=context.actor, now=context.now()).id
    wait_until_final([check_id])
    return _check_answer(context, check_id)


def _check_answer(context: Context, check_id: int) -> Answer:
    check = restores.get_check(check_id)
    why_not = restores.why_not_startable(check, context.now())
    rows = [(one.state, one.title, one.detail or one.value) for one in restores.checks_of(check)]
    lines = [table(["ANSWER", "CHECK", "FOUND"], rows, none=check.error_message or "Nothing was asked.")]
    found = restores.facts_of(check)
    lines += [f"Will be disconnected: {who}" for who in found.connections]
    lines.append(f"Not allowed: {why_not}" if why_not else f"Start it with: holdfast restore start {check_id}")
    return Answer(check_shape(check, why_not), "\n".join(lines), 1 if why_not else 0)


def start_restore(context: Context, arguments: Namespace) -> Answer:
    """Restore what a check allowed."""
    return _start(context, arguments.id, arguments.yes_replace, wait=arguments.wait)


def _start(context: Context, check_id: int, typed_name: str, *, wait: bool) -> Answer:
    number = restores.request_restore(check_id, typed_name=typed_name, actor=context.actor, now=context.now()).id
    good = wait_until_final([number]) if wait else True
    return _restore_answer(context, number, 0 if good else 1)


def list_restores(context: Context, arguments: Namespace) -> Answer:
    """Restores, the newest first."""
    status = TaskStatus(arguments.status) if arguments.status else None
    wanted = restores.RestoreFilter(arguments.instance, None, status, limit=arguments.limit)
    found, total = restores.list_restores(wanted)
    now = context.now()
    rows = [
        (one.id, run_pages.outcome_of(one).word, one.archive_id, one.title, one.outcome, ago(one.created_at, now))
        for one in found
    ]
    heads = ["RESTORE", "OUTCOME", "ARCHIVE", "WHAT", "TARGET IS", "ASKED"]
    data = {"total": total, "restores": [restore_shape(one) for one in found]}
    return Answer(data, table(heads, rows, none="Nothing was restored yet."))


def show_restore(context: Context, arguments: Namespace) -> Answer:
    """One restore."""
    return _restore_answer(context, arguments.id, 0)


def wait_for_restore(context: Context, arguments: Namespace) -> Answer:
    """Wait for one restore."""
    good = wait_until_final([restores.get_restore(arguments.id).id])
    return _restore_answer(context, arguments.id, 0 if good else 1)


def _restore_answer(context: Context, number: int, code: int) -> Answer:
    restore = restores.get_restore(number)
    result = restores.result_of(restore)
    text = facts(
        [
            ("Restore", f"{restore.id}  {restore.title}"),
            ("Outcome", run_pages.outcome_of(restore).word),
            ("The target is", restore.outcome),
            ("Progress", restore.progress_message),
            ("Error", restore.error_message),
            ("Hint", restore.hint),
            ("Result", result.get("message", "")),
            ("Kept as", result.get("kept_name", "")),
            ("Safety backup", f"run {restore.safety_run_id}" if restore.safety_run_id else ""),
            ("Asked", ago(restore.created_at, context.now())),
        ]
    )
    rows = [(one.state, one.title, one.detail or one.value) for one in restores.checks_of(restore)]
    if rows:
        text += "\n\n" + table(["ANSWER", "CHECK", "FOUND"], rows, none="")
    return Answer(restore_shape(restore), text, code)


def list_kept(context: Context, arguments: Namespace) -> Answer:
    """Kept databases."""
    found = kept_databases.list_kept(with_removed=arguments.removed)
    now = context.now()
    rows = [
        (
            one.id,
            one.instance_name,
            one.kept_name,
            size(one.size_bytes),
            ago(one.created_at, now),
            moment(one.remove_after) or "by hand",
            moment(one.removed_at) or one.remove_error or "kept",
        )
        for one in found
    ]
    heads = ["ID", "INSTANCE", "DATABASE", "SIZE", "REPLACED", "REMOVED AFTER", "STATE"]
    return Answer([kept_shape(one) for one in found], table(heads, rows, none="No database is kept."))


def remove_kept(context: Context, arguments: Namespace) -> Answer:
    """Remove one for good."""
    number = kept_databases.request_removal(
        arguments.id, typed_name=arguments.yes_remove, actor=context.actor, now=context.now()
    ).id
    good = wait_until_final([number]) if arguments.wait else True
    task = tasks.get_task(number)
    said = "was removed" if task.status is TaskStatus.COMPLETED else "will be removed by a worker"
    text = task.error_message or f"{arguments.yes_remove} {said}. See: holdfast tasks show {number}"
    return Answer(task_shape(task), text, 0 if good else 1)


def upload_file(context: Context, arguments: Namespace) -> Answer:
    """Take a file in."""
    if arguments.file == "-":
        number = _receive(context, arguments, sys.stdin.buffer, "upload", None)
    else:
        path = Path(arguments.file)
        try:
            with path.open("rb") as stream:
                number = _receive(context, arguments, stream, path.name, os.fstat(stream.fileno()).st_size)
        except OSError as error:
            raise InvalidInput(f"{path} cannot be read: {error.strerror}.", field="file") from None
    archive = get_archive(number)
    good = str(archive.state) == "stored"
    text = f"Restore point {number}: {archive.database_name}, {size(archive.size_bytes)}, {archive.state}."
    return Answer(archive_shape(archive), text, 0 if good else 1)


def _receive(context: Context, arguments: Namespace, stream: BinaryIO, name: str, length: int | None) -> int:
    archive = uploads.receive(stream, name, length, actor=context.actor, now=context.now(), sha256=arguments.sha256)
    return archive.id


def create_refresh(context: Context, arguments: Namespace) -> Answer:
    """Add a refresh job from a JSON object."""
    found = read_fields(arguments.file, REFRESH_FIELDS)
    for name, value in found.items():
        default = REFRESH_FIELDS[name].default
        fits = isinstance(value, bool) if isinstance(default, bool) else isinstance(value, str | int)
        if not fits or (default is None and not isinstance(value, int)):
            raise InvalidInput(f"{name} has a value of the wrong kind.", field=name)
    values: dict[str, Any] = {
        name: str(v) if isinstance(REFRESH_FIELDS[name].default, str) else v for name, v in found.items()
    }
    draft = refresh_jobs.RefreshDraft(**values)
    job = refresh_jobs.create_refresh_job(draft, actor=context.actor, now=context.now())
    return Answer(job_shape(job), f"Added refresh job {job.id}: {job.name}.")
