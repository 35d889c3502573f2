"""``holdfast host``, and ``holdfast configure-global`` for what all hosts share."""

from __future__ import annotations

import argparse
import shlex
from argparse import Namespace
from dataclasses import replace
from typing import Any

from webapp.commands.base import Answer, Context, Parsers, add_noun, add_verb, ago, facts, moment, read_text, table
from webapp.commands.host_files import add_verbs
from webapp.commands.host_shapes import get_host_named, host_shape, snapshot_shape
from webapp.commands.shapes import job_shape
from webapp.core.errors import Conflict, HoldfastError, NotFound
from webapp.core.plans import Secret
from webapp.core.status import InstanceKind
from webapp.services import hosts, instances, jobs, snapshots
from webapp.services.host_rules import read_options, read_root
from webapp.services.instance_keys import authorized_keys_line, pin_host_key, pinned_host_key, scan
from webapp.services.instance_rules import InstanceDraft, draft_of
from webapp.services.settings import change_settings, get_settings

# A new host, where the command says nothing: all of it, as root.
NEW_HOST = InstanceDraft(kind=InstanceKind.HOST.value, ssh_user="root", paths="/")
LISTS = (
    ("path", "paths", "an absolute path that is taken"),
    ("include", "includes", "an rsync include pattern"),
    ("exclude", "excludes", "an rsync exclude pattern"),
    ("sentinel-file", "sentinel_files", "a path that must be in every snapshot"),
    ("accept-error", "accepted_errors", "a path (* and ? too) that may stay unreadable"),
)
TEXTS = (
    ("address", "ssh_host", "host name or IP address"),
    ("port", "ssh_port", "port of sshd"),
    ("user", "ssh_user", "who signs in there; root for a new host"),
    ("rename", "name", "a new name; snapshots stay where they are"),
    ("customer", "customer", "whose it is"),
    ("target-age-hours", "target_age_hours", "how old the newest snapshot may be"),
    ("bandwidth", "bandwidth_kib", "KiB per second"),
    ("shrink-percent", "shrink_percent", "what share of the files may be gone since the snapshot before"),
    ("backup-root", "backup_root", "where its snapshots lie, below a directory of its own"),
    ("directory", "directory", "the name of that directory; only for a new host"),
)
DEFAULTED = ("bandwidth", "shrink-percent", "backup-root")


def register(parsers: Parsers) -> None:
    """Add the noun and its verbs, and the verb for all hosts."""
    shared = add_verb(parsers, "configure-global", configure_global, "set, or show, what all hosts share")
    shared.add_argument("--backup-root", metavar="DIR", help="where snapshots lie; '' for the data directory")
    shared.add_argument("--exclude", action="append", metavar="PATTERN", help="left out of every host; repeatable")
    shared.add_argument("--one-file-system", choices=["yes", "no"], help="stay on the file systems of the paths")
    shared.add_argument("--bandwidth", type=int, metavar="KIB", help="KiB per second, 0 for no limit")
    shared.add_argument(
        "--rsync-option", action="append", metavar="OPTION", help="written as --rsync-option=--compress"
    )
    shared.add_argument("--shrink-percent", type=int, metavar="N", help="what share of the files may be gone")
    verbs = add_noun(parsers, "host", "the machines that directory trees are pulled from")
    add_verb(verbs, "list", list_hosts, "show all hosts")
    show = add_verb(verbs, "show", show_host, "show one host, what is in force for it, and its jobs")
    configure = add_verb(verbs, "configure", configure_host, "add a host, or change one")
    add_host_options(configure)
    add_verbs(verbs)
    key = add_verb(verbs, "key", show_key, "show the line for its authorized_keys, and the key that the host shows")
    key.add_argument("--accept", metavar="SHA256:…", default="", help="pin the host's key, if this is its fingerprint")
    for verb in (show, key):
        verb.add_argument("host", help="name, number or address")


