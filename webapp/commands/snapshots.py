"""``holdfast snapshot``: what was taken of hosts, looked at, compared, proved. Putting back: commands/snapshot_restores.py."""

from __future__ import annotations

import argparse
import os
import stat
from argparse import Namespace
from datetime import UTC, datetime, timedelta
from pathlib import Path
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
    size,
    table,
    wait_until_final,
)
from webapp.commands.host_shapes import get_host_named, printable, snapshot_shape
from webapp.commands.shapes import task_shape
from webapp.commands.snapshot_restores import add_restore_verb
from webapp.core.errors import Conflict, InvalidInput, NotFound
from webapp.core.status import VerificationLevel
from webapp.core.text import format_files_and_links
from webapp.services import archives, snapshot_comparisons, snapshot_discovery, snapshot_files, snapshots, tasks
from webapp.store.db import release

LETTERS = {"file": "-", "directory": "d", "symlink": "l", "character_device": "c", "block_device": "b", "fifo": "p"}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def register(parsers: Parsers) -> None:
    """Add the noun and its verbs."""
    verbs = add_noun(parsers, "snapshot", "what was taken of hosts")
    listed = add_verb(verbs, "list", list_snapshots, "show snapshots, the newest first")
    listed.add_argument("host", nargs="?", help="only those of this host")
    listed.add_argument("--job", type=int, help="only those of this job")
    listed.add_argument("--all", action="store_true", help="also what is in the trash, deleted or missing")
    listed.add_argument("--limit", type=number_from_one, default=50)
    show = add_verb(verbs, "show", show_snapshot, "show one snapshot")
    discover = add_verb(verbs, "discover", discover_snapshots, "enter what lies on disk and is in no table; reads only")
    add_discover_options(discover)
    add_wait_option(discover)
    browse = add_verb(verbs, "browse", browse_snapshot, "list a directory of it")
    search = add_verb(verbs, "search", search_snapshot, "find files by their path")
    diff = add_verb(verbs, "diff", compare_snapshots, "what is in a snapshot and was not, or otherwise, in another")
    verify = add_verb(verbs, "verify", verify_snapshot, "read every file and compare it with the list")
    verify.add_argument("--with-host", action="store_true", help="compare a sample with what the host has now instead")
    add_wait_option(verify)
    download = add_verb(verbs, "download", download_files, "write files and directories of it as a tar or zip")
    for verb in (show, browse, search, verify, download):
        verb.add_argument("id", type=int)
    _add_looking_options(browse, search, diff)
    download.add_argument("path", nargs="+", help="absolute paths, as on the host")
    download.add_argument("--to", required=True, metavar="FILE", help="a new file, .tar or .zip")
    add_restore_verb(verbs)
    accept = add_verb(verbs, "accept-loss", accept_loss, "a run refused an emptied host: the next one passes once")
    accept.add_argument("run_id", type=int, metavar="run")
    accept.add_argument("--yes", action="store_true", help="really do it")


def _add_looking_options(
    browse: argparse.ArgumentParser, search: argparse.ArgumentParser, diff: argparse.ArgumentParser
) -> None:
    browse.add_argument("path", nargs="?", default="/", help="an absolute path, as on the host")
    browse.add_argument("--offset", type=int, default=0)
    browse.add_argument("--limit", type=number_from_one, default=1000)
    search.add_argument("text", help="a part of the path, or a pattern with * and ?")
    search.add_argument("--limit", type=number_from_one, default=200)
    diff.add_argument(
        "ids", type=int, nargs="+", metavar="ID", help="the older and the newer; one: with the one before it"
    )
    diff.add_argument("--first", type=int, default=200, help="how many of each kind are shown (%(default)s)")


def add_discover_options(parser: argparse.ArgumentParser) -> None:
    """Which host, and where to look."""
    parser.add_argument("--host", required=True, metavar="HOST", help="name, number or address")
    parser.add_argument("--root", default="", metavar="DIR", help="another backup root than the host's own")


def list_snapshots(context: Context, arguments: Namespace) -> Answer:
    """Snapshots, the newest first."""
    instance_id = get_host_named(arguments.host).instance_id if arguments.host else None
    wanted = snapshots.SnapshotFilter(instance_id, arguments.job, with_gone=arguments.all, limit=arguments.limit)
    found, total = snapshots.list_snapshots(wanted)
    now = context.now()
    rows = [
        (
            one.archive_id,
            one.archive.instance_name,
            ago(one.archive.taken_at, now),
            "-" if one.file_count is None else one.file_count,
            size(one.total_bytes),
            size(one.new_bytes),
            one.archive.verification_status,
            one.archive.state,
        )
        for one in found
    ]
    heads = ["SNAPSHOT", "HOST", "TAKEN", "FILES", "SIZE", "NEW", "VERIFICATION", "STATE"]
    data = {"total": total, "snapshots": [snapshot_shape(one) for one in found]}
    return Answer(data, table(heads, rows, none="There are no snapshots."))


