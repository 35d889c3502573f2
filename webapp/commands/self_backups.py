"""``holdfast self-backup``."""

from __future__ import annotations

from argparse import Namespace

from webapp.commands.base import (
    Answer,
    Context,
    Parsers,
    add_noun,
    add_verb,
    add_wait_option,
    ago,
    size,
    table,
    wait_until_final,
)
from webapp.commands.shapes import task_shape
from webapp.services import self_backups, tasks


def register(parsers: Parsers) -> None:
    """Add the noun and its verbs."""
    verbs = add_noun(parsers, "self-backup", "copies of Holdfast's own database in the archive store")
    add_verb(verbs, "list", list_copies, "show the copies, the newest first")
    add_wait_option(add_verb(verbs, "now", back_up_now, "ask a worker for one"))


def list_copies(context: Context, _arguments: Namespace) -> Answer:
    """The copies in the store."""
    now = context.now()
    found = self_backups.list_copies()
    rows = [
        (
            copy.name,
            ago(self_backups.taken_at(copy), now),
            size(copy.manifest.size_bytes),
            "sealed" if copy.manifest.keys_sha256 else "not in it",
        )
        for copy in found
    ]
    data = [
        {
            "name": copy.name,
            "taken_at": copy.manifest.taken_at,
            "directory": copy.directory,
            "size_bytes": copy.manifest.size_bytes,
            "sha256": copy.manifest.sha256,
            "holds_keys": bool(copy.manifest.keys_sha256),
            "version": copy.manifest.holdfast_version,
        }
        for copy in found
    ]
    return Answer({"self_backups": data}, table(["COPY", "TAKEN", "SIZE", "KEYS"], rows, none="There are none yet."))


def back_up_now(context: Context, arguments: Namespace) -> Answer:
    """Ask for a copy; with --wait tell how it ended."""
    number = self_backups.request_self_backup(actor=context.actor, now=context.now()).id
    good = wait_until_final([number]) if arguments.wait else True
    task = tasks.get_task(number)
    asked = f"Asked for task {number}. See: holdfast tasks show {number}"
    said = (task.error_message or f"Task {number}: {task.status.value}.") if arguments.wait else asked
    return Answer(task_shape(task), said, 0 if good else 1)