def add_host_options(parser: argparse.ArgumentParser) -> None:
    """What ``host configure`` takes. A repeatable option replaces the whole list; '' empties it."""
    parser.add_argument("host", help="its name; one that is not there yet is added")
    for option, field, text in TEXTS:
        default = "; 'default' for what all hosts have" if option in DEFAULTED else ""
        parser.add_argument(f"--{option}", dest=field, metavar="VALUE", help=text + default)
    for option, field, text in LISTS:
        parser.add_argument(f"--{option}", dest=field, action="append", metavar="VALUE", help=f"{text}; repeatable")
    parser.add_argument("--only-own-excludes", choices=["yes", "no"], help="those of all hosts do not count for it")
    parser.add_argument("--one-file-system", choices=["yes", "no", "default"], help="do not go into other mounts")
    parser.add_argument(
        "--rsync-option", action="append", metavar="OPTION", help="as --rsync-option=--compress, or default"
    )
    parser.add_argument(
        "--private-key-file", metavar="FILE", help="a key of yours instead of ours; - for standard input"
    )
    parser.add_argument("--new-key", action="store_true", help="make a new key pair; the host needs its new line then")


def configure_global(context: Context, arguments: Namespace) -> Answer:
    """Change the shared values that are given; show all."""
    found = get_settings()
    wanted = replace(found, **_shared_changes(arguments))
    if wanted != found:
        found = change_settings(wanted, actor=context.actor, now=context.now())
    root = hosts.default_backup_root(found)
    data = {
        "backup_root": root,
        "exclude": list(found.host_excludes),
        "one_file_system": found.host_one_file_system,
        "bandwidth_kib": found.host_bandwidth_kib,
        "rsync_options": list(found.host_rsync_options),
        "shrink_percent": found.host_shrink_percent,
    }
    return Answer(data, facts([(name.replace("_", " "), _words(value)) for name, value in data.items()]))


def list_hosts(context: Context, _arguments: Namespace) -> Answer:
    """All hosts by name."""
    now, rows, data = context.now(), [], []
    found = hosts.list_hosts()
    newest_of = snapshots.newest_of_each([host.instance_id for host in found])
    for host in found:
        instance, newest = host.instance, newest_of.get(host.instance_id)
        taken_at = newest.archive.taken_at if newest is not None else None
        rows.append(
            (
                instance.id,
                instance.name,
                f"{instance.ssh_user}@{instance.ssh_host}:{instance.ssh_port}",
                "pinned" if instance.ssh_host_key else "not yet",
                ago(taken_at, now),
                ", ".join(host.paths),
            )
        )
        data.append({**host_shape(host), "newest_at": moment(taken_at)})
    heads = ["ID", "HOST", "ADDRESS", "HOST KEY", "NEWEST", "PATHS"]
    return Answer(data, table(heads, rows, none="There are no hosts yet."))


def show_host(context: Context, arguments: Namespace) -> Answer:
    """One host."""
    host = get_host_named(arguments.host)
    shape, newest = host_shape(host), snapshots.newest_of(host.instance_id)
    of_it = jobs.list_jobs(host.instance_id)
    room = snapshots.root_facts(host.instance_id)
    pinned = pinned_host_key(host.instance)
    pairs: list[tuple[str, object]] = [
        ("Host", f"{shape['id']}  {shape['name']}"),
        ("Address", f"{shape['user']}@{shape['address']}:{shape['port']}"),
        ("Host key", pinned.fingerprint if pinned else "not pinned yet"),
        ("Paths", ", ".join(shape["paths"])),
        ("Directory", f"{shape['in_force']['backup_root']['value']}/{shape['directory']}"),
        ("Root", room.problem),
        ("Newest", ago(newest.archive.taken_at if newest else None, context.now())),
    ]
    pairs += [
        (name.replace("_", " ").capitalize(), f"{_words(one['value'])} ({one['whose']})")
        for name, one in shape["in_force"].items()
    ]
    pairs += [(f"Job {job.id}", f"{job.name}: {job.cron} ({job.time_zone})") for job in of_it]
    data = {
        **shape,
        "free_bytes": room.free_bytes,
        "root_problem": room.problem,
        "newest": snapshot_shape(newest) if newest else None,
        "jobs": [job_shape(job) for job in of_it],
    }
    return Answer(data, facts(pairs))


def configure_host(context: Context, arguments: Namespace) -> Answer:
    """Add the host or change it; what is not given stays."""
    try:
        old = get_host_named(arguments.host, by_address=False)
    except NotFound:
        return _add_host(context, arguments)
    instance = old.instance
    draft = replace(draft_of(instance), **_host_changes(arguments))
    changed = instances.update_instance(
        instance.id, draft, version=instance.version, actor=context.actor, now=context.now()
    )
    return _configured(changed.id, f"Changed host {changed.id}: {changed.name}.")