def show_snapshot(context: Context, arguments: Namespace) -> Answer:
    """One snapshot."""
    record = snapshots.get_snapshot(arguments.id)
    shape, now = snapshot_shape(record), context.now()
    counted = record.file_count is not None
    text = facts(
        [
            ("Snapshot", f"{record.archive_id}  {record.archive.instance_name}"),
            ("Taken", shape["taken_at"]),
            ("Lies at", f"{record.root}/{record.directory}/{record.name}"),
            ("Paths", ", ".join(record.paths)),
            ("Base", record.base_name or "none"),
            ("Files", f"{record.file_count}, {size(record.total_bytes)}" if counted else "not counted"),
            ("New", _new_in(record)),
            ("Gone", "" if record.gone_files is None else format_files_and_links(record.gone_files)),
            ("Vanished", record.vanished or ""),
            ("Unreadable", record.unreadable or ""),
            ("Verification", f"{record.archive.verification_status} ({record.archive.verification_level})"),
            ("Read in full", ago(record.read_at, now)),
            ("Compared with its host", ago(record.compared_at, now)),
            ("State", record.archive.state),
            ("Pinned", record.archive.pin_note or ("yes" if record.archive.pinned_at else "")),
        ]
    )
    return Answer(shape, text)


def discover_snapshots(context: Context, arguments: Namespace) -> Answer:
    """Ask for a discovery; with --wait show what it found."""
    host = get_host_named(arguments.host)
    number = snapshot_discovery.request_discovery(
        host.instance_id, backup_root=arguments.root, actor=context.actor, now=context.now()
    ).id
    if not arguments.wait:
        return Answer(task_shape(tasks.get_task(number)), f"Asked for task {number}. See: holdfast tasks show {number}")
    release()
    good = wait_until_final([number])
    task = tasks.get_task(number)
    details = dict(task.details or {})
    counts = ", ".join(f"{details.get(name, 0)} {name}" for name in ("found", "added", "known"))
    text = "\n".join([task.error_message or f"{counts}.", *details.get("problems", [])])
    return Answer({**task_shape(task), "details": details}, text, 0 if good else 1)


def discover_and_wait(context: Context, arguments: Namespace) -> Answer:
    """The same, as pobsync's command: it returns when all is entered."""
    arguments.wait = True
    return discover_snapshots(context, arguments)


def browse_snapshot(_context: Context, arguments: Namespace) -> Answer:
    """One directory."""
    listing = snapshot_files.browse(arguments.id, arguments.path, offset=arguments.offset, limit=arguments.limit)
    more = listing.total - listing.offset - len(listing.entries)
    text = table(NODE_HEADS, [_node_row(node, node.name) for node in listing.entries], none="It is empty.")
    data = {
        "path": printable(arguments.path),
        "total": listing.total,
        "entries": [_node_shape(n) for n in listing.entries],
    }
    return Answer(data, f"{text}\n… and {more} more (--offset, --limit)" if more > 0 else text)


def search_snapshot(_context: Context, arguments: Namespace) -> Answer:
    """Files whose path fits."""
    found = snapshot_files.search(arguments.id, arguments.text, limit=arguments.limit)
    text = table(NODE_HEADS, [_node_row(node, node.path) for node in found], none="Nothing fits.")
    return Answer([_node_shape(node) for node in found], text)


def compare_snapshots(_context: Context, arguments: Namespace) -> Answer:
    """Two snapshots of one host."""
    old, new = _pair(arguments.ids)
    found = snapshot_files.compare(old, new, first=arguments.first)
    changes = [*found.added, *found.removed, *found.changed, *found.attributes]
    rows = [
        (one.change, size(one.old_bytes), size(one.new_bytes), printable(one.path), printable(one.detail))
        for one in changes
    ]
    counts = {str(kind): number for kind, number in found.counts.items()}
    said = ", ".join(f"{number} {kind}" for kind, number in counts.items())
    moved = f"{size(found.added_bytes)} added, {size(found.removed_bytes)} removed, {size(found.changed_bytes)} changed"
    shown = table(["CHANGE", "WAS", "IS", "PATH", "WHAT"], rows, none="They are the same.")
    data = {
        "old": old,
        "new": new,
        "counts": counts,
        "unchanged": found.unchanged,
        "added_bytes": found.added_bytes,
        "removed_bytes": found.removed_bytes,
        "changed_bytes": found.changed_bytes,
        "by_content": found.by_content,
        "changes": [
            {
                "change": str(one.change),
                "path": printable(one.path),
                "kind": str(one.kind),
                "old_bytes": one.old_bytes,
                "new_bytes": one.new_bytes,
                "detail": printable(one.detail),
            }
            for one in changes
        ],
    }
    return Answer(data, f"{shown}\n\n{said}, {found.unchanged} unchanged. {moved}.")


