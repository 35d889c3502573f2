"""``holdfast snapshot restore``: first a dry run that a person looks at, then exactly that."""

from __future__ import annotations

import argparse
from argparse import Namespace
from typing import Any

from webapp.commands.base import Answer, Context, Parsers, add_verb, add_wait_option, wait_until_final
from webapp.commands.host_shapes import get_host_named, printable
from webapp.commands.shapes import task_shape
from webapp.core.errors import InvalidInput
from webapp.core.restore_effects import count_changed, effects_in_words
from webapp.core.status import SnapshotTarget, TaskStatus
from webapp.services import snapshot_restores
from webapp.services.snapshot_restores import FileRestoreWish
from webapp.store.db import release


def add_restore_verb(verbs: Parsers) -> None:
    """Add the verb to the noun ``snapshot``."""
    restore = add_verb(verbs, "restore", restore_files, "put files back: a dry run, then the same for real")
    restore.add_argument("id", type=int, nargs="?", help="the snapshot")
    restore.add_argument("--path", action="append", metavar="PATH", help="what; otherwise all of it; repeatable")
    restore.add_argument("--to", choices=["host", "directory"], default="host", help="its host, or this machine")
    restore.add_argument("--to-host", metavar="HOST", help="another host")
    restore.add_argument("--target", metavar="DIR", help="below which directory; / puts files back where they were")
    restore.add_argument("--delete-others", action="store_true", help="also remove what the snapshot has not")
    restore.add_argument("--confirm", type=int, metavar="N", help="do what dry run N showed")
    add_wait_option(restore)


def restore_files(context: Context, arguments: Namespace) -> Answer:
    """Make a dry run and show it; or, with --confirm, do it."""
    if arguments.confirm is not None:
        return _confirm(context, arguments)
    if arguments.id is None:
        raise InvalidInput("Name the snapshot, or a dry run with --confirm N.")
    number = snapshot_restores.request_dry_run(_wish(arguments), actor=context.actor, now=context.now()).id
    release()
    good = wait_until_final([number])
    preview = snapshot_restores.get_restore(number)
    why_not = snapshot_restores.why_not_confirmable(preview, context.now())
    lines = [preview.error_message or f"Dry run {number}: nothing was changed.", preview.hint, *_said(preview)]
    go_on = (
        f"\nTo do exactly this: holdfast snapshot restore --confirm {number}" if count_changed(preview.counts) else ""
    )
    lines.append(why_not or go_on)
    return Answer({**_shape(preview), "why_not": why_not}, "\n".join(line for line in lines if line), 0 if good else 1)


def _confirm(context: Context, arguments: Namespace) -> Answer:
    preview = snapshot_restores.get_restore(arguments.confirm)
    digest = snapshot_restores.preview_digest(preview)
    number = snapshot_restores.confirm(arguments.confirm, digest=digest, actor=context.actor, now=context.now()).id
    release()
    good = wait_until_final([number]) if arguments.wait else True
    done = snapshot_restores.get_restore(number)
    if TaskStatus(done.status).is_final:
        lines = [done.error_message or f"Restore {number}: {done.status}.", *_said(done), done.hint]
    else:
        lines = [f"Asked for restore {number}. See: holdfast tasks show {number}"]
    return Answer(_shape(done), "\n".join(line for line in lines if line), 0 if good else 1)


def _wish(arguments: argparse.Namespace) -> FileRestoreWish:
    target, instance_id = SnapshotTarget(arguments.to), None
    if arguments.to_host is not None:
        target, instance_id = SnapshotTarget.OTHER_HOST, get_host_named(arguments.to_host).instance_id
    if target is SnapshotTarget.DIRECTORY and arguments.target is None:
        raise InvalidInput("Name the directory of this machine with --target.", field="target_path")
    return FileRestoreWish(
        archive_id=arguments.id,
        paths=tuple(arguments.path or ()),
        target=target,
        target_path=arguments.target or "/",
        target_instance_id=instance_id,
        delete_others=arguments.delete_others,
    )


def _said(restore: Any) -> list[str]:
    words = ", ".join(effects_in_words(restore.counts, dry_run=restore.dry_run))
    nothing = "Nothing differs." if restore.counts else ""
    return [*map(printable, restore.changes), f"{words}." if words else nothing]


def _shape(restore: Any) -> dict[str, Any]:
    return {
        **task_shape(restore),
        "archive_id": restore.archive_id,
        "target": str(restore.target),
        "target_path": restore.target_path,
        "paths": [printable(path) for path in restore.paths],
        "delete_others": restore.delete_others,
        "dry_run": restore.dry_run,
        "preview_id": restore.preview_id,
        "changes": [printable(line) for line in restore.changes],
        "counts": dict(restore.counts),
    }