def show_key(context: Context, arguments: Namespace) -> Answer:
    """Our key for its authorized_keys, and the key that it shows. Raises Conflict when that is not the one to accept."""
    instance = get_host_named(arguments.host).instance
    number, line, pinned = instance.id, authorized_keys_line(instance), pinned_host_key(instance)
    data: dict[str, Any] = {"id": number, "authorized_keys": line, "pinned": pinned.fingerprint if pinned else None}
    try:
        shown = scan(number)
    except HoldfastError as error:
        if arguments.accept:
            raise
        data["shown"], said = None, error.message
    else:
        data["shown"], said = shown.fingerprint, f"{shown.fingerprint} ({shown.type})"
        if arguments.accept:
            if shown.fingerprint != arguments.accept.strip():
                raise Conflict(
                    f"The host shows {shown.fingerprint}, not {arguments.accept.strip()}; nothing was pinned.",
                    hint="Ask on the host itself: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
                )
            pin_host_key(number, shown.line, actor=context.actor, now=context.now())
            data["pinned"] = shown.fingerprint
    pairs = [("For authorized_keys", line), ("The host shows", said), ("Pinned", data["pinned"] or "none")]
    if data["shown"] and not data["pinned"]:
        pairs.append(("To pin it", f"holdfast host key {number} --accept {data['shown']}"))
    return Answer(data, facts(pairs))


def _add_host(context: Context, arguments: Namespace) -> Answer:
    changes = {"ssh_host": arguments.host, "name": arguments.host, **_host_changes(arguments)}
    added = instances.create_instance(replace(NEW_HOST, **changes), actor=context.actor, now=context.now())
    return _configured(added.id, f"Added host {added.id}: {added.name}.")


def _configured(instance_id: int, said: str) -> Answer:
    shape = host_shape(hosts.get_host(instance_id))
    missing = "" if shape["host_key"] else f"\nThen compare its host key: holdfast host key {instance_id}"
    return Answer(shape, f"{said}\nIts authorized_keys needs this line:\n\n{shape['authorized_keys']}\n{missing}")


def _host_changes(arguments: Namespace) -> dict[str, Any]:
    """The fields of the draft that were given."""
    changes: dict[str, Any] = {}
    for option, field, _ in TEXTS:
        value = getattr(arguments, field)
        if value is not None:
            changes[field] = "" if option in DEFAULTED and value == "default" else value
    for _, field, _ in LISTS:
        if getattr(arguments, field) is not None:
            changes[field] = "\n".join(getattr(arguments, field))
    if arguments.only_own_excludes is not None:
        changes["own_excludes_only"] = arguments.only_own_excludes == "yes"
    if arguments.one_file_system is not None:
        changes["one_file_system"] = "" if arguments.one_file_system == "default" else arguments.one_file_system
    if arguments.rsync_option is not None:
        words = [word for word in arguments.rsync_option if word]
        changes["own_rsync_options"] = words != ["default"]
        changes["rsync_options"] = "" if words == ["default"] else shlex.join(words)
    return {**changes, **_key_changes(arguments)}


def _key_changes(arguments: Namespace) -> dict[str, Any]:
    changes: dict[str, Any] = {"new_ssh_key": True} if arguments.new_key else {}
    if arguments.private_key_file is not None:
        changes["ssh_private_key"] = Secret(read_text(arguments.private_key_file))
    return changes


def _shared_changes(arguments: Namespace) -> dict[str, Any]:
    given: dict[str, Any] = {
        "host_bandwidth_kib": arguments.bandwidth,
        "host_shrink_percent": arguments.shrink_percent,
    }
    if arguments.backup_root is not None:
        given["backup_root"] = read_root(arguments.backup_root)
    if arguments.exclude is not None:
        given["host_excludes"] = tuple(pattern for pattern in arguments.exclude if pattern)
    if arguments.one_file_system is not None:
        given["host_one_file_system"] = arguments.one_file_system == "yes"
    if arguments.rsync_option is not None:
        given["host_rsync_options"] = read_options(shlex.join(word for word in arguments.rsync_option if word))
    return {name: value for name, value in given.items() if value is not None}


def _words(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else value