def verify_snapshot(context: Context, arguments: Namespace) -> Answer:
    """Ask for a full reading, or for a comparison with the host; with --wait show what it found."""
    snapshots.get_snapshot(arguments.id)
    actor, now = context.actor, context.now()
    if arguments.with_host:
        number = snapshot_comparisons.request_comparison(arguments.id, actor=actor, now=now).id
    else:
        number = archives.request_verification(arguments.id, level=VerificationLevel.COMPLETE, actor=actor, now=now).id
    release()
    good = wait_until_final([number]) if arguments.wait else True
    task = tasks.get_task(number)
    checks = tasks.checks_of(task)
    rows = [(check["state"], check["title"], check["detail"] or check["value"]) for check in checks]
    asked = task.error_message or f"Asked for task {number}. See: holdfast tasks show {number}"
    text = table(["ANSWER", "CHECK", "FOUND"], rows, none=asked)
    return Answer({**task_shape(task), "checks": checks}, text, 0 if good else 1)


def download_files(context: Context, arguments: Namespace) -> Answer:
    """Write a tar or a zip to a new file; one that could not be finished is removed."""
    target = Path(arguments.to)
    if target.suffix not in (".tar", ".zip"):
        raise InvalidInput("The file's name must end in .tar or .zip.", field="to")
    stream = snapshot_files.zip_stream if target.suffix == ".zip" else snapshot_files.tar_stream
    blocks = stream(arguments.id, arguments.path, actor=context.actor, now=context.now())
    try:
        with target.open("xb") as writer:
            os.fchmod(writer.fileno(), 0o600)
            finished = False
            try:
                writer.writelines(blocks)
                finished = True
            finally:
                if not finished:
                    target.unlink()
    except FileExistsError:
        raise Conflict(f"{target} exists already.", hint="Choose another name; nothing was overwritten.") from None
    except OSError as error:
        raise InvalidInput(f"{target} cannot be written: {error.strerror}.") from None
    written = target.stat().st_size
    return Answer({"file": str(target), "size_bytes": written}, f"Wrote {target} ({size(written)}).")


def accept_loss(context: Context, arguments: Namespace) -> Answer:
    """A person says that the host really has so few files."""
    if not arguments.yes:
        raise InvalidInput(
            f"Nothing was changed: --yes says that what run {arguments.run_id} did not find is gone on purpose.",
            hint="Look at the host first. The next snapshot then passes once.",
        )
    snapshots.accept_shrink(arguments.run_id, actor=context.actor, now=context.now())
    return Answer({"run_id": arguments.run_id, "accepted": True}, "The next snapshot of this host passes once.")


NODE_HEADS = ["MODE", "OWNER", "SIZE", "CHANGED (UTC)", "NAME"]


def _new_in(record: Any) -> str:
    if record.new_files is None:
        return ""
    return f"{format_files_and_links(record.new_files)}, {size(record.new_bytes)}"


def _pair(ids: list[int]) -> tuple[int, int]:
    if len(ids) == 2:
        return ids[0], ids[1]
    if len(ids) > 2:
        raise InvalidInput("Two snapshots are compared, not more.")
    record = snapshots.get_snapshot(ids[0])
    before = snapshots.find_before(record)
    if before is None:
        raise NotFound(f"There is no stored snapshot before {ids[0]} to compare it with.")
    return before.archive_id, ids[0]


def _node_row(node: Any, name: str) -> tuple[object, ...]:
    letters = LETTERS.get(str(node.kind), "s") + stat.filemode(node.mode)[1:]
    arrow = f" -> {printable(node.target)}" if node.target else ""
    changed = EPOCH + timedelta(microseconds=node.mtime_ns // 1000)
    owner = f"{node.uid}:{node.gid}"
    return letters, owner, size(node.size_bytes), f"{changed:%Y-%m-%d %H:%M}", printable(name) + arrow


def _node_shape(node: Any) -> dict[str, Any]:
    return {
        "path": printable(node.path),
        "kind": str(node.kind),
        "mode": f"{node.mode:04o}",
        "uid": node.uid,
        "gid": node.gid,
        "size_bytes": node.size_bytes,
        "mtime_ns": node.mtime_ns,
        "target": printable(node.target) or None,
    }
